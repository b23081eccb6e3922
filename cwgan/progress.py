"""Progress of long work: a bar in a terminal, a plain line now and then elsewhere."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 15.0
BAR = "{desc} {bar:20} {n_fmt}/{total_fmt} epochs [{elapsed}<{remaining}{postfix}]"
Terms = Mapping[str, float]


def show_epochs(
    losses: Iterable[Terms], name: str, total: int, done: int = 0, hidden: Collection[str] = ()
) -> Iterator[tuple[int, Terms]]:
    """Yield every epoch of a loop, numbered from done + 1 to total, with its terms; show how far it is.

    The terms of the names `hidden` are not shown.
    """
    title = f"{name:<10}"
    began = spoke = time.perf_counter()
    # With disable=None there is no bar where stderr is no terminal.
    bar: tqdm = tqdm(desc=title, total=total, initial=done, bar_format=BAR, leave=False, disable=None)
    with bar:
        for epoch, terms in enumerate(losses, start=done + 1):
            yield epoch, terms
            told = {key: value for key, value in terms.items() if key not in hidden}
            bar.set_postfix({key: f"{value:.3g}" for key, value in told.items()}, refresh=False)
            bar.update()
            now = time.perf_counter()
            if epoch == total or (bar.disable and now - spoke > SECONDS_BETWEEN_LINES):
                spoke = now
                shown = "  ".join(f"{key} {value:.4g}" for key, value in told.items())
                with tqdm.external_write_mode():
                    print(f"{title} {epoch:>4}/{total} epochs  {now - began:6.1f} s  {shown}", flush=True)
