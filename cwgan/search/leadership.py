"""Which of several commands on several machines leads: the one that last wrote so, as long as it renews that."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from cwgan.errors import StoreError

PLACE = "leader"
MAKERS_START = 2.0
"""Seconds that the command which made a study has to take the lead."""


def _identity() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


@dataclass
class Leadership:
    """The lead of one study, as this process sees it.

    Args:
        noted: returns what was written down in the study under a name, or None.
        note: writes something down there.
        is_maker: whether this process made the study.
        renewed_every: seconds between two renewals.
        lost_after: seconds without renewal after which the lead falls to whoever asks.
        identity: host and process.
    """

    noted: Callable[[str], Any]
    note: Callable[[str, Any], None]
    is_maker: bool
    renewed_every: float
    lost_after: float
    identity: str = field(default_factory=_identity)

    def take(self) -> bool:
        """Take or renew the lead, unless another process has it that still lives; whether this one has it now."""
        held = self.noted(PLACE)
        if (
            held is None and not self.is_maker
        ):  # the command that made the study is about to take it, or was killed before it could
            time.sleep(MAKERS_START)
            held = self.noted(PLACE)
        now = time.time()
        is_mine = bool(held) and held["who"] == self.identity
        if held and not is_mine and not _is_gone(held["who"]) and now - held["at"] < self.lost_after:
            return False
        self.note(PLACE, {"who": self.identity, "at": now})
        if not is_mine:
            time.sleep(0.5)  # of several commands that take it at once, the last keeps it
        return bool((self.noted(PLACE) or {}).get("who") == self.identity)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Renew the lead in the background, and leave it in the end, unless another process has taken it meanwhile."""
        ended = threading.Event()

        def renew() -> None:
            while not ended.wait(self.renewed_every):
                with suppress(StoreError):
                    self.take()

        thread = threading.Thread(target=renew, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            if (self.noted(PLACE) or {}).get("who") == self.identity:
                self.note(PLACE, {})


def _is_gone(identity: str) -> bool:
    """Whether a process was of this machine and is no more."""
    host, _, process = identity.rpartition(":")
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's
        return False
    return False
