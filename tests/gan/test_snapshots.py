from pathlib import Path

import pytest
import torch

from cwgan.command_line import to_dict
from cwgan.config import Config
from cwgan.data import matrix
from cwgan.data.dataset import GzslDataset
from cwgan.data.matrix import Stack, View, shuffle
from cwgan.gan import synthesis
from cwgan.gan.checkpoint import load_checkpoint, module_tensors, save_checkpoint
from cwgan.gan.networks import Generator
from cwgan.gan.snapshots import load_snapshots, plan_rows_of, snapshot_epochs
from cwgan.gan.synthesis import MadeRows, Recipe, synthesize
from cwgan.gan_config import GanConfig


def constant(value: float, attribute_size: int = 2, feature_size: int = 4) -> Generator:
    """Return a generator whose every feature is one number."""
    generator = Generator(attribute_size, 2, 3, feature_size, 0.2, torch.Generator())
    generator.load_state_dict(
        {name: torch.zeros_like(tensor) for name, tensor in generator.state_dict().items()}
    )
    torch.nn.init.constant_(generator.output_bias, value)
    return generator


def test_every_generator_makes_an_equal_part_of_every_class() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    recipe = Recipe(plan_rows_of([constant(1), constant(2)], torch.eye(2), labels), 0)
    order, made = recipe.labels, torch.cat([*recipe.make()])[:, 0]
    assert sorted(zip(order.tolist(), made.tolist(), strict=True)) == [
        (0, 1),
        (0, 1),
        (0, 2),
        (0, 2),
        (1, 1),
        (1, 1),
        (1, 2),
        (1, 2),
    ]


def test_one_generator_makes_what_it_makes_alone(rng: torch.Generator) -> None:
    generator, labels = Generator(2, 2, 3, 4, 0.2, rng), torch.tensor([0, 1, 1])
    recipe = Recipe(plan_rows_of([generator], torch.eye(2), labels), 3)
    alone = torch.cat(list(synthesize(generator, torch.eye(2), labels, torch.Generator().manual_seed(3))))
    assert torch.equal(recipe.labels, labels)
    assert torch.equal(torch.cat([*recipe.make()]), alone)


def test_fewer_rows_than_generators_are_made_by_the_first_ones() -> None:
    generators = [constant(1), constant(2), constant(3)]
    recipe = Recipe(plan_rows_of(generators, torch.eye(2), torch.tensor([0, 1])), 0)
    assert recipe.labels.tolist() == [0, 1]
    assert torch.cat([*recipe.make()])[:, 0].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("snapshots", "every", "epoch", "epochs"),
    [
        (1, 1, 5, [5]),
        (3, 1, 1, [1]),
        (3, 1, 2, [1, 2]),
        (3, 1, 5, [3, 4, 5]),
        (3, 2, 5, [2, 4, 5]),
        (3, 2, 6, [2, 4, 6]),
        (9, 2, 7, [2, 4, 6, 7]),
        (2, 10, 9, [9]),
    ],
)
def test_rows_come_from_the_epoch_itself_and_the_newest_multiples_below_it(
    snapshots: int, every: int, epoch: int, epochs: list[int]
) -> None:
    assert snapshot_epochs(GanConfig(snapshots=snapshots, snapshot_every=every), epoch) == epochs


def test_a_checkpoint_gives_its_snapshots_oldest_first_and_the_newest_generator_last(
    tmp_path: Path, numbers: GzslDataset
) -> None:
    made = {"snapshot0": constant(1, 20, 128), "snapshot1": constant(2, 20, 128)}
    tensors = module_tensors(**made, generator=constant(3, 20, 128))
    save_checkpoint(tmp_path / "gan.safetensors", tensors, "gan", 3, to_dict(Config()), numbers)
    generators = load_snapshots(load_checkpoint(tmp_path / "gan.safetensors"))
    assert [generator.output_bias[0].item() for generator in generators] == [1, 2, 3]


def test_rows_that_are_made_as_they_are_read_are_those_of_the_file(
    rng: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    generators = [Generator(2, 2, 3, 4, 0.2, rng) for _ in range(2)]
    monkeypatch.setattr(synthesis, "CHUNK", 8)
    recipe = Recipe(plan_rows_of(generators, torch.eye(2), torch.arange(2).repeat_interleave(21)), 3)
    whole, made = torch.cat([*recipe.make()]), MadeRows(Recipe(recipe.parts, 3), 4)
    order = shuffle(View(made), torch.arange(42), rng)
    assert sorted(order.tolist()) == list(range(42))
    for rows in order.split(5):
        assert torch.equal(made[rows], whole[rows])
    assert made.number_blocks(torch.arange(42)).bincount().tolist() == [8, 8, 5, 8, 8, 5]
    both = Stack(View(torch.rand(30, 4)), made)
    order = shuffle(both, torch.arange(72), rng)
    assert sorted(order.tolist()) == list(range(72))
    monkeypatch.setattr(matrix, "WINDOW", 1)  # so that blocks stay as they are
    order = shuffle(both, torch.arange(72), rng)
    parts = torch.where(order < 30, order, 100 + made.number_blocks((order - 30).clamp(min=0)))
    changes = int((parts[1:] != parts[:-1]).sum())
    assert changes == 30 + 6 - 1, "rows in memory come one by one, made ones part by part"
