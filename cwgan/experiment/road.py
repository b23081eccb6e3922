"""The whole road: train the GAN, generate, train and score the final classifier; a child run per stage."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import mean
from typing import Any

from cwgan import pages, tracking
from cwgan.command_line import STAGE_SECTIONS, override
from cwgan.config import Config
from cwgan.data.dataset import GzslDataset
from cwgan.errors import InputError
from cwgan.experiment import steps
from cwgan.experiment.steps import Files
from cwgan.files import copy_file, write_text
from cwgan.gan.training import count_epoch_steps
from cwgan.model.registry import check_name
from cwgan.scoring.comparison import format_headline, format_table, split_protocols, tabulate_scores
from cwgan.scoring.selection import Choice, History, choose, final_half, validation_half
from cwgan.stages.classify import drop_raw, pick_headline, score_generators
from cwgan.stages.figures import draw_selection
from cwgan.stages.job import GAN_FILE, RESULTS_FILE, SYNTHETIC_FILE, Job, pick_logged, read_data, view_data
from cwgan.stages.needs import check_rows, fits_in_file
from cwgan.stages.saves import check_saves
from cwgan.stages.train import take_seen_rows
from cwgan.tracking import Run

GATHERED = (".png", ".json", ".csv")  # kinds of files of the stages that are copied to their parent run
TRIED = {"data.scaling": ("overall", "per_feature"), "classifier.epochs": (10, 30, 100)}
"""What select tries for a parameter that is left to it, in this order, until one value is no better."""
LEGEND = """S, U: mean accuracy per seen and per unseen class; H: their harmonic mean; T1: as U, when only
unseen classes can be answered; AUSUC: area under S over U as a bias on seen classes takes every value."""


def run_road(run: Run, config: Config, files: Files) -> dict[str, float]:
    """Run all stages and return the scores; with `select`, choose scaling, epoch and bias before.

    The run must be open in this process; `files` may hold the checkpoint "pretrained".
    """
    if not config.gan.train:
        allowed = "true, as main goes on to generate; the entry point train_gan can stop there"
        raise InputError("configuration", "gan.train", "false", allowed)
    if config.register:
        check_name(config.register)
    check_saves(config)  # here, before folds are trained
    if not config.select or config.protocol == "validation":
        return _run_stages(run, config, files)
    config, choice = _select(run, config, files)
    selected = {**pick_logged(choice.scores, config), "selected_epoch": float(choice.epoch)}
    run.log_scores(selected)
    scores = {**selected, **_run_stages(run, final_half(config, choice), files, selected)}
    table = tabulate_scores(f"epoch {choice.epoch}", split_protocols(scores))
    show_table(run, "selection.md", table, format_headline(scores))
    return scores


def _select(run: Run, config: Config, files: Files) -> tuple[Config, Choice]:
    """Score divisions of the seen classes; return the configuration with nothing open, and the choice."""
    folds = [*range(1, config.folds + 1)] if config.folds > 1 else [0]
    whole = read_data(validation_half(config))
    if (begun := run.remember("digest", lambda: whole.digest)) != whole.digest:
        raise InputError(whole.source, "digest", whole.digest, f"{begun}, that of the run that is resumed")
    score = partial(_score_without_gan, run, config, folds, whole)
    chosen, without_gan = run.remember("without a GAN", score)
    config = override(config, chosen)
    histories, lengths = list[History](), list[int]()
    for fold, scores in zip(folds, without_gan, strict=True):
        half, title = validation_half(config, fold), f"select {fold}" if fold else "select"
        work = partial(_score_fold, run, title, half, whole, files, scores)
        history, length = run.remember(title, work)
        histories.append({name: [(epoch, value) for epoch, value in history[name]] for name in history})
        lengths.append(length)
    choice = choose(histories, round(mean(lengths)))
    draw_selection(run.folder / "selection.png", histories, choice)
    return config, choice


def _score_fold(
    run: Run, title: str, half: Config, whole: GzslDataset, files: Files, scores: Mapping[str, float]
) -> tuple[History, int]:
    """Train and score a GAN on one division, in a child run; return its history and the steps of an epoch."""
    with tracking.run(title, half, STAGE_SECTIONS, {}, run.scratch, within=run) as child:
        job = steps.make_job(child, half, view_data(half, whole))
        print(f"\n{title}: {job.dataset.summarize()}")
        history = steps.score_history(job, files, scores)
        return history, count_epoch_steps(half.gan, len(take_seen_rows(job).rows))


def _score_without_gan(
    run: Run, config: Config, folds: Sequence[int], whole: GzslDataset
) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Return the values of open parameters that have the highest mean AUSUC without a GAN, and their scores.

    There is a set of scores for each division. It is empty where no parameter is open and `generate.source`
    is "gan".
    """

    def score(tried: Config) -> list[dict[str, float]]:
        halves = [validation_half(override(tried, {"generate.source": "means"}), fold) for fold in folds]
        return [score_generators(half, view_data(half, whole), []) for half in halves]

    is_open = {
        "data.scaling": config.data.scaling == "auto",
        "classifier.epochs": not config.classifier.epochs,
    }
    tried = {name: values for name, values in TRIED.items() if is_open[name]}
    if not tried and config.generate.source == "gan":
        return {}, [{} for _ in folds]
    chosen: dict[str, Any] = {name: values[0] for name, values in tried.items()}
    scores = score(override(config, chosen))
    for name, values in tried.items():
        areas = {values[0]: mean(each["val_AUSUC"] for each in scores)}
        for value in values[1:]:
            found = score(override(config, {**chosen, name: value}))
            areas[value] = mean(each["val_AUSUC"] for each in found)
            if max(areas, key=lambda each: areas[each]) != value:
                break
            chosen[name], scores = value, found
        run.log_scores({f"{name}/{value}/val_AUSUC": area for value, area in areas.items()})
        shown = ", ".join(f"{value} {100 * area:.1f} %" for value, area in areas.items())
        print(f"{name}: AUSUC on validation classes without a GAN: {shown}")
    return chosen, scores


def show_table(run: Run, name: str, table: str, headline: str = "") -> None:
    """Write a Markdown table to a run's folder, print it, and show it on the run's page, below a headline."""
    write_text(run.folder / name, table)
    run.describe(f"{headline}\n\n{table}".strip())
    print(f"\n{table}")


def say_where(run: Run) -> None:
    """Print how to look at a run."""
    print(pages.describe_place(tracking.store_uri(), run.experiment_id, run.run_id))


def _run_stages(
    run: Run, config: Config, files: Files, selected: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Run the stages as children of a run, and gather scores, table and pictures in it; return the scores.

    `selected` are the scores on validation classes that chose the configuration, which the model keeps.
    """
    began = time.perf_counter()
    dataset = steps.open_job(run, config).dataset
    is_kept = fits_in_file(config, dataset)
    check_rows(config, dataset, run.folder if is_kept else None)  # here, before the GAN is trained
    seconds = {"load_data": time.perf_counter() - began}

    def run_stage(stage: str, sections: Sequence[str], work: Callable[[Job], object]) -> str:
        """Do the work of a stage in a child run, if it was not done before; return the run's id."""

        def do() -> dict[str, Any]:
            began = time.perf_counter()
            with tracking.run(stage, config, sections, {}, run.scratch, within=run) as child:
                work(steps.make_job(child, config, dataset))
                for path in child.folder.iterdir():
                    if path.suffix in GATHERED:
                        copy_file(path, run.folder / path.name)
            return {"run": child.run_id, "seconds": time.perf_counter() - began}

        done = run.remember(stage, do)
        seconds[stage] = done["seconds"]
        return str(done["run"])

    find = partial(tracking.find_file, scratch=run.scratch)
    gan = ""
    if config.generate.source != "means":
        gan = run_stage("train_gan", STAGE_SECTIONS, lambda job: steps.train_and_draw(job, files))

    def generate(job: Job) -> None:
        steps.generate_and_draw(job, find(gan, GAN_FILE) if gan else None)

    synthetic = run_stage("generate", ("data", "generate"), generate) if is_kept else ""

    def classify(job: Job) -> None:
        file = find(synthetic, SYNTHETIC_FILE) if synthetic else None
        gan_file = find(gan, GAN_FILE) if gan and not synthetic else None
        steps.train_and_log(run, job, file, gan_file, selected)

    classifier = run_stage("train_cls", ("data", "classifier"), classify)
    found = json.loads(find(classifier, RESULTS_FILE).read_text())["scores"]
    scores = pick_logged(drop_raw(found), config)
    run.log_scores({f"seconds/{name}": value for name, value in seconds.items()})
    shown = pick_headline(scores, config)
    table = format_table([dataset.name, *shown], [["%", *(f"{100 * value:.1f}" for value in shown.values())]])
    times = ", ".join(f"{key} {value:.1f}" for key, value in seconds.items())
    show_table(run, "summary.md", f"{table}\n{LEGEND}\nSeconds: {times}.\n", format_headline(scores))
    return scores
