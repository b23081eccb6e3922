"""ImageNet's shape on a small machine: one road, what its stages take, and how that grows with the data.

The data set is made up: 1,000 seen and 20,842 unseen classes, 1.28 million training rows of 2,048 features,
as float16 on disk, and attributes of 500 entries that really predict the means of classes. The road takes 200
steps of the GAN, one pass of the monitor and of the classifier, and few synthetic rows per class. `--grow`
takes smaller roads instead, and doubles their rows, classes and features in turn, twice.

Run: python -m benchmarks.scale [--data <folder to keep it in>] [--seen 1000] [--unseen 20842] [--rows 1280]
     [--features 2048] [--counts 3] [--merge] [--grow]
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import h5py
import numpy as np

from benchmarks.timing import machine, print_table
from cwgan.config import Config
from cwgan.data.hdf5 import CLASSES_FILE, ROWS_FILE
from cwgan.files import create_hdf5, written_whole

ROOT = Path(__file__).resolve().parent.parent
ATTRIBUTES, TEST_SEEN, TEST_UNSEEN, PARTS = 500, 20, 3, 40
SMALL = {"seen": 1000, "unseen": 4000, "rows": 320, "features": 512}
SIZES = {"rows": (320, 640, 1280), "unseen": (4000, 9000, 19_000), "features": (512, 1024, 2048)}
SYNTHETIC = 60_000  # rows in all, when the classes grow
ROUNDS = 2  # of each size, of which the quickest counts
STEPS = 200  # of the generator
CLASSIFIER_EPOCHS = 10  # which validation classes choose often
SHORT = [f"--gan.epochs={STEPS // 25}", "--monitor.epochs=1", "--classifier.epochs=1", "--gan.score_every=0"]


def make_data(folder: Path, seen: int, unseen: int, rows: int, features: int) -> None:
    """Write the data set as an HDF5 pair: classes in groups, as words lie, and rows about their means."""
    rng, classes = np.random.default_rng(0), seen + unseen
    groups = rng.normal(size=(PARTS, ATTRIBUTES)).astype(np.float32)
    spread = rng.normal(size=(classes, ATTRIBUTES)).astype(np.float32)
    attributes = groups[rng.integers(PARTS, size=classes)] + 0.7 * spread
    means = attributes @ rng.normal(size=(ATTRIBUTES, features)).astype(np.float32) / ATTRIBUTES**0.5
    order = rng.permutation(classes)
    with written_whole(folder / ROWS_FILE) as path, create_hdf5(path) as file:
        sides = ("train", order[:seen], rows), ("test/seen", order[:seen], TEST_SEEN)
        for group, labels, count in (*sides, ("test/unseen", order[seen:], TEST_UNSEEN)):
            of_rows = np.repeat(labels, count)
            file[f"{group}/Y"] = of_rows + 1
            matrix = file.create_dataset(f"{group}/X", (len(of_rows), features), np.float16)
            for start in range(0, len(of_rows), 8192):
                made = means[of_rows[start : start + 8192]]
                made += rng.standard_normal(made.shape, dtype=np.float32)
                matrix[start : start + 8192] = np.maximum(made, 0).astype(np.float16)
    with written_whole(folder / CLASSES_FILE) as path, create_hdf5(path) as file:
        file["openset/ids"], file["openset/data"] = np.arange(classes) + 1, attributes
        file["openset/labels"] = np.array([f"class {label}".encode() for label in range(classes)])


def watch_memory(process: subprocess.Popen, peaks: dict[str, int]) -> None:
    """Note the most memory that a process holds by itself, and with pages of files, as its libraries'."""
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        found = re.findall(r"(RssAnon|VmRSS):\s+(\d+) kB", status.read_text())
        for name, value in found:
            peaks[name] = max(peaks.get(name, 0), int(value) // 1024)
        time.sleep(0.1)


def run(data: Path, folder: Path, flags: list[str]) -> tuple[list[str], dict[str, int], float]:
    """Go one road by its own command; return the lines to show, the peaks of memory in MB, the seconds."""
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "entrypoints.main", f"--data.path={data}", "--select=false", *flags]
    began, peaks = time.perf_counter(), dict[str, int]()
    process = subprocess.Popen(
        command, cwd=folder, env={**os.environ, **store}, stdout=subprocess.PIPE, text=True
    )
    watcher = threading.Thread(target=watch_memory, args=(process, peaks))
    watcher.start()
    assert process.stdout
    wanted = "|", "Seconds", "monitor", "gan", "classifier"
    lines = [line.rstrip() for line in process.stdout if line.startswith(wanted)]
    watcher.join()
    if process.wait():
        raise SystemExit(f"the road ended with status {process.returncode}")
    return lines, peaks, time.perf_counter() - began


def read_seconds(lines: list[str]) -> dict[str, float]:
    """Return what stages took, and the epochs within them."""
    spent = dict[str, float]()
    for line in lines:
        if line.startswith("Seconds"):
            spent |= {name: float(value) for name, value in re.findall(r"(\w+) ([\d.]+)[,.]", line)}
        elif found := re.match(r"(monitor|gan|classifier) .* epochs +([\d.]+) s", line):
            spent[f"{found[1]}, epochs"] = float(found[2])
    return spent


def grow(folder: Path) -> None:
    """Double rows, classes and features twice; print seconds, and how far the middle is off a line."""
    for name, sizes in SIZES.items():
        found = []
        for size in sizes:
            shape = SMALL | {name: size}
            with tempfile.TemporaryDirectory(dir=folder) as place:
                data, work = Path(place) / "data", Path(place) / "run"
                work.mkdir()
                make_data(data, **shape)
                flags = [*SHORT, *count_rows(SYNTHETIC // (shape["seen"] + shape["unseen"]))]
                roads = [run(data, work, [*flags, "--data.memory=disk"])[0] for _ in range(ROUNDS)]
            spent = [read_seconds(lines) for lines in roads]
            found.append({part: min(each[part] for each in spent) for part in spent[0]})
        rows = []
        for part in found[0]:
            low, middle, high = (each[part] for each in found)
            straight = low + (high - low) / 3
            seconds, off = [f"{each[part]:.1f}" for each in found], f"{100 * (middle / straight - 1):+.0f} %"
            rows.append([part, *seconds, off])
        total = {"unseen": "classes"}.get(name, name)
        heads = [str(size + SMALL["seen"] * (name == "unseen")) for size in sizes]
        print_table([f"{total}, s", *heads, "off a line"], rows)
        print(flush=True)


def extrapolate(spent: dict[str, float], rows: int, seen: int, unseen: int, made: int) -> None:
    """Print rows per second of every stage, and its hours with the defaults' numbers of rows and passes."""
    tested, defaults = TEST_SEEN * seen + TEST_UNSEEN * unseen, Config()
    gan, monitor, (count,) = defaults.gan, defaults.monitor, defaults.generate.counts
    passes = gan.epochs * gan.epoch_steps * gan.batch_size
    handled = {
        "load_data": (rows + tested, rows + tested),
        "monitor, epochs": ((1 - monitor.holdout) * rows, monitor.epochs * (1 - monitor.holdout) * rows),
        "gan, epochs": (STEPS * gan.batch_size, passes),
        "generate": (made, count * unseen),
        "classifier, epochs": (made, CLASSIFIER_EPOCHS * (rows + count * unseen)),
    }
    table = []
    for stage, (now, whole) in handled.items():
        speed = now / max(0.1, spent[stage])
        table.append([stage, f"{speed:.0f}", f"{whole:.0f}", f"{whole / speed / 3600:.1f}"])
    print_table(["stage", "rows per s", "rows with the defaults", "hours"], table)


def count_rows(count: int) -> list[str]:
    """Return the flags for so many synthetic rows of every class, the classifier's only ones."""
    return [f"--generate.counts=[{count},{count}]", "--generate.domain=all", "--classifier.operation=replace"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    for name, default in (("seen", 1000), ("unseen", 20842), ("rows", 1280), ("features", 2048)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--counts", type=int, default=3)
    parser.add_argument("--merge", action="store_true", help="train the classifier on real rows too")
    parser.add_argument("--grow", action="store_true", help="go smaller roads of growing sizes instead")
    given = parser.parse_args()
    print(machine(), flush=True)
    if given.grow:
        return grow(given.data or Path.cwd())
    with tempfile.TemporaryDirectory() as place:
        data, folder = given.data or Path(place) / "data", Path(place) / "run"
        folder.mkdir()
        if not (data / CLASSES_FILE).is_file():
            began = time.perf_counter()
            make_data(data, given.seen, given.unseen, given.rows, given.features)
            print(f"made in {time.perf_counter() - began:.0f} s", flush=True)
        size = (data / ROWS_FILE).stat().st_size
        counts = [f"--generate.counts=[{given.counts}]"] if given.merge else count_rows(given.counts)
        lines, peaks, seconds = run(data, folder, [*SHORT, *counts])
        with h5py.File(data / ROWS_FILE) as file:
            rows = len(file["train/X"])
    print("\n".join(lines))
    if not given.merge:
        made = given.counts * (given.seen + given.unseen)
        extrapolate(read_seconds(lines), rows, given.seen, given.unseen, made)
    cells = [str(rows), f"{size / 1e9:.1f}", str(peaks["RssAnon"]), str(peaks["VmRSS"]), f"{seconds:.0f}"]
    print_table(["training rows", "file [GB]", "memory [MB]", "with pages of files [MB]", "seconds"], [cells])


if __name__ == "__main__":
    main()
