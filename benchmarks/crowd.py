"""A crowded machine: several demos at once against as many one after another.

Threads that wait for one another spin. How long, says GOMP_SPINCOUNT; "ours" leaves it to the program, which
looks at how crowded the machine is. OpenMP's own value is 300000.

Run: python -m benchmarks.crowd [--demos 4] [--spins 3000 ours]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.timing import machine, print_table

ROOT = Path(__file__).resolve().parent.parent


def go(folder: Path, demos: int, spins: str) -> float:
    """Run so many demos at once, each with its own store; return the seconds until the last has ended."""
    began, processes = time.perf_counter(), []
    for number in range(demos):
        place = folder / f"{spins} {demos} {number}"
        place.mkdir()
        own = {"MLFLOW_TRACKING_URI": f"sqlite:///{place}/mlflow.db"}
        own |= {} if spins == "ours" else {"GOMP_SPINCOUNT": spins}
        command = [sys.executable, "-m", "entrypoints.main"]
        environment, quiet = {**os.environ, "PYTHONPATH": str(ROOT), **own}, subprocess.DEVNULL
        processes.append(subprocess.Popen(command, cwd=place, env=environment, stdout=quiet))
    if any([process.wait() for process in processes]):
        raise RuntimeError("a demo failed")
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demos", type=int, default=4)
    parser.add_argument("--spins", nargs="+", default=["3000", "ours"])
    given, rows = parser.parse_args(), []
    print(machine())
    with tempfile.TemporaryDirectory() as temporary:
        for spins in given.spins:
            alone, together = (go(Path(temporary), demos, spins) for demos in (1, given.demos))
            shown = f"{alone:.0f}", f"{together:.0f}", f"{together / alone / given.demos:.2f}"
            rows.append([spins, *shown])
    print_table(["spins", "one alone, s", f"{given.demos} at once, s", "at once / one after another"], rows)


if __name__ == "__main__":
    main()
