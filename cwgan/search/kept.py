"""GANs that are trained once, scored often, and kept on disk under a hash of all that affects their weights.

A search varies what shapes the GAN, such as the cycle weight, and what comes after it, such as the number of
synthetic rows. All settings of one GAN are scored on the same generators, which lie in gan/<hash>/: those of
scored epochs and of `gan.snapshots`, and the state that a killed training goes on from, bit for bit.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock

from cwgan import __version__
from cwgan.command_line import override, to_dict
from cwgan.gan.checkpoint import load_generator, module_tensors, read_facts
from cwgan.gan.players import Gan
from cwgan.gan.snapshots import snapshot_epochs
from cwgan.gan.training import Epoch, scored_epochs, train_gan
from cwgan.layers import flatten
from cwgan.scoring.comparison import spread
from cwgan.stages.classify import score_generators
from cwgan.stages.job import PRETRAINED_FILE, Job
from cwgan.stages.train import begin_gan, fix_output, take_seen_rows, train

GENERATOR_FILE = "generator-{:04d}.safetensors"  # by epoch
SHAPING = {"pretrained": ("monitor.", "regressor."), "gan": ("monitor.", "regressor.", "gan.")}
NOT_SHAPING = ("monitor.save.", "regressor.save.", "gan.save.", "gan.train", "gan.score_every", "gan.epochs")


@dataclass
class KeptGan:
    """The training of one GAN as far as it has got on disk, and further on demand.

    The job's folder is that of all kept GANs; `is_new` tells whether a training was begun from nothing.
    """

    job: Job
    is_new: bool = False

    def __post_init__(self) -> None:
        self.job = fix_output(self.job)

    def train(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Yield every scored epoch once its generators are there, with its terms if it was trained now."""
        state, last = self.find_folder("gan") / "state.safetensors", self.job.config.gan.epochs
        epochs: Iterator[Epoch] | None = None
        for goal in scored_epochs(self.job.config.gan):
            terms: dict[str, float] = {}
            file = self.find_generator(goal)
            with FileLock(state.with_name("lock")):
                while not file.is_file():
                    if epochs is None:
                        gan = self._begin(state, goal)
                        epochs = train_gan(gan, take_seen_rows(self.job).to(gan.rng.device))
                    epoch = next(epochs)
                    terms = epoch.terms
                    if epoch.number == goal < last:
                        self.job.save(state, gan.tensors(), "gan", goal)
                    for number, generator in epoch.generators.items() if epoch.number == goal else ():
                        tensors = module_tensors(generator=generator)
                        self.job.save(self.find_generator(number), tensors, "generator", number)
                if terms and goal == last:
                    state.unlink(missing_ok=True)
            yield goal, terms

    def score(self, epoch: int) -> dict[str, float]:
        """Synthesize, fit a classifier and score it; validation scores by logged name."""
        numbers = snapshot_epochs(self.job.config.gan, epoch)
        generators = [load_generator(self.job.load(self.find_generator(number))) for number in numbers]
        return score_generators(self.job.config, self.job.dataset, generators)

    def find_generator(self, epoch: int) -> Path:
        """Return where the generator lies as it was at an epoch."""
        return self.find_folder("gan") / GENERATOR_FILE.format(epoch)

    def find_folder(self, kind: str) -> Path:
        """Return the folder of the GAN, or of its pretrained networks, by a hash of what shapes them."""
        flat, dataset = flatten(to_dict(self.job.config)), self.job.dataset
        shaping = [key for key in flat if key.startswith(SHAPING[kind]) and not key.startswith(NOT_SHAPING)]
        facts = {key: flat[key] for key in (*shaping, "seed", "protocol", "precision", "device")}
        facts |= {"version": __version__, "digest": dataset.digest, "split": dataset.split_hash}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return self.job.folder / kind / digest[:16]

    def _begin(self, state: Path, goal: int) -> Gan:
        """Return the GAN as it was when training last stopped, if that was before an epoch, or a new one."""
        job = replace(self.job, folder=self.find_folder("pretrained"))
        with FileLock(job.folder / "lock"):
            if not (job.folder / PRETRAINED_FILE).is_file():
                train(replace(job, config=override(job.config, {"gan.train": False})))
        # A search that scores at other epochs may have gone past the one that is wanted.
        self.is_new = not state.is_file() or read_facts(state)["epoch"] >= goal
        return begin_gan(job, job.load(job.folder / PRETRAINED_FILE if self.is_new else state))


def train_and_score(job: Job, seeds: Sequence[int]) -> Iterator[tuple[int, dict[str, float], bool]]:
    """Train as far as need be and score at every scored epoch; means over the GANs of some seeds.

    Yields the epoch; the scores by logged name with the last terms of GANs that were trained for them, and so
    far gan_trainings begun, seconds/training and seconds/scoring; and whether to go on is to train on.
    """
    gans = [KeptGan(replace(job, config=override(job.config, {"seed": seed}))) for seed in seeds]
    ends = [gan.find_generator(job.config.gan.epochs) for gan in gans]
    trainings = [gan.train() for gan in gans]
    seconds = {"seconds/training": 0.0, "seconds/scoring": 0.0}
    for epoch in scored_epochs(job.config.gan):
        found = []
        for gan, training in zip(gans, trainings, strict=True):
            began = time.perf_counter()
            terms = {f"gan/{name}": value for name, value in next(training)[1].items()}
            between = time.perf_counter()
            found.append({**terms, **gan.score(epoch)})
            seconds["seconds/training"] += between - began
            seconds["seconds/scoring"] += time.perf_counter() - between
        means = {name: value.mean for name, value in spread(found).items()}
        counted = {**means, **seconds, "gan_trainings": sum(gan.is_new for gan in gans)}
        yield epoch, counted, not all(end.is_file() for end in ends)
