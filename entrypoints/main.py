"""The whole road: train the GAN, generate, train and score the final classifier; one parent run, a child run a stage."""

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cwgan.command_line import Command
from cwgan.config import Config
from cwgan.errors import InputError
from entrypoints import generate, train_cls, train_gan
from entrypoints.launch import launch

if TYPE_CHECKING:
    from cwgan.tracking import Run

COMMAND = Command(
    "main",
    "Train the GAN, generate features of the unseen classes, train one classifier over all classes and score it.",
    train_gan.COMMAND.sections,
    {},
    config=train_gan.COMMAND.config,
    variant=train_gan.COMMAND.variant,
)
SHOWN = ("training_curves.png", "imagined_numbers.png", "class_accuracies.png", "results.json", "per_class_accuracy.csv")


def body(run: "Run", config: Config, files: object) -> None:
    """Run the stages as children of the open run, and gather scores, table and pictures in it."""
    from cwgan import tracking
    from cwgan.pipeline import CALIBRATED, HEADLINE, chosen, load_data

    began = time.perf_counter()
    dataset = load_data(config)
    run.log_dataset(dataset)
    print(dataset.summary())
    seconds = {"load data": time.perf_counter() - began}

    @contextmanager
    def child(command: Command) -> Iterator["Run"]:
        began = time.perf_counter()
        with tracking.run(command.name, config, command.sections, {}, nested=True) as stage:
            stage.log_dataset(dataset)
            yield stage
            for name in SHOWN:
                if (stage.folder / name).is_file():
                    shutil.copyfile(stage.folder / name, run.folder / name)
        seconds[command.name] = time.perf_counter() - began

    with child(train_gan.COMMAND) as stage:
        gan_file = train_gan.stage(stage, config, dataset, {})
    if gan_file is None:
        raise InputError(
            "configuration", "gan.train", "false", "true, as main goes on to generate; the entry point train_gan can stop there"
        )
    with child(generate.COMMAND) as stage:
        synthetic_file = generate.stage(stage, config, dataset, gan_file)
    with child(train_cls.COMMAND) as stage:
        scores = train_cls.stage(stage, config, dataset, synthetic_file)
    run.log_scores({**scores, **{f"seconds/{name}": value for name, value in seconds.items()}})
    table = summary(dataset.name, chosen(scores, HEADLINE + CALIBRATED), seconds)
    (run.folder / "summary.md").write_text(table)
    print(f"\n{table}")
    print("Open it:  mlflow ui --backend-store-uri", tracking.store_uri())
    print(f"          http://127.0.0.1:5000/#/experiments/{run.experiment_id}/runs/{run.run_id}\n")


def summary(name: str, scores: dict[str, float], seconds: dict[str, float]) -> str:
    """Return the scores and the seconds of each stage as a table that reads well in a terminal and in Markdown."""
    head = f"| {name} | " + " | ".join(f"{key:>5}" for key in scores) + " | " + " | ".join(seconds) + " |"
    rule = "|" + "|".join("-" * len(cell) for cell in head.strip("|").split("|")) + "|"
    cells = [f"{100 * value:5.1f}" for value in scores.values()]
    times = [f"{value:.1f}".rjust(len(key)) for key, value in seconds.items()]
    row = f"| {'%, s'.rjust(len(name))} | " + " | ".join(cells) + " | " + " | ".join(times) + " |"
    return "\n".join((head, rule, row)) + "\n"


if __name__ == "__main__":
    sys.exit(launch(COMMAND, {}, body))
