"""The whole road: train the GAN, generate, train and score the final classifier; one parent run, a child run a stage."""

import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cwgan.command_line import Command
from cwgan.config import Config
from cwgan.errors import InputError
from entrypoints import generate, train_cls, train_gan
from entrypoints.launch import launch, open_data

if TYPE_CHECKING:
    from cwgan.tracking import Run

COMMAND = Command(
    "main",
    "Train the GAN, generate features of the unseen classes, train one classifier over all classes and score it.",
    train_gan.COMMAND.sections,
    {"pretrained": train_gan.COMMAND.references["pretrained"]},
    config=train_gan.COMMAND.config,
)
ARTIFACTS = {"pretrained": train_gan.ARTIFACTS["pretrained"]}
SHOWN = (
    "training_curves.png",
    "imagined_numbers.png",
    "class_accuracies.png",
    "seen_unseen_curve.png",
    "results.json",
    "per_class_accuracy.csv",
)
LEGEND = """S, U: mean accuracy per seen and per unseen class; H: their harmonic mean; T1: as U, when only unseen classes can be
answered; AUSUC: area under S over U as a bias on seen classes takes every value."""


def body(run: "Run", config: Config, files: dict[str, Path]) -> None:
    """Go the whole road once, or once per seed, and print where to look."""
    from cwgan.scoring import comparison

    if config.seeds:
        spreads = comparison.spread(repeated(run, comparison.of_seeds(config, config.seeds), files))
        run.log_scores(comparison.logged(spreads))
        table = comparison.table(f"{len(config.seeds)} seeds", comparison.by_protocol(spreads))
        (run.folder / "summary.md").write_text(table)
        run.describe(table)
        print(f"\n{table}")
    else:
        once(run, config, files)
    say_where(run)


def say_where(run: "Run") -> None:
    """Print how to look at a run."""
    from cwgan import tracking

    store = tracking.store_uri()
    page = f"#/experiments/{run.experiment_id}/runs/{run.run_id}"
    if store.startswith("http"):
        print(f"Curves and pictures: {store}/{page}")
    else:
        # With its folder, as the shell that `make demo` was typed into may not know the environment.
        mlflow = shlex.quote(str(Path(sys.executable).with_name("mlflow")))
        print(f"Curves and pictures: {mlflow} ui --backend-store-uri {shlex.quote(store)}")
        print(f"          then open: http://127.0.0.1:5000/{page}")


def repeated(run: "Run", configs: Mapping[str, Config], files: dict[str, Path]) -> list[dict[str, float]]:
    """Go the whole road once per configuration, each in a child run of that name; return the scores."""
    from cwgan import tracking

    scores = []
    for name, config in configs.items():
        with tracking.run(name, config, COMMAND.sections, {}, run.scratch, is_child=True) as child:
            scores.append(once(child, config, files))
    return scores


def once(run: "Run", config: Config, files: dict[str, Path]) -> dict[str, float]:
    """Go the whole road once, where asked for with epoch and bias chosen on validation classes before; return the scores."""
    from cwgan import tracking
    from cwgan.scoring import comparison
    from cwgan.scoring import selection
    from cwgan.stages.pipeline import load_data

    if not config.select:
        return road(run, config, files)
    half = selection.validation_half(config)
    with tracking.run("select", half, COMMAND.sections, {}, run.scratch, is_child=True) as child:
        dataset = load_data(half)
        child.log_dataset(dataset)
        choice = selection.choose(train_gan.stage(child, half, dataset, files))
    run.log_scores({**choice.scores, "selected_epoch": choice.epoch})
    scores = road(run, selection.final_half(config, choice), files)
    scores = {**choice.scores, **scores, "selected_epoch": float(choice.epoch)}
    table = comparison.table(f"epoch {choice.epoch}", comparison.by_protocol(scores))
    (run.folder / "selection.md").write_text(table)
    run.describe(table)
    print(table)
    return scores


def road(run: "Run", config: Config, files: dict[str, Path]) -> dict[str, float]:
    """Run the stages as children of the open run, and gather scores, table and pictures in it; return the scores."""
    from cwgan import tracking
    from cwgan.stages.pipeline import GAN_FILE, worth_showing

    if not config.gan.train:
        allowed = "true, as main goes on to generate; the entry point train_gan can stop there"
        raise InputError("configuration", "gan.train", "false", allowed)
    began = time.perf_counter()
    dataset = open_data(run, config)
    seconds = {"load data": time.perf_counter() - began}

    @contextmanager
    def child(command: Command) -> Iterator["Run"]:
        began = time.perf_counter()
        with tracking.run(command.name, config, command.sections, {}, run.scratch, is_child=True) as stage:
            stage.log_dataset(dataset)
            yield stage
            for name in SHOWN:
                if (stage.folder / name).is_file():
                    shutil.copyfile(stage.folder / name, run.folder / name)
        seconds[command.name] = time.perf_counter() - began

    with child(train_gan.COMMAND) as stage:
        train_gan.stage(stage, config, dataset, files)
        gan_file = stage.folder / GAN_FILE
    with child(generate.COMMAND) as stage:
        synthetic_file = generate.stage(stage, config, dataset, gan_file)
    with child(train_cls.COMMAND) as stage:
        scores = train_cls.stage(stage, config, dataset, synthetic_file)
    run.log_scores({**scores, **{f"seconds/{name}": value for name, value in seconds.items()}})
    table = summary(dataset.name, worth_showing(scores), seconds)
    (run.folder / "summary.md").write_text(table)
    run.describe(table)
    print(f"\n{table}")
    return scores


def summary(name: str, scores: dict[str, float], seconds: dict[str, float]) -> str:
    """Return scores, their meaning and the seconds of each stage, to be read in a terminal and as Markdown."""
    heads, cells = [name, *scores], ["%", *(f"{100 * value:.1f}" for value in scores.values())]
    widths = [max(len(head), len(cell)) for head, cell in zip(heads, cells, strict=True)]
    rows = (heads, ["-" * width for width in widths], cells)
    lines = [
        "| " + " | ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    times = ", ".join(f"{key} {value:.1f}" for key, value in seconds.items())
    return "\n".join([*lines, "", LEGEND, f"Seconds: {times}."]) + "\n"


if __name__ == "__main__":
    sys.exit(launch(COMMAND, ARTIFACTS, body))
