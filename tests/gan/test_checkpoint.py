import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cwgan.command_line import from_dict, to_dict
from cwgan.config import Config
from cwgan.data.dataset import GzslDataset
from cwgan.data.numbers import load_numbers
from cwgan.data.views import make_validation_view
from cwgan.errors import InputError
from cwgan.gan.checkpoint import (
    check_same_classes,
    check_same_split,
    describe,
    load_checkpoint,
    load_classifier,
    load_generator,
    load_regressor,
    module_tensors,
    save_checkpoint,
)
from cwgan.gan.networks import Generator, Regressor, SoftmaxClassifier
from cwgan.gan.players import load_optimizer, optimizer_tensors
from cwgan.layers import flatten, nested


def write(path: Path, numbers: GzslDataset, **modules: torch.nn.Module) -> Path:
    save_checkpoint(path, module_tensors(**modules), "gan", 7, to_dict(Config(seed=3)), numbers)
    return path


def test_networks_come_back_as_they_were(tmp_path: Path, numbers: GzslDataset, rng: torch.Generator) -> None:
    before = {
        "generator": Generator(20, 4, 8, 128, 0.2, rng),
        "monitor": SoftmaxClassifier(128, torch.tensor([1, 5, 9]), rng),
        "regressor": Regressor(128, 20, rng),
    }
    checkpoint = load_checkpoint(write(tmp_path / "gan.safetensors", numbers, **before))
    after = {
        "generator": load_generator(checkpoint),
        "monitor": load_classifier(checkpoint, "monitor"),
        "regressor": load_regressor(checkpoint),
    }
    for name, module in before.items():
        for key, value in module.state_dict().items():
            assert torch.equal(after[name].state_dict()[key], value), f"{name}.{key}"


def test_a_checkpoint_knows_its_epoch_configuration_and_data(
    tmp_path: Path, numbers: GzslDataset, rng: torch.Generator
) -> None:
    checkpoint = load_checkpoint(
        write(tmp_path / "gan.safetensors", numbers, regressor=Regressor(128, 20, rng))
    )
    assert checkpoint.facts["epoch"] == 7
    assert from_dict(checkpoint.facts["config"]) == Config(seed=3)
    assert checkpoint.facts["data"]["digest"] == numbers.digest


def test_the_same_content_gives_the_same_bytes(
    tmp_path: Path, numbers: GzslDataset, rng: torch.Generator
) -> None:
    module = Regressor(128, 20, rng)
    first, second = (
        write(tmp_path / name, numbers, regressor=module) for name in ("a.safetensors", "b.safetensors")
    )
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_a_missing_part_is_named_with_those_that_are_there(
    tmp_path: Path, numbers: GzslDataset, rng: torch.Generator
) -> None:
    path = write(tmp_path / "regressor.safetensors", numbers, regressor=Regressor(128, 20, rng))
    with pytest.raises(InputError, match=r"generator: found nothing of that name; allowed: .*regressor"):
        load_generator(load_checkpoint(path))


def damaged(path: Path) -> None:
    path.write_bytes(b"not a checkpoint")


def foreign(path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, path)


def future(path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, path, metadata={"cwgan": json.dumps({"format": 99})})


def garbled(path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, path, metadata={"cwgan": "{not json"})


@pytest.mark.parametrize("spoil", [damaged, foreign, future, garbled, Path.mkdir, lambda path: None])
def test_what_is_no_checkpoint_is_refused_by_name(tmp_path: Path, spoil: object) -> None:
    path = tmp_path / "gan.safetensors"
    spoil(path)
    with pytest.raises(InputError, match=r"gan\.safetensors: (file|format): found"):
        load_checkpoint(path)


CONFIG = {"gan": {"leaky_slope": 0.2, "output": "relu"}}


def write_changed(path: Path, numbers: GzslDataset, place: str, value: object) -> Path:
    """Write a whole GAN's checkpoint with one tensor or fact replaced, or left out where `value` is None."""
    rng = torch.Generator().manual_seed(0)
    monitor = SoftmaxClassifier(128, torch.tensor([1, 5, 9]), rng)
    tensors = module_tensors(generator=Generator(20, 4, 8, 128, 0.2, rng), monitor=monitor)
    facts = {"format": 1, "kind": "gan", "epoch": 7, "config": CONFIG, "data": describe(numbers)}
    facts = flatten(facts)
    for target in (tensors, facts):
        if place in target:
            target[place] = value
    known = {key: value for key, value in facts.items() if value is not None}
    save_file(
        {key: value for key, value in tensors.items() if value is not None},
        path,
        metadata={"cwgan": json.dumps(nested(known))},
    )
    return path


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("kind", None, "kind: found nothing; allowed: a str"),
        ("epoch", None, "epoch: found nothing; allowed: a int"),
        ("epoch", "seven", "epoch: found 'seven'"),
        ("config.gan.leaky_slope", None, "gan.leaky_slope: found nothing; allowed: a finite number"),
        ("config.gan.leaky_slope", 3, "gan.leaky_slope: found 3.0; allowed: at least 0 and below 1"),
        ("config.gan.output", "tanh", "gan.output: found tanh; allowed: one of"),
        ("data.class_names", None, "class_names: found nothing; allowed: a list"),
        ("data.split_hash", 5, "split_hash: found 5; allowed: a str"),
        ("data.feature_size", None, "feature_size: found nothing"),
        ("generator.noise_weight", torch.full((8, 4), torch.nan), "noise_weight: found NaN or infinity"),
        ("generator.output_bias", torch.zeros(128).double(), "output_bias: found torch.float64"),
        ("generator.output_weight", None, "output_weight: found nothing; allowed: 128 x any"),
        ("generator.output_weight", torch.zeros(128, 0), r"output_weight: found shape \(128, 0\)"),
        ("generator.attribute_weight", torch.zeros(8, 3), "attribute_weight: found .*; allowed: 8 x 20"),
        ("monitor.classes", torch.tensor([5, 1, 9]), "monitor.classes: found .*; allowed: ascending"),
        ("monitor.classes", torch.tensor([1, 5, 100]), "monitor.classes: found .*below 100"),
        ("monitor.classes", torch.tensor([1.0, 5, 9]), "monitor.classes: found torch.float32"),
        ("monitor.weight", torch.zeros(10**12, 0), "monitor.weight: found shape"),
    ],
)
def test_a_checkpoint_that_says_or_holds_what_no_training_writes_is_refused(
    tmp_path: Path, numbers: GzslDataset, place: str, value: object, message: str
) -> None:
    path = write_changed(tmp_path / "gan.safetensors", numbers, place, value)
    with pytest.raises(InputError, match=rf"gan\.safetensors: .*{message}"):
        checkpoint = load_checkpoint(path)
        load_generator(checkpoint)
        load_classifier(checkpoint, "monitor")


def test_a_whole_checkpoint_is_read(tmp_path: Path, numbers: GzslDataset) -> None:
    """What the test above changes is accepted without the change."""
    checkpoint = load_checkpoint(write_changed(tmp_path / "gan.safetensors", numbers, "", None))
    assert load_generator(checkpoint).noise_size == 4
    assert load_classifier(checkpoint, "monitor").classes.tolist() == [1, 5, 9]


def test_a_network_of_other_sizes_is_refused(
    tmp_path: Path, numbers: GzslDataset, rng: torch.Generator
) -> None:
    regressor = Regressor(128, 20, rng)
    tensors = {**module_tensors(regressor=regressor), "regressor.bias": torch.zeros(3)}
    save_checkpoint(tmp_path / "r.safetensors", tensors, "regressor", 1, {}, numbers)
    with pytest.raises(InputError, match=r"regressor: found .*size mismatch"):
        load_regressor(load_checkpoint(tmp_path / "r.safetensors"))


def test_what_was_made_from_other_classes_is_refused(numbers: GzslDataset) -> None:
    path = Path("gan.safetensors")
    check_same_classes(path, describe(numbers), numbers)
    with pytest.raises(InputError, match="number of classes: found 100, made from numbers; allowed: 80"):
        check_same_classes(path, describe(numbers), make_validation_view(numbers, 0.2, 0))
    renamed = {**describe(numbers), "class_names": ["zero", *numbers.class_names[1:]]}
    with pytest.raises(InputError, match="found 'zero' of numbers; allowed: '00' at that place"):
        check_same_classes(path, renamed, numbers)
    with pytest.raises(InputError, match="attribute size: found 21"):
        check_same_classes(path, {**describe(numbers), "attribute_size": 21}, numbers)


def test_what_was_made_from_another_split_is_refused_with_both_hashes(numbers: GzslDataset) -> None:
    other, path = load_numbers(1), Path("gan.safetensors")
    check_same_classes(path, describe(other), numbers)
    check_same_split(path, describe(numbers), load_numbers(0))
    hashes = f"found {other.split_hash}, made from numbers; allowed: {numbers.split_hash}, as in numbers"
    with pytest.raises(InputError, match=rf"gan\.safetensors: split: {hashes}"):
        check_same_split(path, describe(other), numbers)


def test_any_flipped_byte_of_a_checkpoint_is_noticed(
    tmp_path: Path, numbers: GzslDataset, rng: torch.Generator
) -> None:
    path = write(tmp_path / "r.safetensors", numbers, regressor=Regressor(128, 20, rng))
    whole = path.read_bytes()
    for place in [*range(0, len(whole), len(whole) // 97), len(whole) - 1]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(InputError, match=r"r\.safetensors: \S+: found"):
            load_checkpoint(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(
    tmp_path: Path, numbers: GzslDataset, rng: torch.Generator, value: float
) -> None:
    regressor = Regressor(128, 20, rng)
    regressor.weight.data[3, 4] = value
    path = write(tmp_path / "r.safetensors", numbers, regressor=regressor)
    with pytest.raises(InputError, match=r"r\.safetensors: regressor\.weight: found NaN or infinity"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("key", "tensor", "found"),
    [
        ("0.exp_avg", torch.zeros(3), r"torch.float32 of shape \(3,\); allowed: float32 of shape \(8, 5\)"),
        ("1.exp_avg_sq", torch.zeros(8).long(), r"torch.int64 of shape \(8,\)"),
        ("1.step", torch.zeros(2), r"torch.float32 of shape \(2,\); allowed: float32 of shape \(\)"),
        ("0.step", None, "nothing"),
        ("2.step", torch.zeros(()), "a tensor; allowed: no such one"),
    ],
)
def test_an_optimizer_state_that_does_not_fit_is_refused_before_it_is_used(
    tmp_path: Path, numbers: GzslDataset, key: str, tensor: torch.Tensor | None, found: str
) -> None:
    def make() -> torch.optim.Adam:
        layer = torch.nn.Linear(5, 8)
        optimizer = torch.optim.Adam(layer.parameters(), fused=True)
        layer(torch.ones(1, 5)).sum().backward()
        optimizer.step()
        return optimizer

    tensors = {**optimizer_tensors("optimizer", make()), f"optimizer.{key}": tensor}
    path = tmp_path / "o.safetensors"
    given = {name: value for name, value in tensors.items() if value is not None}
    save_checkpoint(path, given, "gan", 1, {}, numbers)
    with pytest.raises(InputError, match=rf"o\.safetensors: optimizer\.{key}: found {found}"):
        load_optimizer(make(), load_checkpoint(path), "optimizer")
