"""Images of unknown class become the features that a trained model wants."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cwgan.config import Config
from cwgan.errors import InputError
from cwgan.images.extract import embed_files, open_backbone, why_unreadable
from cwgan.images.listing import ENDINGS, KINDS, list_files
from cwgan.machine import set_up


def see(source: Path, facts: Mapping[str, Any], weights: str, config: Config) -> tuple[list[str], np.ndarray]:
    """Return the images of a folder, or one image, that can be read, and their rows; list the others.

    `facts` are those of the backbone that the model learnt from, `weights` another place of its file.
    InputError for a model that did not learn from images, another backbone, or no image that can be read.
    """
    if not facts:
        allowed = "a model of data that extract and describe made, or --features"
        raise InputError("--images", "model", "a model that did not learn from images", allowed)
    is_one = source.is_file() and source.name.lower().endswith(ENDINGS)
    folder, names = (source.parent, [source.name]) if is_one else (source, list_files(source))
    if not names:
        raise InputError("--images", "folder", f"no image in {source}", f"a folder of images, or {KINDS}")
    set_up(config.threads, config.precision)
    backbone = open_backbone(config, facts, weights)
    files = [folder / name for name in names]
    rows = np.concatenate([*embed_files(backbone, files, config.extract.batch_size, config.extract.workers)])
    kept = [row for row in range(len(rows)) if np.isfinite(rows[row, 0])]
    if skipped := sorted(set(range(len(rows))) - set(kept)):
        listed = "".join(f"\n  {names[row]}: {why_unreadable(backbone, files[row])}" for row in skipped)
        print(f"skipped {len(skipped)} unreadable images:{listed}")
    if not kept:
        raise InputError(source, "images", "none that can be read", KINDS)
    return [names[row] for row in kept], rows[kept]
