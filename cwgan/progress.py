"""Progress of long work: a bar in a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 15.0
BAR = "{desc} {bar:20} {n_fmt}/{total_fmt} epochs [{elapsed}<{remaining}{postfix}]"


def show_epochs(
    losses: Iterable[Mapping[str, float]], name: str, total: int, done: int = 0
) -> Iterator[tuple[int, Mapping[str, float]]]:
    """Number the epochs of a loop and show how far it is.

    Args:
        losses: yields the terms of one epoch after another.
        name: of the work.
        total: number of the last epoch.
        done: epochs trained before.

    Yields:
        The epoch, from done + 1, and its terms.
    """
    is_watched = sys.stderr.isatty()
    began = spoke = time.perf_counter()
    bar: tqdm = tqdm(
        total=total, initial=done, desc=f"{name:<10}", bar_format=BAR, leave=False, disable=not is_watched
    )
    with bar:
        for epoch, terms in enumerate(losses, start=done + 1):
            yield epoch, terms
            bar.set_postfix({key: f"{value:.3g}" for key, value in terms.items()}, refresh=False)
            bar.update()
            now = time.perf_counter()
            if epoch == total or (not is_watched and now - spoke > SECONDS_BETWEEN_LINES):
                spoke = now
                shown = "  ".join(f"{key} {value:.4g}" for key, value in terms.items())
                with tqdm.external_write_mode():
                    print(f"{name:<10} {epoch:>4}/{total} epochs  {now - began:6.1f} s  {shown}", flush=True)
