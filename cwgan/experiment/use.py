"""What is done with a trained model: rows are named, classes are added."""

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from cwgan import tracking
from cwgan.command_line import Arguments, override, to_dict
from cwgan.config import Config
from cwgan.data.features import read_features
from cwgan.data.new_classes import LARGEST
from cwgan.errors import InputError
from cwgan.experiment import steps
from cwgan.experiment.steps import Files
from cwgan.files import copy_file, write_text, written_whole
from cwgan.model import registry
from cwgan.stages.job import GAN_FILE
from cwgan.tracking import Run

CHUNK = 4096  # rows named at a time


def predict(arguments: Arguments, scratch: Path) -> None:
    """Name rows of features, or images, with a logged model, and write the answers to a CSV file.

    InputError, and no file, if model, features or images are not there, or the model cannot take them.
    """
    given = arguments.references
    out = Path(given["out"]).resolve()
    if out.suffix != ".csv" or out.is_dir():
        raise InputError("--out", "file", out.name, "a file that ends in .csv")
    if ("features" in given) == ("images" in given):
        raise InputError("--features, --images", "value", "both or neither", "one of the two")
    model, width = registry.load_model(given["model"])
    source = Path(given.get("features") or given["images"]).resolve()
    names: Sequence[object] = ()
    if "images" in given:
        see = import_module("cwgan.images.see").see  # timm takes seconds, and is there for images alone
        names, rows = see(source, registry.backbone_of(model), given.get("weights", ""), arguments.config)
    else:
        rows = read_features(source, width)
    answers = []
    for start in range(0, len(rows), CHUNK):
        part = np.asarray(rows[start : start + CHUNK], dtype=np.float64)
        if bad := np.flatnonzero(~(np.abs(part) < LARGEST).all(axis=1)).tolist():
            where = f"NaN, infinity or a value beyond 1e30 in row {start + bad[0] + 1}"
            raise InputError(source, "features", where, "finite numbers")
        answers.append(registry.answer(model, part))
    table = pd.concat(answers, ignore_index=True)
    table.insert(0, "file" if names else "row", names or range(1, len(table) + 1))
    with written_whole(out) as path:
        table.to_csv(path, index=False)
    far = int(table["far"].sum())
    print(f"wrote {out}: {len(table)} rows, {far} of them far from every known class")


def add_classes(run: Run, config: Config, files: Files) -> None:
    """Add classes of which only attributes are known, and train the final classifier again; the GAN stays.

    Their rows come from the stored generator, or from predicted means where the model did without a GAN.
    """
    if config.protocol != "final":
        allowed = "final: under the validation protocol there is neither a model nor a class without rows"
        raise InputError("--model", "protocol", config.protocol, allowed)
    table = str(files["attributes"].resolve())
    if os.pathsep in table:
        raise InputError("--attributes", "file", table, f"a path without {os.pathsep}, which separates files")
    tables = [config.data.new_classes, table]
    config = override(config, {"data.new_classes": os.pathsep.join(filter(None, tables))})
    write_text(run.folder / "config.yaml", yaml.safe_dump(to_dict(config), sort_keys=False))
    job, gan_file = steps.open_job(run, config), None
    if config.generate.source != "means":
        gan_file = files.get("gan")
        if gan_file is None:
            gan_file = tracking.resolve(run.references["model"], GAN_FILE, "model", run.scratch)
    steps.show(run, steps.train_and_log(run, job, steps.generate_and_draw(job, gan_file)), config)
    if gan_file:  # so that this run can be built upon as well
        copy_file(gan_file, job.folder / GAN_FILE)
