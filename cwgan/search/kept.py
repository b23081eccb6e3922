"""GANs that are trained once and scored many times: kept on disk under a hash of everything that shapes them.

A search varies what shapes the GAN (such as the cycle weight) and what comes after it (such as the number of
synthetic rows). All settings of one GAN are scored on the same kept generators: at every epoch that is scored, and at
those that `gan.snapshots` draws on. A training that was given up or killed goes on where it stopped, bit for bit.

    <folder>/judges/<hash>/judges.safetensors     monitor and regressor, for all GANs of a seed
    <folder>/gan/<hash>/generator-0003.safetensors
    <folder>/gan/<hash>/state.safetensors         what training goes on from; gone once it has ended
"""

import dataclasses
import hashlib
import json
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from cwgan import __version__
from cwgan.command_line import to_dict
from cwgan.config import Config
from cwgan.data.dataset import GzslDataset
from cwgan.scoring.comparison import spread
from cwgan.files import locked
from cwgan.gan.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_classifier,
    load_generator,
    load_regressor,
    module_tensors,
    read_facts,
    save_checkpoint,
)
from cwgan.gan.networks import Generator, freeze
from cwgan.gan.training import Gan, SeenRows, build_gan, train_gan
from cwgan.machine import find_device
from cwgan.stages.pipeline import score_generator, stage_rng
from cwgan.stages.train import JUDGES_FILE, check_range, train

NOT_SHAPING = ("train", "save", "score_every", "epochs")
"""Parameters of the GAN that leave its weights at an epoch as they are."""


class KeptGan:
    """The training of one GAN, as far as it has got on disk, and further on demand.

    Args:
        config: of all stages, under the validation protocol.
        dataset: what it is trained on, and scored.
        folder: of all kept GANs.

    Its `is_new` says whether a training was begun from nothing.
    """

    def __init__(self, config: Config, dataset: GzslDataset, folder: Path) -> None:
        self.config, self.dataset, self.cache = config, dataset, folder
        self.folder = folder / "gan" / gan_hash(config, dataset)
        self.is_new = False
        self._gan: Gan | None = None
        self._curve: Iterator[dict[str, float]] = iter(())

    def terms_until(self, epoch: int) -> Iterator[tuple[int, dict[str, float]]]:
        """Train to an epoch, unless its generator is there; yield every trained epoch and its terms.

        Raises:
            InputError: features that the generator cannot make.
            FloatingPointError: a term is no longer finite.
        """
        with locked(self.folder / "lock"):
            while not self._file(epoch).is_file():
                if self._gan is None:
                    self._gan = self._begun(epoch)
                    self._curve = train_gan(self._gan, SeenRows.of(self.dataset).to(self._gan.rng.device))
                terms = next(self._curve)
                at = self._gan.epoch
                is_drawn_on = self.config.gan.snapshots > 1 and at % self.config.gan.snapshot_every == 0
                if at == epoch or is_drawn_on:
                    self._save(self._file(at), module_tensors(generator=self._gan.generator), at)
                yield at, terms
            if self._gan and self._gan.epoch == epoch:
                state = self.folder / "state.safetensors"
                if epoch == self.config.gan.epochs:
                    state.unlink(missing_ok=True)
                else:
                    self._save(state, self._gan.tensors(), epoch)

    def scores_at(self, epoch: int) -> dict[str, float]:
        """Synthesize, fit a classifier and score it; validation scores by logged name."""
        every, count = self.config.gan.snapshot_every, self.config.gan.snapshots
        earlier = range(every, epoch, every)[-(count - 1) :] if count > 1 else []
        generators: list[Generator] = [
            load_generator(load_checkpoint(self._file(at))) for at in [*earlier, epoch]
        ]
        return score_generator(self.config, self.dataset, generators)

    def _begun(self, epoch: int) -> Gan:
        """Return the GAN as it was when training last stopped, if that was before an epoch, or a new one."""
        config, dataset = self.config, self.dataset
        check_range(config.gan.output, dataset)
        judges = self._judges()
        monitor, regressor = freeze(load_classifier(judges, "monitor")), freeze(load_regressor(judges))
        rng, device = stage_rng(config.seed, "gan"), find_device(config.device)
        gan = build_gan(
            dataset.feature_size, dataset.attribute_size, config.gan, rng, regressor, monitor, device
        )
        state = self.folder / "state.safetensors"
        # A search that scores at other epochs may have gone past the one that is wanted.
        self.is_new = not state.is_file() or read_facts(state)["epoch"] >= epoch
        if not self.is_new:
            gan.restore(load_checkpoint(state))
        return gan

    def _judges(self) -> Checkpoint:
        """Return monitor and regressor, fitted now if no GAN before this one needed them."""
        folder = self.cache / "judges" / judges_hash(self.config, self.dataset)
        with locked(folder / "lock"):
            if not (folder / JUDGES_FILE).is_file():
                alone = dataclasses.replace(
                    self.config, gan=dataclasses.replace(self.config.gan, train=False)
                )
                train(alone, self.dataset, folder, lambda terms, epoch: None)
        return load_checkpoint(folder / JUDGES_FILE)

    def _file(self, epoch: int) -> Path:
        return generator_file(self.cache, self.folder.name, epoch)

    def _save(self, path: Path, tensors: Mapping[str, torch.Tensor], epoch: int) -> None:
        save_checkpoint(path, tensors, "gan", epoch, to_dict(self.config), self.dataset)


def generator_file(folder: Path, gan: str, epoch: int) -> Path:
    """Return where the generator of a kept GAN, named by its hash, lies as it was at an epoch."""
    return folder / "gan" / gan / f"generator-{epoch:04d}.safetensors"


def epochs_scored(config: Config) -> list[int]:
    """Return the epochs at which a search scores a GAN: the multiples of `gan.score_every`, and the last."""
    return sorted(
        {*range(config.gan.score_every, config.gan.epochs + 1, config.gan.score_every), config.gan.epochs}
    )


def scored(
    config: Config, seeds: Sequence[int], dataset: GzslDataset, folder: Path
) -> Iterator[tuple[int, dict[str, float]]]:
    """Train as far as need be and score at every scored epoch.

    Args:
        config: of the setting, under the validation protocol.
        seeds: of the GANs; all figures are means over them.
        dataset: what they are trained on, and scored.
        folder: of all kept GANs.

    Yields:
        The epoch with the validation scores by logged name and, where a GAN was trained for them, its last terms as
        gan/<term>; and so far gan_trainings begun, seconds/training and seconds/scoring of all seeds together.
    """
    gans = [KeptGan(dataclasses.replace(config, seed=seed), dataset, folder) for seed in seeds]
    seconds = {"seconds/training": 0.0, "seconds/scoring": 0.0}
    for epoch in epochs_scored(config):
        found = []
        for gan in gans:
            began = time.perf_counter()
            trained = deque(gan.terms_until(epoch), maxlen=1)
            terms = {f"gan/{name}": value for _, last in trained for name, value in last.items()}
            between = time.perf_counter()
            found.append({**terms, **gan.scores_at(epoch)})
            seconds["seconds/training"] += between - began
            seconds["seconds/scoring"] += time.perf_counter() - between
        begun = sum(gan.is_new for gan in gans)
        yield (
            epoch,
            {
                **{name: value.mean for name, value in spread(found).items()},
                **seconds,
                "gan_trainings": begun,
            },
        )


def gan_hash(config: Config, dataset: GzslDataset) -> str:
    """Return what tells GANs apart that must not be taken for one another."""
    gan = {key: value for key, value in dataclasses.asdict(config.gan).items() if key not in NOT_SHAPING}
    return _hash({**_judges_facts(config, dataset), "gan": gan})


def judges_hash(config: Config, dataset: GzslDataset) -> str:
    """Return what tells pairs of monitor classifier and regressor apart."""
    return _hash(_judges_facts(config, dataset))


def _judges_facts(config: Config, dataset: GzslDataset) -> dict[str, Any]:
    judges = {
        name: {**dataclasses.asdict(getattr(config, name)), "save": None} for name in ("monitor", "regressor")
    }
    data = {"digest": dataset.digest, "split_hash": dataset.split_hash}
    run = {
        "seed": config.seed,
        "protocol": config.protocol,
        "precision": config.precision,
        "device": config.device,
    }
    return {"version": __version__, **data, **run, **judges}


def _hash(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
