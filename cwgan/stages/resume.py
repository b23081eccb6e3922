"""Resume points: a GAN's training, saved at any step as it goes, so that it may be interrupted."""

import math
import sys
import time
from contextlib import suppress
from pathlib import Path

from cwgan.errors import InputError, undisturbed
from cwgan.gan.checkpoint import Checkpoint, load_checkpoint
from cwgan.gan.players import Gan
from cwgan.progress import Terms
from cwgan.stages.job import GAN_FILE, PRETRAINED_FILE, Job

FOLDER, KEPT = "resume", 2
SHARE = 0.1  # of the time that may be spent on saving


def find_start(job: Job) -> Checkpoint | None:
    """Return the newest whole checkpoint that an interrupted process left in a job's folder.

    It is a resume point, a GAN at its last epoch, or the pretrained networks alone; None if there is none. A
    damaged one is said, deleted, and passed over.
    """
    ends = [path for name in (GAN_FILE, PRETRAINED_FILE) if (path := job.folder / name).is_file()]
    for path in [*reversed(_list_points(job.folder)), *ends]:
        try:
            return load_checkpoint(path)
        except InputError as error:
            print(f"warning: {error}; the one before it is used", file=sys.stderr)
            path.unlink()
    return None


class ResumePoints:
    """The resume points of one training, the newest two of which stay on disk until it has ended."""

    def __init__(self, job: Job, gan: Gan, histories: dict[str, list[Terms]]) -> None:
        self._job, self._gan, self._histories = job, gan, histories
        self._every = job.config.gan.save.resume_every
        self._due = time.monotonic() + self._every
        self._saved: tuple[int, int | None] | None = None  # at which step

    def save_if_due(self) -> None:
        """Save the training if that was done too long ago."""
        if self._every and time.monotonic() >= self._due:
            self.save()

    def save(self) -> None:
        """Save the training as it is, with the history of whole epochs, and have the file uploaded."""
        gan, began = self._gan, time.monotonic()
        place = gan.epoch, None if gan.batches is None else len(gan.batches)
        # The sums of an epoch are not finite once a weight is not. The epoch's end will say so.
        can_go_on = all(map(math.isfinite, gan.totals.values())) and (gan.epoch or gan.totals)
        if self._every and can_go_on and place != self._saved:
            points = _list_points(self._job.folder)
            number = int(points[-1].stem.rpartition("-")[2]) + 1 if points else 1
            path = self._job.folder / FOLDER / f"gan-{number:06}.safetensors"
            history = {**self._histories, "gan": self._histories["gan"][: gan.epoch]}
            with undisturbed:
                self._job.save(path, gan.all_tensors(), "gan", gan.epoch, history)
                self._saved = place
                for old in points[: 1 - KEPT]:
                    old.unlink()
            self._job.log({}, gan.epoch)
        now = time.monotonic()
        self._due = now + max(self._every, (now - began) / SHARE)

    def clear(self) -> None:
        """Delete the points, once the training has ended and is saved as a whole."""
        for path in _list_points(self._job.folder):
            path.unlink()
        with suppress(OSError):  # not there, or not empty
            (self._job.folder / FOLDER).rmdir()


def _list_points(folder: Path) -> list[Path]:
    """Return the resume points in a job's folder, the newest last."""
    return sorted((folder / FOLDER).glob("gan-*.safetensors"))
