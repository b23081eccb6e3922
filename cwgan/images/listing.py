"""Image files and the names of their classes: a folder per class, or a CSV file of file and class."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from cwgan.errors import InputError
from cwgan.options import check_text

FEATURES_FILE = "features.h5"
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
KINDS = f"an image ({', '.join(ENDINGS)})"
LAYOUT = "a folder with a folder of images per class, or a CSV file with the columns file and class"


def list_images(source: Path) -> tuple[Path, list[tuple[str, str]]]:
    """Return the folder that paths start at, and path and class of every image, in order.

    InputError for a class without images, a class in two spellings, or a source that cannot be read.
    """
    if source.suffix == ".csv" and source.is_file():
        return source.parent, _read_table(source)
    if not source.is_dir():
        raise InputError("--images", "folder", f"nothing readable at {source}", LAYOUT)
    classes = sorted(entry.name for entry in source.iterdir() if entry.is_dir() and _is_shown(entry.name))
    if not classes:
        raise InputError(source, "folder", "no folder in it", LAYOUT)
    check_spelling(classes, source)
    files = []
    for name in classes:
        check_text(str(source), "name", name)
        images = list_files(source / name)
        if not images:
            allowed = f"at least {KINDS}; a class without images has no folder, only a description"
            raise InputError(source / name, "class folder", "no image", allowed)
        files += [(f"{name}/{image}", name) for image in images]
    return source, files


def list_files(folder: Path) -> list[str]:
    """Return the images in a folder and below, relative to it, sorted; say how many other files are there."""
    walk = os.walk(folder, followlinks=True)
    paths = (Path(place, name).relative_to(folder) for place, _, names in walk for name in names)
    found = sorted(path.as_posix() for path in paths if all(map(_is_shown, path.parts)))
    images = [path for path in found if path.lower().endswith(ENDINGS)]
    if others := len(found) - len(images):
        print(f"{folder}: {others} files passed over, whose names do not end as those of images")
    for path in images:
        check_text(str(folder), "name", path)
    return images


def check_spelling(names: Iterable[str], where: object) -> None:
    """Raise InputError if two names differ in nothing but case, spaces, and the signs _ - . and '."""
    known: dict[str, str] = {}
    for name in names:
        if (other := known.setdefault(plain(name), name)) != name:
            raise InputError(where, "class", f"two spellings, {other!r} and {name!r}", "one spelling a class")


def plain(name: str) -> str:
    """Return what two spellings of a name have in common."""
    return re.sub(r"[\s_.'-]+", "", name).casefold() or name


def _read_table(path: Path) -> list[tuple[str, str]]:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except (ValueError, OSError) as error:  # pandas' errors are ValueErrors
        raise InputError(path, "file", f"unreadable ({error})", LAYOUT) from None
    if not {"file", "class"} <= set(table.columns) or table.empty:
        raise InputError(path, "columns", f"{', '.join(table.columns)}; {len(table)} lines", LAYOUT)
    check_spelling(table["class"], path)
    for number, (file, name) in enumerate(zip(table["file"], table["class"], strict=True), start=2):
        if not name.strip() or not (path.parent / file).is_file():
            allowed = f"a class and a file that is there, from {path.parent}"
            raise InputError(path, f"line {number}", f"file {file!r}, class {name!r}", allowed)
    return list(zip(table["file"], table["class"].str.strip(), strict=True))


def _is_shown(name: str) -> bool:
    return not name.startswith(".")
