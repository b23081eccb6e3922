"""Checkpoints: tensors and plain facts in one safetensors file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from cwgan.data.dataset import GzslDataset
from cwgan.errors import InputError
from cwgan.files import written_whole
from cwgan.gan.networks import Generator, Module, Regressor, SoftmaxClassifier

FORMAT, OURS = 1, "a checkpoint written by this program"
Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as read: its tensors by dotted name, and its facts (kind, epoch, config, data)."""

    path: Path
    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of one part, such as "generator", without that prefix; InputError if none."""
        split = [(*key.partition("."), value) for key, value in self.tensors.items()]
        tensors = {rest: value for part, _, rest, value in split if part == name}
        if not tensors:
            allowed = f"a checkpoint with it; here are {', '.join(sorted({part for part, *_ in split}))}"
            raise InputError(self.path, name, "nothing of that name", allowed)
        return tensors


def save_checkpoint(
    path: Path, tensors: Mapping[str, Tensor], kind: str, epoch: int, config: Facts, dataset: GzslDataset
) -> None:
    """Write a checkpoint; it appears whole or not at all, and the same content gives the same bytes.

    Its kind, as "gan", is what was trained for so many epochs with a (nested) configuration on a data set.
    """
    facts = {"format": FORMAT, "kind": kind, "epoch": epoch, "config": config, "data": describe(dataset)}
    with written_whole(path) as temporary:
        on_cpu = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        save_file(on_cpu, temporary, metadata={"cwgan": json.dumps(facts)})


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; InputError if it is missing, damaged, of another program or of an unknown format."""
    facts = read_facts(path)
    with safe_open(path, framework="pt") as file:
        return Checkpoint(path, {key: file.get_tensor(key) for key in file.keys()}, facts)  # noqa: SIM118


def read_facts(path: Path) -> dict[str, Any]:
    """Read only the facts of a checkpoint; errors as `load_checkpoint`."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("cwgan", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(path, "file", f"unreadable ({error})", OURS) from None
    if facts.get("format") != FORMAT:
        raise InputError(path, "format", facts.get("format"), f"{FORMAT}, written by this program")
    return facts


def describe(dataset: GzslDataset) -> dict[str, Any]:
    """Return the plain facts by which a data set is known again."""
    names = ("name", "digest", "split_hash", "feature_size", "attribute_size")
    return {**{name: getattr(dataset, name) for name in names}, "class_names": list(dataset.class_names)}


def check_same_classes(path: Path, data: Facts, dataset: GzslDataset, fewer_classes: bool = False) -> None:
    """Refuse to use what was made from a data set of other sizes or classes.

    With `fewer_classes` it may lack the last classes of this data set.
    """
    theirs, ours = data["class_names"], dataset.class_names
    names = ("feature size", "attribute size", "number of classes")
    found_sizes = data["feature_size"], data["attribute_size"], len(theirs)
    sizes = dataset.feature_size, dataset.attribute_size, len(ours)
    for name, found, wanted in zip(names, found_sizes, sizes, strict=True):
        if found != wanted and not (fewer_classes and name == names[2] and found < wanted):
            allowed = f"{wanted}, as in {dataset.name} ({dataset.source})"
            raise InputError(path, name, f"{found}, made from {data['name']}", allowed)
    for their_name, our_name in zip(theirs, ours, strict=False):
        if their_name != our_name:
            allowed = f"'{our_name}' at that place, as in {dataset.source}"
            raise InputError(path, "classes", f"'{their_name}' of {data['name']}", allowed)


def check_same_split(path: Path, data: Facts, dataset: GzslDataset) -> None:
    """Refuse to use what was made from other rows: classes that are unseen here may have been trained on."""
    found, wanted = data["split_hash"], dataset.split_hash
    if found != wanted:
        where = f"{wanted}, as in {dataset.name} ({dataset.source})"
        hint = "the hash is of the rows as scaled; evaluate accepts another one with data.other_split=true"
        raise InputError(path, "split", f"{found}, made from {data['name']}", f"{where}; {hint}")


def load_generator(checkpoint: Checkpoint, name: str = "generator") -> Generator:
    """Return the generator of a GAN's checkpoint, or a snapshot of it by name; errors as `load_module`."""
    hidden_size, attribute_size = _shape(checkpoint, name, "attribute_weight", 2)
    _, noise_size = _shape(checkpoint, name, "noise_weight", 2)
    (feature_size,) = _shape(checkpoint, name, "output_bias", 1)
    options = checkpoint.facts["config"]["gan"]
    sizes = attribute_size, noise_size, hidden_size, feature_size
    others = options["leaky_slope"], torch.Generator(), options.get("output", "relu")
    return load_module(Generator(*sizes, *others), checkpoint, name)


def load_classifier(checkpoint: Checkpoint, name: str) -> SoftmaxClassifier:
    """Return a checkpoint's "monitor" or final "classifier"; errors as `load_module`."""
    answers, feature_size = _shape(checkpoint, name, "weight", 2)
    relu = checkpoint.facts["config"].get(name, {}).get("relu_logits", False)
    classifier = SoftmaxClassifier(feature_size, torch.arange(answers), torch.Generator(), relu)
    return load_module(classifier, checkpoint, name)


def load_regressor(checkpoint: Checkpoint) -> Regressor:
    """Return a checkpoint's regressor; errors as `load_module`."""
    attribute_size, feature_size = _shape(checkpoint, "regressor", "weight", 2)
    return load_module(Regressor(feature_size, attribute_size, torch.Generator()), checkpoint, "regressor")


def load_module(module: Module, checkpoint: Checkpoint, name: str) -> Module:
    """Copy one part of a checkpoint into a module and return that; InputError if they do not fit."""
    try:
        module.load_state_dict(checkpoint.part(name))
    except RuntimeError as error:
        allowed = "the parameters of the configured network"
        raise InputError(checkpoint.path, name, " ".join(str(error).split()), allowed) from None
    return module


def module_tensors(**modules: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of several modules under their names."""
    states = {name: module.state_dict() for name, module in modules.items()}
    return {f"{name}.{key}": value for name, state in states.items() for key, value in state.items()}


def optimizer_tensors(name: str, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of an optimizer as tensors named <name>.<parameter's place>.<entry>."""
    states = optimizer.state_dict()["state"].items()
    return {f"{name}.{place}.{key}": value for place, state in states for key, value in state.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimizer the state that `optimizer_tensors` returned, without the name in front."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        place, entry = key.split(".")
        state.setdefault(int(place), {})[entry] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _shape(checkpoint: Checkpoint, name: str, parameter: str, axes: int) -> tuple[int, ...]:
    tensor = checkpoint.part(name).get(parameter)
    if tensor is None or tensor.ndim != axes:
        raise InputError(checkpoint.path, f"{name}.{parameter}", "no such tensor", OURS)
    return tuple(tensor.shape)
