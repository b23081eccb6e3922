"""Progress of long work: a bar where a terminal watches, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 15.0
BAR = "{desc} {bar:20} {n_fmt}/{total_fmt} epochs [{elapsed}<{remaining}{postfix}]"


def epochs(
    losses: Iterable[Mapping[str, float]], name: str, total: int, done: int = 0
) -> Iterator[tuple[int, dict[str, float]]]:
    """Number the epochs of a loop as they end, showing how far it is and how it goes.

    Args:
        losses: yields the terms of one epoch after another.
        name: of the work.
        total: number of epochs when it ends.
        done: epochs trained before.

    Yields:
        The epoch, from done + 1, and its terms.
    """
    watched = sys.stderr.isatty()
    bar: tqdm = tqdm(
        total=total, initial=done, desc=f"{name:<10}", bar_format=BAR, leave=False, disable=not watched
    )
    began = spoke = time.perf_counter()
    terms: dict[str, float] = {}
    with bar:
        for epoch, values in enumerate(losses, start=done + 1):
            terms = dict(values)
            yield epoch, terms
            bar.set_postfix({key: f"{value:.3g}" for key, value in terms.items()}, refresh=False)
            bar.update()
            now = time.perf_counter()
            if not watched and (epoch == total or now - spoke > SECONDS_BETWEEN_LINES):
                spoke = now
                _say(name, epoch, total, now - began, terms)
    if watched:
        _say(name, int(bar.n), total, time.perf_counter() - began, terms)


def _say(name: str, epoch: int, total: int, seconds: float, terms: Mapping[str, float]) -> None:
    shown = "  ".join(f"{key} {value:.4g}" for key, value in terms.items())
    print(f"{name:<10} {epoch:>4}/{total} epochs  {seconds:6.1f} s  {shown}", flush=True)
