"""What a sweep costs beside training and scoring, and how workers scale: real sweeps on the built-in numbers.

Run: python -m benchmarks.sweep [SQLAlchemy URL of an empty PostgreSQL database]
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import optuna

from benchmarks.timing import machine, print_table

ROOT = Path(__file__).resolve().parent.parent
TRIALS = 16


def measure(workers: int, storage: str, folder: Path) -> dict[str, float]:
    """Run one sweep in a folder of its own and take its time apart.

    Args:
        workers: on this machine, one thread each.
        storage: SQLAlchemy URL; empty: SQLite in the folder.
        folder: empty.
    """
    study = f"bench {folder.name}"
    given = {
        "config": "numbers",
        "threads": 1,
        "seed": 1,
        "sweep.trials": TRIALS,
        "sweep.pruner": "none",
        "sweep.study": study,
    }
    given |= {"sweep.workers": workers, "sweep.storage": storage}
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    command = [
        sys.executable,
        "-m",
        "entrypoints.sweep",
        *(f"--{name}={value}" for name, value in given.items() if value != ""),
    ]
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - began
    trials = optuna.load_study(
        study_name=study, storage=storage or f"sqlite:///{folder}/sweeps/optuna.db"
    ).get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    busy: dict[str, list[optuna.trial.FrozenTrial]] = {}
    for trial in trials:
        busy.setdefault(trial.user_attrs["worker"], []).append(trial)
    # From a worker's first trial to its last: what is neither training nor scoring is the cost of the sweep.
    spans = [
        (max(trial.datetime_complete for trial in own) - min(trial.datetime_start for trial in own))
        for own in busy.values()
    ]
    work = sum(trial.user_attrs["seconds/training"] + trial.user_attrs["seconds/scoring"] for trial in trials)
    began_first, ended_last = (
        min(trial.datetime_start for trial in trials),
        max(trial.datetime_complete for trial in trials),
    )
    return {
        "trials": len(trials),
        "GANs": len({trial.user_attrs["gan"] for trial in trials}),
        "wall s": wall,
        "trials/hour": 3600 * len(trials) / (ended_last - began_first).total_seconds(),
        "overhead s/trial": (sum(span.total_seconds() for span in spans) - work) / len(trials),
    }


def main(postgres: str) -> dict[str, dict[str, float]]:
    print(machine())
    results = {}
    for name, storage in {"SQLite": "", "PostgreSQL": postgres}.items():
        for workers in (1, 2):
            if storage or name == "SQLite":
                with tempfile.TemporaryDirectory() as folder:
                    results[f"{name}, {workers} worker{'s' * (workers > 1)}"] = measure(
                        workers, storage, Path(folder)
                    )
    names = next(iter(results.values()))
    print_table(
        ["", *names],
        [
            [key, *(f"{row[name]:.{2 if 'overhead' in name else 0}f}" for name in names)]
            for key, row in results.items()
        ],
    )
    return results


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    main(sys.argv[1] if len(sys.argv) > 1 else "")
