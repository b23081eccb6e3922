"""One stage in an MLflow run: what train_gan, generate, train_cls, evaluate and prepare do."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cwgan.command_line import override
from cwgan.config import HEADLINE, Config
from cwgan.data.dataset import GzslDataset
from cwgan.data.hdf5 import save_hdf5
from cwgan.data.numbers import IMAGE_SHAPE
from cwgan.data.scaling import find_scaling
from cwgan.errors import InputError
from cwgan.machine import give_back_memory
from cwgan.model import registry
from cwgan.scoring.comparison import format_headline
from cwgan.scoring.confusion import find_confused_pairs
from cwgan.scoring.evaluation import Evaluation
from cwgan.scoring.selection import History
from cwgan.stages import class_figures, classify, figures
from cwgan.stages.generate import generate, make_rows
from cwgan.stages.job import ANSWERS_FILE, Job, load_data, pick_logged
from cwgan.stages.results import list_classes
from cwgan.stages.train import list_references, train
from cwgan.tracking import Run

Files = Mapping[str, Path]  # local files by the name of the reference that was given


def open_job(run: Run, config: Config) -> Job:
    """Read the data set of a run, record it there, and say what is in it."""
    dataset = load_data(config)
    print(dataset.summarize())
    return make_job(run, config, dataset)


def make_job(run: Run, config: Config, dataset: GzslDataset) -> Job:
    """Record a data set in a run, and return the job that works there."""
    run.log_dataset(dataset)

    def log(metrics: Mapping[str, float], epoch: int) -> None:
        run.log(pick_logged(metrics, config), epoch)

    return Job(config, dataset, run.folder, log, run.is_resumed)


def train_gan(run: Run, config: Config, files: Files) -> None:
    train_and_draw(open_job(run, config), files)


def generate_rows(run: Run, config: Config, files: Files) -> None:
    print(f"wrote {generate_and_draw(open_job(run, config), files['gan'])}")


def train_cls(run: Run, config: Config, files: Files) -> None:
    show(run, train_and_log(run, open_job(run, config), files["synthetic"]), config)


def evaluate(run: Run, config: Config, files: Files) -> None:
    job = open_job(run, config)
    scores = report(job, classify.evaluate_classifier(job, files["classifier"]))
    run.log_scores(scores)
    show(run, scores, config)


def prepare(run: Run, config: Config, files: Files) -> None:
    """Write the data set of a run, as it is before any scaling, as the original pair of HDF5 files."""
    if config.protocol != "final":
        allowed = "final: the pair holds every split, and each run chooses its protocol"
        raise InputError("configuration", "protocol", config.protocol, allowed)
    folder = files["out"].resolve()
    plain = override(config, {"data.scaling": "none", "data.attribute_norm": 0.0})
    save_hdf5(open_job(run, plain).dataset, folder)
    print(f"wrote {folder / 'data.h5'} and {folder / 'knn.h5'}")


def train_and_draw(job: Job, files: Files) -> History:
    """Train the GAN, draw its curves, and return them."""
    if "pretrained" in files and job.config.monitor.train and job.config.regressor.train:
        allowed = "monitor.train=false or regressor.train=false beside it"
        raise InputError("--pretrained", "use", "nothing to supply", allowed)
    curves: dict[str, list[tuple[int, float]]] = {}

    def log(metrics: Mapping[str, float], epoch: int) -> None:
        job.log(metrics, epoch)
        for name, value in metrics.items():
            curves.setdefault(name, []).append((epoch, value))

    train(replace(job, log=log), files.get("pretrained"))
    give_back_memory()
    if curves:
        references = list_references(job.dataset, curves, job.config.gan.cycle_error)
        figures.draw_curves(job.folder / "training_curves.png", curves, references)
    return curves


def score_history(job: Job, files: Files, without_gan: Mapping[str, float]) -> History:
    """Score on validation classes whatever `generate.source` allows; the scores without a GAN are epoch 0."""
    source, history = job.config.generate.source, dict[str, list[tuple[int, float]]]()
    if source != "gan":
        job.log(without_gan, 0)
        history = {name: [(0, value)] for name, value in without_gan.items()}
    curves = train_and_draw(job, files) if source != "means" else {}
    return {name: [*history.get(name, []), *curves.get(name, [])] for name in {**history, **curves}}


def generate_and_draw(job: Job, gan_file: Path | None) -> Path:
    """Write synthetic.h5 and, for the built-in data, draw what the generator imagines; return the file."""
    path, generators = generate(job, gan_file)
    if generators and job.config.data.path == "numbers":
        rows = make_rows(job, generators[-1], job.dataset.unseen_classes.repeat_interleave(4), "imagine")
        figures.draw_imagined(job.folder / "imagined_numbers.png", rows, job.dataset, *IMAGE_SHAPE)
    return path


def train_and_log(
    run: Run,
    job: Job,
    synthetic_file: Path | None,
    gan_file: Path | None = None,
    selected: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Train and score the final classifier in the open run; under the final protocol log it as a model.

    The files are those of `classify.train_classifier`.
    `run` gets the scores: the run that is open, or the parent that it is a stage of. The model gets them too,
    and those of `selected` that are of validation classes. Returns the scores.
    """
    config, dataset = job.config, job.dataset
    scores = report(job, classify.train_classifier(job, synthetic_file, gan_file))
    if synthetic_file and (rows := classify.read_map_rows(job, synthetic_file)):
        class_figures.draw_map(job.folder / "feature_map.png", rows, config.feature_map)
    if config.protocol == "final":
        weights = job.folder / ANSWERS_FILE
        offset, divisor = find_scaling(dataset)
        example = (dataset.features[dataset.trainval[:2]] * divisor + offset).numpy()
        known = scores | {name: value for name, value in (selected or {}).items() if name.startswith("val_")}
        facts = known, dataset.digest, run.run_id, bool(dataset.backbone)
        model = registry.log_model(weights, example, dataset.class_count, *facts)
        weights.unlink()  # the model has a copy
        if config.register:
            print(registry.register(config.register, model, known, dataset.digest))
    else:
        run.log_scores(scores)
    return scores


def report(job: Job, result: Evaluation) -> dict[str, float]:
    """Draw the scores of an evaluation; return those to be logged, by name."""
    scores, folder, dataset = classify.scores_of(result, job.config), job.folder, job.dataset
    scores = classify.drop_raw(scores)
    if not scores:
        return scores
    headline = classify.pick(scores, HEADLINE)
    title = "  ".join(f"{name} {100 * value:.1f}" for name, value in headline.items())
    rows, pairs = list_classes(result, dataset), find_confused_pairs(result.labels, result.predictions)
    class_figures.draw_classes(folder / "class_accuracies.png", rows, f"{dataset.name}: {title} %")
    if pairs:
        class_figures.draw_confused_pairs(folder / "confused_pairs.png", pairs, dataset)
    if dataset.class_count <= class_figures.MOST_CLASSES:
        class_figures.draw_confusion(folder / "confusion.png", result, dataset)
    if result.curve:
        figures.draw_seen_unseen(folder / "seen_unseen_curve.png", result.curve, result.scores)
    return pick_logged(scores, job.config)


def show(run: Run, scores: Mapping[str, float], config: Config) -> None:
    """Print the scores that a person wants to see, in percent, and show them at the head of a run's page."""
    headline = classify.pick_headline(scores, config)
    print("   ".join(f"{name} {100 * value:.1f} %" for name, value in headline.items()))
    run.describe(format_headline(scores))
