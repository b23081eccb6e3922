"""The rule by which epochs are saved, and which of their files stay on disk."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cwgan.config import Config
from cwgan.errors import InputError
from cwgan.gan_config import SaveConfig

LOWER_IS_BETTER = ("loss", "val_loss", "val_leak_seen_to_unseen", "val_leak_unseen_to_seen")


def check_save_epochs(config: Config) -> None:
    """Refuse to keep an epoch that a stage which is to be trained does not reach."""
    for stage in ("monitor", "regressor", "gan", "classifier"):
        options = getattr(config, stage)
        is_trained = stage == "classifier" or options.train
        if is_trained and (beyond := [epoch for epoch in options.save.epochs if epoch > options.epochs]):
            allowed = f"at most {stage}.epochs, {options.epochs or 'which must then be given'}"
            raise InputError("configuration", f"{stage}.save.epochs", beyond[0], allowed)


@dataclass
class Savepoints:
    """The saved epochs of one stage, as gan-epoch-0285.safetensors in a folder."""

    folder: Path
    stage: str
    config: SaveConfig
    periodic: list[tuple[float, int, Path]] = field(default_factory=list)

    def is_due(self, epoch: int) -> bool:
        """Return whether an epoch is to be saved."""
        every, since = self.config.every, epoch - self.config.start
        return epoch in self.config.epochs or (every > 0 and since >= 0 and since % every == 0)

    def path(self, epoch: int) -> Path:
        return self.folder / f"{self.stage}-epoch-{epoch:04d}.safetensors"

    def keep(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Note that an epoch was saved, and delete the periodic checkpoint that the rule no longer keeps."""
        if epoch in self.config.epochs or not self.config.keep:
            return
        score, name = float(epoch), self.config.best_by
        if name and name not in metrics:
            known = f"one of {', '.join(sorted(metrics))}"
            raise InputError("configuration", f"{self.stage}.save.best_by", repr(name), known)
        if name:
            score = -metrics[name] if name in LOWER_IS_BETTER else metrics[name]
        self.periodic = sorted([*self.periodic, (score, epoch, self.path(epoch))])
        while len(self.periodic) > self.config.keep:
            self.periodic.pop(0)[2].unlink(missing_ok=True)  # gone, where a training goes on
