"""What people see of runs in the MLflow UI: names, addresses, the view of all results, and tables."""

import json
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from cwgan.config import Config

SEEDED = ("main", "train_gan", "generate", "train_cls", "evaluate", "add_classes")
SHAPING = ("monitor.", "regressor.", "gan.", "generate.", "classifier.")
MOST_SHOWN = 2  # settings in a name
TRAINING_PAGES = "workflowType=machine_learning"  # without it the UI opens on its pages for language models
VIEW = "results"
COLUMNS = ("H", "S", "U", "T1", "AUSUC", "val_H")
EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.experiment.primaryMetric.name": "H",
    "mlflow.experiment.primaryMetric.greaterIsBetter": "True",
    f"mlflow.sharedViewState.{VIEW}": json.dumps(
        {
            "selectedColumns": [f"metrics.`{name}`" for name in COLUMNS],
            "searchFilter": "metrics.`H` >= 0",  # a row a result: no stages, nothing that was refused
            "orderByKey": "metrics.`H`",
            "orderByAsc": False,
        }
    ),
}
"""Tags that an experiment gets where it does not have them."""


def name_run(stage: str, config: Config, given: Mapping[str, str]) -> str:
    """Return the name of a run, of what tells it from others: stage, data, layers, seed, settings given."""
    data = config.data.name or Path(config.data.path).resolve().name
    if stage.endswith(f"seed {config.seed}"):
        return f"{data} {stage}"
    files = ",".join(given[kind] for kind in ("config", "variant") if kind in given).split(",")
    layers = [
        name for file in files if (name := Path(file.strip()).stem).casefold() not in ("", data.casefold())
    ]
    settings = [f"{key}={value}" for key, value in given.items() if key.startswith(SHAPING)]
    seeds = [f"seed {config.seed}"] if stage.split(maxsplit=1)[0] in (*SEEDED, "select") else []
    if stage == "main" and config.seeds:
        seeds = ["seeds", *map(str, config.seeds)]
    words = [*([] if stage == "main" else [stage]), data, *layers, *seeds, *settings[:MOST_SHOWN]]
    return " ".join(words)


def describe_place(store: str, experiment_id: str, run_id: str) -> str:
    """Return two or three lines that say where a run, and all results of its experiment, are shown."""
    site = store if store.startswith("http") else "http://127.0.0.1:5000"
    runs = f"{site}/#/experiments/{experiment_id}/runs"
    lines = [
        f"Curves and pictures: {runs}/{run_id}?{TRAINING_PAGES}",
        f"All results, by H:   {runs}?{TRAINING_PAGES}&viewStateShareKey={VIEW}",
    ]
    if not store.startswith("http"):
        # With its folder, as the shell that `make demo` was typed into may not know the environment.
        mlflow = shlex.quote(str(Path(sys.executable).with_name("mlflow")))
        lines.insert(0, f"To look at the run:  {mlflow} ui --backend-store-uri {shlex.quote(store)}")
    return "\n".join(lines)


def widen_tables(text: str) -> str:
    """Return Markdown with room between the columns of its tables, as the UI leaves none."""
    rule = re.compile(r"[|:-]+")
    lines = [
        line.replace(" | ", " &emsp;| ") if line.startswith("|") and not rule.fullmatch(line) else line
        for line in text.splitlines()
    ]
    return "\n".join(lines)
