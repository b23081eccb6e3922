"""Images become rows of features, in one file that `describe` completes to a data set."""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from cwgan.command_line import Arguments
from cwgan.config import Config
from cwgan.errors import InputError
from cwgan.files import create_hdf5, write_all, write_table, write_text, written_whole
from cwgan.images.listing import FEATURES_FILE, KINDS, list_images
from cwgan.machine import find_device, set_up

try:
    from cwgan.images.backbone import Backbone, BackboneError, Unreadable
except ImportError as _error:
    raise InputError("environment", "package", f"no {_error.name}", "pip install -e .[images]") from None

SKIPPED_FILE = "skipped.csv"
CHUNK = 1024  # rows copied at a time


def extract(arguments: Arguments, scratch: Path) -> None:
    """Write features.h5: a row for every image that can be read, its file and class, and its backbone.

    What is done stays on disk, and the same command goes on after it. InputError as from `list_images`, for
    an unknown backbone or bad weights, or for a class none of whose images can be read.
    """
    config, out = arguments.config, Path(arguments.references["out"]).resolve()
    root, listed = list_images(Path(arguments.references["images"]).resolve())
    set_up(config.threads, config.precision)
    options, backbone = config.extract, open_backbone(config)
    files = [root / name for name, _ in listed]
    print(f"{len(files)} images of {len({name for _, name in listed})} classes, {backbone.facts['backbone']}")
    facts = {**backbone.facts, "batch_size": options.batch_size, "files": _digest(files)}
    rows = _embed_all(out, facts, backbone, files, options.batch_size, options.workers)
    kept = ~np.isnan(rows[:, 0])
    _report(out, [listed[row][0] for row in np.flatnonzero(~kept)], root, backbone)
    chosen = np.flatnonzero(kept)
    for name in sorted({name for _, name in listed} - {listed[row][1] for row in chosen}):
        raise InputError(root, f"class {name}", "no image that can be read", f"at least {KINDS}")
    with written_whole(out / FEATURES_FILE) as path, create_hdf5(path) as file:
        file["backbone"] = json.dumps(backbone.facts, sort_keys=True)
        file["files"] = np.array([listed[row][0].encode() for row in chosen])
        file["classes"] = np.array([listed[row][1].encode() for row in chosen])
        matrix = file.create_dataset("X", (len(chosen), rows.shape[1]), np.float32)
        for start in range(0, len(chosen), CHUNK):
            matrix[start : start + CHUNK] = rows[chosen[start : start + CHUNK]]
    for part in _parts(out):
        part.unlink()
    print(f"wrote {out / FEATURES_FILE}: {len(chosen)} rows of {rows.shape[1]} features")


def open_backbone(config: Config, facts: Mapping[str, Any] | None = None, weights: str = "") -> Backbone:
    """Return the backbone of the configuration, or that of the facts; InputError if there is none."""
    options, device = config.extract, find_device(config.device)
    try:
        if facts:
            return Backbone.again(facts, weights, device)
        return Backbone(options.backbone, options.weights, options.image_size, device)
    except BackboneError as error:
        raise InputError("backbone", *error.args) from None


def embed_files(
    backbone: Backbone, files: Sequence[Path], batch_size: int, workers: int
) -> Iterator[np.ndarray]:
    """Yield the features of one batch after another; the row of an unreadable image is NaN."""
    loader = DataLoader(_Images(backbone, files), batch_size, num_workers=workers)
    for images, is_readable in loader:
        rows = backbone.embed(images)
        rows[~is_readable.numpy()] = np.nan
        yield rows


class _Images(Dataset):
    def __init__(self, backbone: Backbone, files: Sequence[Path]) -> None:
        self.backbone, self.files = backbone, files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, bool]:
        try:
            return self.backbone.read(self.files[index]), True
        except Unreadable:
            return torch.zeros(self.backbone.input_size), False


def _embed_all(
    out: Path, facts: dict[str, Any], backbone: Backbone, files: Sequence[Path], batch_size: int, workers: int
) -> np.ndarray:
    """Append the rows of whole batches to a file, after those that an earlier command left; return all."""
    facts_file, rows_file = _parts(out)
    width = backbone.embed(torch.zeros(1, *backbone.input_size)).shape[1]
    text, done = json.dumps(facts, sort_keys=True), 0
    if facts_file.is_file() and rows_file.is_file() and facts_file.read_text(encoding="utf-8") == text:
        done = rows_file.stat().st_size // (4 * width)
        done = done if done == len(files) else done // batch_size * batch_size
        print(f"{done} rows are there already")
    else:
        rows_file.unlink(missing_ok=True)
        write_text(facts_file, text)
    seconds = 0.1 if sys.stderr.isatty() else 15.0
    bar: tqdm = tqdm(total=len(files), initial=done, mininterval=seconds, unit=" images")
    with open(rows_file, "ab", buffering=0) as file, bar:
        file.truncate(4 * width * done)
        for rows in embed_files(backbone, files[done:], batch_size, workers):
            write_all(file, rows.astype(np.float32).tobytes())
            bar.update(len(rows))
    return np.memmap(rows_file, np.float32, "r", shape=(len(files), width))


def _report(out: Path, skipped: Sequence[str], root: Path, backbone: Backbone) -> None:
    """List the images that cannot be read in skipped.csv, and say how many there are."""
    if not skipped:
        (out / SKIPPED_FILE).unlink(missing_ok=True)
        return
    reasons = [(name, why_unreadable(backbone, root / name)) for name in skipped]
    write_table(out / SKIPPED_FILE, ["file", "reason"], reasons)
    print(f"skipped {len(skipped)} unreadable images, as {skipped[0]}: see {out / SKIPPED_FILE}")


def why_unreadable(backbone: Backbone, file: Path) -> str:
    try:
        backbone.read(file)
    except Unreadable as error:
        return str(error)
    return "its features are not finite"


def _parts(out: Path) -> tuple[Path, Path]:
    """Return the files of what is done: what it is of, and the rows."""
    return out / "features.part.json", out / "features.part"


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        facts = file.stat()
        digest.update(f"{file} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()
