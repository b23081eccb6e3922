"""GANs that are trained once, scored many times and kept on disk under a hash of all that affects their weights.

A search varies what shapes the GAN (such as the cycle weight) and what comes after it (such as the number of
synthetic rows). All settings of one GAN are scored on the same kept generators. A training that was killed goes on
from its last scored epoch, bit for bit.

    <folder>/pretrained/<hash>/pretrained.safetensors   monitor and regressor, for all GANs of a seed
    <folder>/gan/<hash>/generator-0003.safetensors      of scored epochs, and those that gan.snapshots asks for
    <folder>/gan/<hash>/state.safetensors               what training goes on from; gone once it has ended
"""

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock

from cwgan import __version__
from cwgan.command_line import flatten, override, to_dict
from cwgan.config import Config
from cwgan.data.dataset import GzslDataset
from cwgan.gan import checkpoint
from cwgan.gan.networks import freeze
from cwgan.gan.snapshots import snapshot_epochs
from cwgan.gan.training import Epoch, Gan, SeenRows, build_gan, scored_epochs, train_gan
from cwgan.machine import find_device
from cwgan.scoring.comparison import spread
from cwgan.stages.classify import score_generators
from cwgan.stages.job import PRETRAINED_FILE, Job, stage_rng
from cwgan.stages.train import check_range, train

SHAPING = {"pretrained": ("monitor.", "regressor."), "gan": ("monitor.", "regressor.", "gan.")}
NOT_SHAPING = ("monitor.save.", "regressor.save.", "gan.save.", "gan.train", "gan.score_every", "gan.epochs")
"""Parameters that leave the weights at an epoch as they are."""


@dataclasses.dataclass
class KeptGan:
    """The training of one GAN as far as it has got on disk, and further on demand.

    Args:
        config: of all stages, under the validation protocol.
        dataset: what it is trained on, and scored.
        folder: of all kept GANs.
        is_new: whether a training was begun from nothing.
    """

    config: Config
    dataset: GzslDataset
    folder: Path
    is_new: bool = False

    def train(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Yield every scored epoch once its generators are there, with its terms if it was trained for that.

        Raises:
            InputError: features that the generator cannot make.
            FloatingPointError: a term is no longer finite.
        """
        place, last = self.find_folder("gan"), self.config.gan.epochs
        epochs: Iterator[Epoch] | None = None
        for goal in scored_epochs(self.config.gan):
            terms: dict[str, float] = {}
            with FileLock(place / "lock"):
                while not self.find_generator(goal).is_file():
                    if epochs is None:
                        gan = self._build(goal)
                        epochs = train_gan(gan, SeenRows.of(self.dataset).to(gan.rng.device))
                    epoch = next(epochs)
                    terms = epoch.terms
                    if epoch.number == goal < last:
                        self._save(place / "state.safetensors", gan.tensors(), goal)
                    for number, generator in epoch.generators.items() if epoch.number == goal else ():
                        tensors = checkpoint.module_tensors(generator=generator)
                        self._save(self.find_generator(number), tensors, number)
                if terms and goal == last:
                    (place / "state.safetensors").unlink(missing_ok=True)
            yield goal, terms

    def score(self, epoch: int) -> dict[str, float]:
        """Synthesize, fit a classifier and score it; validation scores by logged name."""
        files = [self.find_generator(number) for number in snapshot_epochs(self.config.gan, epoch)]
        generators = [checkpoint.load_generator(checkpoint.load_checkpoint(file)) for file in files]
        return score_generators(self.config, self.dataset, generators)

    def find_generator(self, epoch: int) -> Path:
        """Return where the generator lies as it was at an epoch."""
        return self.find_folder("gan") / f"generator-{epoch:04d}.safetensors"

    def find_folder(self, kind: str) -> Path:
        """Return the folder of the GAN or of its pretrained networks, by a hash of all that affects their weights."""
        config, dataset = self.config, self.dataset
        facts = {
            key: value for key, value in flatten(to_dict(config)).items() if key.startswith(SHAPING[kind])
        }
        facts = {key: value for key, value in facts.items() if not key.startswith(NOT_SHAPING)}
        facts |= {key: getattr(config, key) for key in ("seed", "protocol", "precision", "device")}
        facts |= {"version": __version__, "digest": dataset.digest, "split": dataset.split_hash}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return self.folder / kind / digest[:16]

    def _build(self, goal: int) -> Gan:
        """Return the GAN as it was when training last stopped, if that was before an epoch, or a new one."""
        config, dataset = self.config, self.dataset
        check_range(config.gan.output, dataset)
        place = self.find_folder("pretrained")
        with FileLock(place / "lock"):
            if not (place / PRETRAINED_FILE).is_file():
                train(Job(override(config, {"gan.train": False}), dataset, place, lambda terms, epoch: None))
        both = checkpoint.load_checkpoint(place / PRETRAINED_FILE)
        monitor, regressor = checkpoint.load_classifier(both, "monitor"), checkpoint.load_regressor(both)
        rng, device = stage_rng(config.seed, "gan"), find_device(config.device)
        sizes = dataset.feature_size, dataset.attribute_size
        gan = build_gan(*sizes, config.gan, rng, freeze(regressor), freeze(monitor), device)
        state = self.find_folder("gan") / "state.safetensors"
        # A search that scores at other epochs may have gone past the one that is wanted.
        self.is_new = not state.is_file() or checkpoint.read_facts(state)["epoch"] >= goal
        if not self.is_new:
            gan.restore(checkpoint.load_checkpoint(state))
        return gan

    def _save(self, path: Path, tensors: dict, epoch: int) -> None:
        checkpoint.save_checkpoint(path, tensors, "gan", epoch, to_dict(self.config), self.dataset)


def train_and_score(
    config: Config, seeds: Sequence[int], dataset: GzslDataset, folder: Path
) -> Iterator[tuple]:
    """Train as far as need be and score at every scored epoch.

    Args:
        config: of the setting, under the validation protocol.
        seeds: of the GANs; all figures are means over them.
        dataset: what they are trained on, and scored.
        folder: of all kept GANs.

    Yields:
        The epoch; the validation scores by logged name, with the last terms of a GAN that was trained for them as
        gan/<term>, and so far gan_trainings begun, seconds/training and seconds/scoring of all seeds together;
        and whether to go on is to train on.
    """
    gans = [KeptGan(override(config, {"seed": seed}), dataset, folder) for seed in seeds]
    ends = [gan.find_generator(config.gan.epochs) for gan in gans]
    trainings = [gan.train() for gan in gans]
    seconds = {"seconds/training": 0.0, "seconds/scoring": 0.0}
    for _ in scored_epochs(config.gan):
        found = []
        for gan, training in zip(gans, trainings, strict=True):
            began = time.perf_counter()
            epoch, terms = next(training)
            between = time.perf_counter()
            found.append({**{f"gan/{name}": value for name, value in terms.items()}, **gan.score(epoch)})
            seconds["seconds/training"] += between - began
            seconds["seconds/scoring"] += time.perf_counter() - between
        means = {name: value.mean for name, value in spread(found).items()}
        counted = {**means, **seconds, "gan_trainings": sum(gan.is_new for gan in gans)}
        yield epoch, counted, not all(end.is_file() for end in ends)
