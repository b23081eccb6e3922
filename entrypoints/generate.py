"""Generate features of classes from their attributes with a trained GAN."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cwgan.command_line import Command
from cwgan.config import Config
from entrypoints.launch import launch, open_data

if TYPE_CHECKING:
    from cwgan.data.dataset import GzslDataset
    from cwgan.tracking import Run

COMMAND = Command(
    "generate",
    "Generate features of unseen, seen or all classes from their attributes, with a trained GAN.",
    ("data", "generate"),
    {"gan": "run id or checkpoint of the trained GAN (required); its configuration is inherited"},
    required=("gan",),
    inherits="gan",
)
ARTIFACTS = {"gan": "gan.safetensors"}


def stage(run: "Run", config: Config, dataset: "GzslDataset", gan_file: Path) -> Path:
    """Write synthetic.h5 and, for the built-in data, draw what the generator imagines; return the file."""
    from cwgan.stages import pipeline

    path, generator = pipeline.generate(config, dataset, gan_file, run.folder)
    if config.data.path == "numbers":
        from cwgan.data.numbers import IMAGE_SHAPE
        from cwgan.stages import figures

        imagined = pipeline.imagine(config, dataset, generator, samples=4)
        figures.imagined_numbers(
            run.folder / "imagined_numbers.png",
            imagined,
            dataset,
            dataset.unseen_classes.tolist(),
            IMAGE_SHAPE,
        )
    return path


def body(run: "Run", config: Config, files: dict[str, Path]) -> None:
    dataset = open_data(run, config)
    print(f"wrote {stage(run, config, dataset, files['gan'])}")


if __name__ == "__main__":
    sys.exit(launch(COMMAND, ARTIFACTS, body))
