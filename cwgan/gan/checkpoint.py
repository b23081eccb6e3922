"""Checkpoints: tensors and plain facts in one safetensors file, and the rule by which savepoints stay on disk."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from cwgan.data.dataset import GzslDataset
from cwgan.errors import InputError
from cwgan.files import written_whole
from cwgan.gan.networks import Generator, Regressor, SoftmaxClassifier

Module = TypeVar("Module", bound=nn.Module)
FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as read: where from, its tensors by dotted name, and its facts (kind, epoch, config, data)."""

    path: Path
    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of one part, such as "generator", without that prefix.

        Raises:
            InputError: there is no such part.
        """
        tensors = {
            key.removeprefix(f"{name}."): value
            for key, value in self.tensors.items()
            if key.startswith(f"{name}.")
        }
        if not tensors:
            parts = sorted({key.split(".")[0] for key in self.tensors})
            raise InputError(
                self.path, name, "nothing of that name", f"a checkpoint with it; here are {', '.join(parts)}"
            )
        return tensors


def save_checkpoint(
    path: Path,
    tensors: Mapping[str, Tensor],
    kind: str,
    epoch: int,
    config: Mapping[str, Any],
    dataset: GzslDataset,
) -> None:
    """Write a checkpoint; it appears whole or not at all, and the same content gives the same bytes.

    Args:
        path: of the file.
        tensors: by dotted name.
        kind: "monitor", "regressor", "gan" or "classifier".
        epoch: how many were trained.
        config: the nested configuration it was trained with.
        dataset: what it was trained on; sizes, class names, digest and split hash are kept.
    """
    facts = {"format": FORMAT, "kind": kind, "epoch": epoch, "config": config, "data": describe(dataset)}
    with written_whole(path) as temporary:
        on_cpu = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        save_file(on_cpu, temporary, metadata={"cwgan": json.dumps(facts)})


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        InputError: it is missing, damaged, of another program or of an unknown format.
    """
    facts = read_facts(path)
    with safe_open(path, framework="pt") as file:
        return Checkpoint(path, {key: file.get_tensor(key) for key in file.keys()}, facts)  # noqa: SIM118


def read_facts(path: Path) -> dict[str, Any]:
    """Read only the facts of a checkpoint; errors as `load_checkpoint`."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("cwgan", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            path, "file", f"unreadable ({error})", "a checkpoint written by this program"
        ) from None
    if facts.get("format") != FORMAT:
        raise InputError(path, "format", facts.get("format"), f"{FORMAT}, written by this program")
    return facts


def describe(dataset: GzslDataset) -> dict[str, Any]:
    """Return the plain facts by which a data set is known again."""
    return {
        "name": dataset.name,
        "digest": dataset.digest,
        "split_hash": dataset.split_hash,
        "feature_size": dataset.feature_size,
        "attribute_size": dataset.attribute_size,
        "class_names": list(dataset.class_names),
    }


def check_same_classes(path: Path, data: Mapping[str, Any], dataset: GzslDataset) -> None:
    """Refuse to use what was made from a data set of other sizes or classes."""
    sizes = (
        ("feature size", data["feature_size"], dataset.feature_size),
        ("attribute size", data["attribute_size"], dataset.attribute_size),
        ("number of classes", len(data["class_names"]), dataset.class_count),
    )
    for field_name, theirs, ours in sizes:
        if theirs != ours:
            raise InputError(
                path,
                field_name,
                f"{theirs}, made from {data['name']}",
                f"{ours}, as in {dataset.name} ({dataset.source})",
            )
    for their_name, our_name in zip(data["class_names"], dataset.class_names, strict=True):
        if their_name != our_name:
            raise InputError(
                path,
                "classes",
                f"'{their_name}' of {data['name']}",
                f"'{our_name}' at that place, as in {dataset.source}",
            )


def load_generator(checkpoint: Checkpoint, name: str = "generator") -> Generator:
    """Return the generator of a GAN's checkpoint, or a snapshot of it by name; errors as `load_module`."""
    part = checkpoint.part(name)
    options = checkpoint.facts["config"]["gan"]
    places = (("attribute_weight", 1), ("noise_weight", 1), ("hidden_bias", 0), ("output_bias", 0))
    attribute_size, noise_size, hidden_size, feature_size = (
        _size(checkpoint, part, *place) for place in places
    )
    slope, output = options["leaky_slope"], options.get("output", "relu")
    generator = Generator(
        attribute_size, noise_size, hidden_size, feature_size, slope, torch.Generator(), output
    )
    return load_module(generator, checkpoint, name)


def load_classifier(checkpoint: Checkpoint, name: str) -> SoftmaxClassifier:
    """Return a checkpoint's "monitor" or final "classifier"; errors as `load_module`."""
    part = checkpoint.part(name)
    feature_size, answers = _size(checkpoint, part, "weight", 1), _size(checkpoint, part, "classes", 0)
    relu = checkpoint.facts["config"].get(name, {}).get("relu_logits", False)
    return load_module(
        SoftmaxClassifier(feature_size, torch.arange(answers), torch.Generator(), relu), checkpoint, name
    )


def load_regressor(checkpoint: Checkpoint) -> Regressor:
    """Return a checkpoint's regressor; errors as `load_module`."""
    part = checkpoint.part("regressor")
    attribute_size, feature_size = (_size(checkpoint, part, "weight", axis) for axis in (0, 1))
    return load_module(Regressor(feature_size, attribute_size, torch.Generator()), checkpoint, "regressor")


def load_module(module: Module, checkpoint: Checkpoint, name: str) -> Module:
    """Copy one part of a checkpoint into a module and return it.

    Raises:
        InputError: there is no such part, or a parameter is missing or of another shape.
    """
    try:
        module.load_state_dict(checkpoint.part(name))
    except RuntimeError as error:
        raise InputError(
            checkpoint.path, name, " ".join(str(error).split()), "the parameters of the configured network"
        ) from None
    return module


def module_tensors(**modules: nn.Module | None) -> dict[str, Tensor]:
    """Return the tensors of several modules under their names; None is left out."""
    return {
        f"{name}.{key}": value
        for name, module in modules.items()
        if module
        for key, value in module.state_dict().items()
    }


def optimizer_tensors(name: str, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of an optimizer as tensors named <name>.<parameter's place>.<entry>."""
    return {
        f"{name}.{place}.{key}": value
        for place, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimizer the state that `optimizer_tensors` returned, less the name."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        place, entry = key.split(".")
        state.setdefault(int(place), {})[entry] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _size(checkpoint: Checkpoint, part: Mapping[str, Tensor], parameter: str, axis: int) -> int:
    if parameter not in part or part[parameter].ndim <= axis:
        raise InputError(checkpoint.path, parameter, "no such tensor", "a checkpoint written by this program")
    return part[parameter].shape[axis]
