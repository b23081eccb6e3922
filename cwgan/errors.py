"""The few ways in which work ends early."""

import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIGINT, SIGTERM
from types import FrameType

LONGEST = 1000  # characters of what was found that an error shows


class InputError(ValueError):
    """Something a user handed in cannot be used: where it is, what was found there, and what is allowed.

    `where` is a file or a section of the configuration, `field` the key, parameter or split within it.
    """

    def __init__(self, where: object, field: str, got: object, allowed: str) -> None:
        super().__init__(f"{where}: {field}: found {_shorten(got)}; allowed: {allowed}")
        self.field, self.got, self.allowed = field, got, allowed


def _shorten(value: object) -> str:
    """Return a text of a value that fits on a page; Python refuses to write numbers of 4,300 digits."""
    try:
        text = str(value)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text)} characters)"


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its kind if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def check_finite(what: str, value: float, place: str) -> None:
    """Raise a FloatingPointError that names the loss, and the step of the training, if it is not finite."""
    if not math.isfinite(value):
        raise FloatingPointError(f"{what} is {value} in {place}; a smaller learning rate may help")


class StoreError(OSError):
    """MLflow's store, or the database of a search, cannot be reached or refuses what it is given."""


class WriteError(OSError):
    """A file cannot be written, because the disk is full, say: which one, and why."""


class Stopped(Exception):  # noqa: N818  (it is no error)
    """A trial of a search is given up before its last epoch, because other settings score higher."""


class _Undisturbed:
    """A context within which a signal waits until what is done there is whole; it interrupts at its end."""

    def __init__(self) -> None:
        self.is_entered = self.has_heard = False

    def __enter__(self) -> None:
        self.is_entered = True

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.is_entered = False
        if self.has_heard:
            self.has_heard = False
            if not error:  # which would leave the work half done
                raise KeyboardInterrupt


undisturbed = _Undisturbed()


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into a KeyboardInterrupt; ignore later ones while work is closed.

    Within `undisturbed` it waits.
    """
    heard = [number for number in (SIGINT, SIGTERM) if signal.getsignal(number) is not signal.SIG_IGN]

    def interrupt(signum: int, frame: FrameType | None) -> None:
        for number in heard:
            # SIG_IGN would complain about a second signal that is under way already.
            signal.signal(number, lambda *_: None)
        if not undisturbed.is_entered:
            raise KeyboardInterrupt
        undisturbed.has_heard = True

    before = {number: signal.signal(number, interrupt) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
