"""The program as a user starts it: start-up, peak memory of every stage, MLflow's share of the time.

Runs the real entry points on random data of CUB's sizes in a temporary folder.

Run: python -m benchmarks.program [--quick]
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.road import cub_sized
from benchmarks.timing import machine, print_table
from cwgan.data.hdf5 import save_hdf5

MEASURED = r"""
import re, sys, time
began = time.perf_counter()
{body}
# Not getrusage: its maximum begins with that of the process that started this one.
peak = int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) / 1024
print("PEAK", peak, "SECONDS", time.perf_counter() - began, "STATUS", status)
"""
STAGE = """
from cwgan.launch import launch
from entrypoints.{name} import COMMAND
status = launch(COMMAND, {flags!r})
"""
FAST = ["--monitor.epochs=2", "--regressor.epochs=2"]


def run(body: str, folder: Path) -> tuple[float, float, str]:
    """Run Python code in a process of its own; return its peak memory [MB], its seconds and its output."""
    environment = {
        **os.environ,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    done = subprocess.run(
        [sys.executable, "-c", MEASURED.format(body=body)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"PEAK ([\d.]+) SECONDS ([\d.]+) STATUS (\S+)", done.stdout)
    if not found or found[3] != "0":
        raise RuntimeError(done.stdout + done.stderr)
    return float(found[1]), float(found[2]), done.stdout


def stage(name: str, flags: list[str], folder: Path) -> tuple[float, float, str]:
    return run(STAGE.format(name=name, flags=flags), folder)


def main(quick: bool) -> dict[str, dict[str, float]]:
    print(machine())
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        dataset = cub_sized()
        size = dataset.features.numel() * 4 / 2**20
        save_hdf5(dataset, folder / "cub")
        del dataset
        data = ["--config=cub", f"--data.path={folder / 'cub'}"]
        epochs = 1 if quick else 3
        bare, _, _ = run("import torch, mlflow\nstatus = 0", folder)
        train = ["train_gan", [*data, *FAST, f"--gan.epochs={epochs}"]]
        steps = [train, ["generate", None], ["train_cls", ["--classifier.epochs=3"]], ["evaluate", None]]
        reference, before = {"generate": "--gan", "train_cls": "--synthetic", "evaluate": "--classifier"}, ""
        for name, flags in steps:
            peak, seconds, output = stage(
                name, [*(flags or []), *([f"{reference[name]}={before}"] if before else [])], folder
            )
            before = re.findall(r"run ([0-9a-f]{32})", output)[-1]
            results[name] = {"peak MB": peak, "over torch and mlflow MB": peak - bare, "seconds": seconds}
        results["start to first GAN step"] = {"seconds": first_step(folder)}
        results["--help"] = {"seconds": seconds_of([sys.executable, "-m", "entrypoints.train_gan", "--help"])}
        results["imports of torch and mlflow"] = {
            "seconds": seconds_of([sys.executable, "-c", "import torch, mlflow"])
        }
        share = mlflow_share(folder)
    call, part = 1e3 * share["seconds per call"], 100 * share["share"]
    print(f"one MLflow call per epoch: {call:.1f} ms, {part:.3f} % of a GAN epoch at CUB's sizes")
    print(
        f"features {size:.0f} MB; bare interpreter with torch and mlflow {bare:.0f} MB; {epochs} GAN epochs"
    )
    head = ["stage", "peak MB", "over torch and mlflow MB", "seconds"]
    print_table(
        head,
        [
            [name, *(f"{row[key]:.1f}" if key in row else "" for key in head[1:])]
            for name, row in results.items()
        ],
    )
    return results | {"MLflow": share}


def seconds_of(command: list[str]) -> float:
    """Return the least seconds of five runs of a command."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return min(times)


def first_step(folder: Path) -> float:
    """Return the seconds from the start of the process to the first step of the GAN on the built-in data."""
    body = """
from cwgan.gan import training
step = training.critic_step
def spy(*args):
    training.critic_step = step
    print("FIRST", time.time(), flush=True)
    return step(*args)
training.critic_step = spy
""" + STAGE.format(name="train_gan", flags=["--gan.epochs=1", "--monitor.epochs=1", "--regressor.epochs=1"])
    began = time.time()
    _, _, output = run(body, folder)
    return float(re.search(r"FIRST ([\d.]+)", output)[1]) - began


def mlflow_share(folder: Path) -> dict[str, float]:
    """Return what logging an epoch's terms takes, in seconds and as a share of a GAN epoch at CUB's sizes."""
    body = """
from benchmarks.step import SHAPES, our_steps
from benchmarks.timing import interleave
from cwgan.config import Config
from cwgan import tracking
step = sum(interleave(our_steps(SHAPES["CUB, 1024 sentences"], "float32"), 3).values())
names = "critic wasserstein gradient_penalty generator adversarial cycle monitor_accuracy".split()
terms = {f"gan/{name}": 1.0 for name in names}
with tracking.session() as scratch, tracking.run("bench", Config(), (), {}, scratch) as opened:
    epochs = iter(range(1, 1000))
    call = interleave({"log": lambda: opened.log(terms, next(epochs))}, 30)["log"]
print("CALL", call, "EPOCH", step * (7057 // 64))
status = 0
"""
    _, _, output = run(body, folder)
    call, epoch = map(float, re.search(r"CALL ([\d.e-]+) EPOCH ([\d.]+)", output).groups())
    return {"seconds per call": call, "share": call / epoch}


if __name__ == "__main__":
    main("--quick" in sys.argv)
