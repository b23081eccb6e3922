"""Checkpoints: tensors and plain facts in one safetensors file."""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from cwgan.command_line import override, to_dict
from cwgan.config import Config
from cwgan.data.dataset import GzslDataset
from cwgan.data.scaling import hash_scaling
from cwgan.errors import InputError
from cwgan.files import written_whole
from cwgan.gan.networks import Generator, Module, Regressor, SoftmaxClassifier
from cwgan.layers import flatten

FORMAT, OURS = 2, "a checkpoint written by this program"
FACTS = {"kind": str, "epoch": int, "config": dict, "data": dict}
DATA_FACTS = {"name": str, "split_hash": str, "feature_size": int, "attribute_size": int, "class_names": list}
"""What other files must say of themselves, and of the data set that they were made from."""
FEATURES, ATTRIBUTES = "feature_size", "attribute_size"
GENERATOR_OPTIONS = (("leaky_slope", None), ("output", "relu"))  # with what stands for one that is missing
TYPES = (torch.float32, torch.int64, torch.uint8)  # of weights, classes and random states
Facts = Mapping[str, Any]
History = Mapping[str, Sequence[Mapping[str, float]]]  # by stage the terms of every epoch, from 1


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
    path: Path,
    tensors: Mapping[str, Tensor],
    kind: str,
    epoch: int,
    config: Facts,
    dataset: GzslDataset,
    history: History | None = None,
) -> None:
    """Write a checkpoint; it appears whole or not at all, and the same content gives the same bytes.

    Its kind, as "gan", is what was trained for so many epochs with a (nested) configuration on a data set.
    """
    facts = {"format": FORMAT, "kind": kind, "epoch": epoch, "config": config, "data": describe(dataset)}
    facts["history"] = history or {}
    on_cpu = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    facts["checksum"] = _checksum(on_cpu, facts)
    with written_whole(path) as temporary:
        save_file(on_cpu, temporary, metadata={"cwgan": json.dumps(facts)})


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; InputError if it is missing, damaged, of another program or of an unknown format.

    It is also damaged if a value is not finite, or a fact that is needed later is not there.
    """
    facts = read_facts(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except Exception as error:  # a type of numbers that PyTorch does not know, say
        raise InputError(path, "file", f"unreadable ({error})", OURS) from None
    # Those of format 1, written before version 0.2.0, have none.
    if facts["format"] > 1 and facts.pop("checksum", None) != _checksum(tensors, facts):
        raise InputError(path, "checksum", "that of other contents: the file is damaged", OURS)
    for key, value in tensors.items():
        if value.dtype not in TYPES:
            raise InputError(path, key, value.dtype, OURS)
        if not torch.isfinite(value.sum(dtype=torch.float64)):
            raise InputError(path, key, "NaN or infinity", "finite numbers")
    return Checkpoint(path, tensors, facts)


def read_facts(path: Path) -> dict[str, Any]:
    """Read only the facts of a checkpoint; errors as `load_checkpoint`."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("cwgan", "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise InputError(path, "file", f"unreadable ({error})", OURS) from None
    number = facts.get("format") if isinstance(facts, dict) else None
    if number not in (1, FORMAT):
        raise InputError(path, "format", number, f"up to {FORMAT}, written by this program")
    check_facts(path, facts, FACTS)
    check_facts(path, facts["data"], DATA_FACTS)
    return facts


def check_facts(path: Path, facts: object, wanted: Mapping[str, type]) -> None:
    """Refuse facts of a file that lack one of the wanted, or have it of another type."""
    given = facts if isinstance(facts, dict) else {}
    for name, kind in wanted.items():
        if not isinstance(given.get(name), kind):
            found = "nothing" if given.get(name) is None else repr(given[name])[:60]
            raise InputError(path, name, found, f"a {kind.__name__}, as written by this program")


def describe(dataset: GzslDataset) -> dict[str, Any]:
    """Return the plain facts by which a data set is known again."""
    names = ("name", "digest", "split_hash", "feature_size", "attribute_size")
    facts = {**{name: getattr(dataset, name) for name in names}, "class_names": list(dataset.class_names)}
    return {**facts, "scaling": hash_scaling(dataset)}


def check_same_classes(path: Path, data: Facts, dataset: GzslDataset, fewer_classes: bool = False) -> None:
    """Refuse to use what was made from a data set of other sizes or classes.

    With `fewer_classes` it may lack the last classes of this data set.
    """
    check_facts(path, data, DATA_FACTS)
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
        hint = "with data.seed, division, fold and scaling as then; evaluate also takes data.other_split=true"
        raise InputError(path, "split", f"{found}, made from {data['name']}", f"{where}; {hint}")


def check_same_scaling(path: Path, data: Facts, dataset: GzslDataset) -> None:
    """Refuse to use what was made from features that were scaled otherwise, as far as the file tells."""
    found, wanted = data.get("scaling"), hash_scaling(dataset)
    if found not in (None, wanted):
        where = f"{wanted}, fitted on the training rows of {dataset.name}"
        hint = "with data.scaling=overall it seldom differs between splits, with none never"
        raise InputError(path, "scaling", f"{found}, fitted on those of {data['name']}", f"{where}; {hint}")


def load_generator(checkpoint: Checkpoint, name: str = "generator") -> Generator:
    """Return the generator of a GAN's checkpoint, or a snapshot of it by name; errors as `load_module`."""
    feature_size, hidden_size = _shape(checkpoint, name, "output_weight", FEATURES, None)
    _, attribute_size = _shape(checkpoint, name, "attribute_weight", hidden_size, ATTRIBUTES)
    _, noise_size = _shape(checkpoint, name, "noise_weight", hidden_size, None)
    slope, output = (_option(checkpoint, f"gan.{key}", default) for key, default in GENERATOR_OPTIONS)
    sizes = attribute_size, noise_size, hidden_size, feature_size
    return load_module(Generator(*sizes, slope, torch.Generator(), output), checkpoint, name)


def load_classifier(checkpoint: Checkpoint, name: str) -> SoftmaxClassifier:
    """Return a checkpoint's "monitor" or final "classifier"; errors as `load_module`."""
    answers, feature_size = _shape(checkpoint, name, "weight", None, FEATURES)
    relu = _option(checkpoint, f"{name}.relu_logits", False)
    classifier = SoftmaxClassifier(feature_size, torch.arange(answers), torch.Generator(), relu)
    classes = load_module(classifier, checkpoint, name).classes
    count = len(checkpoint.facts["data"]["class_names"])
    if classes[0] < 0 or classes[-1] >= count or (classes.diff() <= 0).any():
        allowed = f"ascending class numbers below {count}"
        raise InputError(checkpoint.path, f"{name}.classes", classes.tolist()[:9], allowed)
    return classifier


def load_regressor(checkpoint: Checkpoint) -> Regressor:
    """Return a checkpoint's regressor; errors as `load_module`."""
    attribute_size, feature_size = _shape(checkpoint, "regressor", "weight", ATTRIBUTES, FEATURES)
    return load_module(Regressor(feature_size, attribute_size, torch.Generator()), checkpoint, "regressor")


def load_module(module: Module, checkpoint: Checkpoint, name: str) -> Module:
    """Copy one part of a checkpoint into a module and return that; InputError if they do not fit."""
    tensors = checkpoint.part(name)
    for key, value in module.state_dict().items():
        if key in tensors and tensors[key].dtype != value.dtype:
            raise InputError(checkpoint.path, f"{name}.{key}", tensors[key].dtype, f"{value.dtype}")
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        allowed = "the parameters of the configured network"
        raise InputError(checkpoint.path, name, " ".join(str(error).split()), allowed) from None
    return module


def module_tensors(**modules: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of several modules under their names."""
    states = {name: module.state_dict() for name, module in modules.items()}
    return {f"{name}.{key}": value for name, state in states.items() for key, value in state.items()}


def _checksum(tensors: Mapping[str, Tensor], facts: Facts) -> int:
    """Return a checksum of what a checkpoint holds: it tells a damaged file, not a forged one."""
    found = zlib.crc32(json.dumps(facts).encode())
    for key in sorted(tensors):
        value = tensors[key]
        found = zlib.crc32(f"{key} {value.dtype} {tuple(value.shape)}".encode(), found)
        found = zlib.crc32(value.flatten().view(torch.uint8).numpy().data, found)
    return found


def _shape(checkpoint: Checkpoint, name: str, parameter: str, *wanted: int | str | None) -> tuple[int, ...]:
    """Return a tensor's shape; each side is as wanted: a number, a fact of the data, or any from 1."""
    tensor, data = checkpoint.part(name).get(parameter), checkpoint.facts["data"]
    known = [data[side] if isinstance(side, str) else side for side in wanted]
    sides = tuple(tensor.shape) if tensor is not None and tensor.ndim == len(known) else (0,) * len(known)
    if any(found < 1 or asked not in (None, found) for found, asked in zip(sides, known, strict=True)):
        found = "nothing" if tensor is None else f"shape {tuple(tensor.shape)}"
        allowed = " x ".join("any" if side is None else str(side) for side in known)
        raise InputError(checkpoint.path, f"{name}.{parameter}", found, allowed)
    return sides


def _option(checkpoint: Checkpoint, name: str, default: Any) -> Any:
    """Return a parameter of the stored configuration; InputError if it is not there or not allowed."""
    value = flatten(checkpoint.facts["config"]).get(name, default)
    return flatten(to_dict(override(Config(), {name: value}, checkpoint.path)))[name]
