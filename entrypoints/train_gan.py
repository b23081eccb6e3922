"""Fit the monitor classifier and the regressor, freeze them, and train the GAN."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cwgan.command_line import Command
from cwgan.config import Config
from cwgan.errors import InputError
from entrypoints.launch import launch, open_data

if TYPE_CHECKING:
    from cwgan.data.dataset import GzslDataset
    from cwgan.tracking import Run

COMMAND = Command(
    "train_gan",
    "Fit the monitor classifier and the regressor on real seen features, freeze them, and train the GAN.",
    ("data", "monitor", "regressor", "gan", "generate", "classifier"),
    {
        "pretrained": "run id or checkpoint that supplies what monitor.train=false or regressor.train=false leaves out",
        "resume": "run id or GAN checkpoint to continue to gan.epochs; its configuration is inherited",
    },
    inherits="resume",
    config="numbers",
)
ARTIFACTS = {"pretrained": "judges.safetensors", "resume": "gan.safetensors"}


def stage(
    run: "Run", config: Config, dataset: "GzslDataset", files: dict[str, Path]
) -> dict[str, list[tuple[int, float]]]:
    """Train, then draw the curves; return them by name."""
    from cwgan.stages import train as training

    if "pretrained" in files and ("resume" in files or (config.monitor.train and config.regressor.train)):
        raise InputError(
            "--pretrained",
            "use",
            "nothing to supply",
            "monitor.train=false or regressor.train=false beside it, and no resume",
        )
    history: dict[str, list[tuple[int, float]]] = {}

    def log(metrics: Mapping[str, float], epoch: int) -> None:
        run.log(metrics, epoch)
        for name, value in metrics.items():
            history.setdefault(name, []).append((epoch, value))

    training.train(config, dataset, run.folder, log, files.get("pretrained"), files.get("resume"))
    if history:
        from cwgan.stages import figures

        figures.training_curves(run.folder / "training_curves.png", history)
    return history


def body(run: "Run", config: Config, files: dict[str, Path]) -> None:
    dataset = open_data(run, config)
    stage(run, config, dataset, files)


if __name__ == "__main__":
    sys.exit(launch(COMMAND, ARTIFACTS, body))
