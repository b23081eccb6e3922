"""How recipes carry over to other divisions of the classes into seen and unseen ones.

Every run is the whole road by its own command; test rows are read once, at its end. The transfer gap is the
best H on the test rows' own seen-unseen curve, which is reported and never used, less the H that was reached.

Run: python -m benchmarks.divisions [--data <folder>] [--unseen 12 20 40 51] [--draws 3] [--seeds 0 1 2]
     [--rows defaults "no GAN" ...]; without --data the built-in numbers
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean

from benchmarks.timing import machine
from cwgan.command_line import from_dict
from cwgan.data.hdf5 import save_hdf5
from cwgan.data.sources import load_dataset
from cwgan.data.views import redivide
from cwgan.gan.checkpoint import load_checkpoint, load_classifier
from cwgan.scoring.comparison import format_table
from cwgan.scoring.evaluation import evaluate
from cwgan.stages.job import load_data

ROOT = Path(__file__).resolve().parent.parent
ROWS = {
    "defaults": {},
    "no GAN": {"variant": "no_gan"},
    "no mean correction": {"generate.mean_correction": 0, "generate.source": "gan"},
    "xian2018": {"variant": "xian2018"},
    "ESZSL": {"variant": "eszsl"},
}
NAMES = ("S", "U", "H", "T1", "AUSUC", "gap", "minutes")


def measure(data: Path, seed: int, flags: dict[str, object], folder: Path) -> dict[str, float]:
    """Run the whole road in a folder of its own; return its scores, the transfer gap and the minutes."""
    given = {"data.path": data, "seed": seed, "threads": 1, **flags}
    command = [
        sys.executable,
        "-m",
        "entrypoints.main",
        *(f"--{key}={value}" for key, value in given.items()),
    ]
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "PYTHONPATH": str(ROOT)}
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, env={**os.environ, **store}, check=True, stdout=subprocess.DEVNULL)
    minutes = (time.perf_counter() - began) / 60
    checkpoint = load_checkpoint(next(folder.rglob("classifier.safetensors")))
    config = from_dict(checkpoint.facts["config"])
    classifier, dataset = load_classifier(checkpoint, "classifier"), load_data(config)
    reached = json.loads(next(folder.rglob("results.json")).read_text())["scores"]
    best = evaluate(classifier, dataset, None).scores["H"]
    return {
        **{name: 100 * reached[name] for name in NAMES[:5]},
        "gap": 100 * (best - reached["H"]),
        "minutes": minutes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="numbers")
    parser.add_argument("--unseen", type=int, nargs="+", default=[12, 20, 40, 51])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", default=list(ROWS))
    given = parser.parse_args()
    print(f"{given.data}, seeds {given.seeds}, one thread; {machine()}", flush=True)
    whole, cells = load_dataset(given.data), []
    for unseen in given.unseen:
        for draw in range(given.draws):
            with tempfile.TemporaryDirectory() as place:
                data = Path(place) / f"{whole.class_count - unseen} + {unseen}, draw {draw}"
                save_hdf5(redivide(whole, draw, 0.2, unseen), data)
                for row in given.rows:
                    found = []
                    for seed in given.seeds:
                        folder = Path(place) / f"{row} {seed}"
                        folder.mkdir()
                        found.append(measure(data, seed, ROWS[row], folder))
                    means = [f"{mean(each[name] for each in found):.1f}" for name in NAMES]
                    cells.append([data.name, row, *means])
                    print(" | ".join(cells[-1]), flush=True)
    print(format_table(["classes", "recipe", *NAMES], cells))


if __name__ == "__main__":
    main()
