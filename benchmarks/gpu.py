"""All that is to be known of a GPU: its tests, the steps of a training, and the road on the flowers.

A step is one critic step and one generator step at CUB's shapes, on rows that are on the device. The bound
is what `benchmarks.step.least_seconds` counts, at the rates at which this device multiplies large matrices in
the same precision, and copies a large one. All ways run in this process; their blocks of steps alternate.

Run: python -m benchmarks.gpu [--data <folder of FLO>] [--device cuda] [--quick]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from mlflow import MlflowClient
from torch import Tensor

from benchmarks.step import CONFIG, HIDDEN, ROWS, SHAPES, UsualStep, least_seconds, random_rows
from benchmarks.timing import interleave, machine, print_table
from cwgan.gan.fast.graphs import EAGER_CALLS, StepGraph
from cwgan.gan.networks import Regressor, SoftmaxClassifier, freeze
from cwgan.gan.players import build_gan
from cwgan.gan.training import SeenRows, critic_step, generator_step

ROOT = Path(__file__).resolve().parent.parent
TESTS = ("tests/gan/test_gpu.py", "tests/experiment/test_ranks.py")
SIZES = SHAPES["CUB, 1024 sentences"]
PRECISIONS = {"float32": "highest", "TF32": "high", "bfloat16": "medium"}
"""What `torch.set_float32_matmul_precision` calls them. Some GPUs take TF32 where bfloat16 is allowed."""
SHOWN = ("S", "U", "H", "T1", "AUSUC")
Step = Callable[[], object]


def measure_rates(device: torch.device, size: int) -> tuple[float, float]:
    """Return the rates of square products [flop/s], as precision is set, and of copies [byte/s]."""
    left, right, out = (torch.rand(size, size, device=device) for _ in range(3))
    source, target = (torch.rand(4 * size * size, device=device) for _ in range(2))
    works = {"multiply": lambda: torch.mm(left, right, out=out), "copy": lambda: target.copy_(source)}
    seconds = interleave({name: repeat(work, 5, device) for name, work in works.items()}, blocks=5)
    return 5 * 2 * size**3 / seconds["multiply"], 5 * 2 * 4 * source.numel() / seconds["copy"]


def repeat(step: Step, count: int, device: torch.device) -> Step:
    """Return a work that takes some steps, and waits for the device once."""

    def work() -> None:
        for _ in range(count):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return work


def our_step(data: SeenRows, batch: int, units: int, device: torch.device, has_graph: bool) -> Step:
    """Return our step on a batch drawn anew, as a CUDA graph or as it is."""
    features, attributes, _, seen = SIZES
    config, rng = replace(CONFIG, hidden_size=units, batch_size=batch), torch.Generator().manual_seed(0)
    regressor = freeze(Regressor(features, attributes, rng))
    monitor = freeze(SoftmaxClassifier(features, torch.arange(seen), rng))
    gan = build_gan(features, attributes, config, rng, regressor, monitor, device)
    for optimizer in (gan.critic_optimizer, gan.generator_optimizer):
        lr = optimizer.param_groups[0]["lr"]
        optimizer.param_groups[0]["lr"] = lr.fill_(1e-4) if isinstance(lr, Tensor) else 1e-4

    def take_step(rows: Tensor) -> dict[str, Tensor]:
        return {**critic_step(gan, data, rows), **generator_step(gan, data, rows)}

    step = StepGraph(take_step, gan.rng) if has_graph else take_step
    return lambda: step(torch.randint(ROWS, (batch,), generator=gan.rng, device=device))


def usual_step(
    data: SeenRows, batch: int, units: int, device: torch.device, is_compiled: bool, is_cast: bool
) -> Step:
    """Return the usual step on a batch drawn anew.

    `torch.compile` cannot differentiate the penalty a second time, so it gets the generator's step, and of
    the critic's the fakes. With `is_cast` PyTorch's autocast computes in bfloat16.
    """
    usual = UsualStep(*SIZES[:2], SIZES[3], units, str(device))
    generator_step = usual.generator_step
    if is_compiled:
        torch.compiler.reset()  # it compiles one code a few times only
        generator_step = torch.compile(usual.generator_step)
        usual.generator.compile()

    def step() -> None:
        rows = torch.randint(ROWS, (batch,), device=device)
        labels = data.labels[rows]
        attributes = data.attributes[labels]
        with torch.autocast(device.type, torch.bfloat16, enabled=is_cast):
            usual.critic_step(data.features[rows], attributes)
            generator_step(attributes, labels)

    return step


def list_ways(
    data: SeenRows, batch: int, units: int, device: torch.device, precision: str
) -> dict[str, Callable[[], Step]]:
    """Return what makes the ways to take a step that a precision has, by name."""
    given = data, batch, units, device
    usual, ours = partial(usual_step, *given), partial(our_step, *given)
    ways = {"usual": partial(usual, False, False), "ours": partial(ours, has_graph=False)}
    if device.type == "cuda":
        ways["usual, compiled"] = partial(usual, True, False)
        ways["ours, graph"] = partial(ours, has_graph=True)
    if precision == "bfloat16":
        ways["usual, autocast"] = partial(usual, False, True)
    return ways


def measure_steps(device: torch.device, batches: list[int], units: int, blocks: int, size: int) -> None:
    """Time all ways in all precisions, and print a table of each batch."""
    data = random_rows(*SIZES).to(device)
    for batch in batches:
        rows, steps = list[list[str]](), max(1, 50 * 64 // batch if device.type == "cuda" else 1)
        for precision, setting in PRECISIONS.items():
            torch.set_float32_matmul_precision(setting)
            rates = measure_rates(device, size)
            least = sum(least_seconds(*SIZES[:2], *rates, batch, units).values())
            works, memory = dict[str, Step](), dict[str, str]()
            for name, make in list_ways(data, batch, units, device, precision).items():
                step, memory[name] = warm_up(make, device)
                works[name] = repeat(step, steps, device)
            seconds = {name: value / steps for name, value in interleave(works, blocks).items()}
            for name, value in seconds.items():
                compared = [f"{seconds['usual'] / value:.2f}", f"{100 * least / value:.0f}"]
                rows.append([f"{precision}, {name}", f"{1 / value:.1f}", *compared, memory[name]])
            shown = f"{rates[0] / 1e12:.3g} Tflop/s, {rates[1] / 1e9:.4g} GB/s"
            rows.append([f"{precision}, bound ({shown})", f"{1 / least:.1f}", "", "100", ""])
        torch.set_float32_matmul_precision("highest")
        print(f"critic + generator step, CUB's shapes, batch {batch}, hidden {units}")
        print_table(["way", "steps/s", "speed-up", "% of bound", "memory [MB]"], rows)


def warm_up(make: Callable[[], Step], device: torch.device) -> tuple[Step, str]:
    """Make a way and take some steps; return it, and the most MB of a GPU that it held, less the rows."""
    if device.type == "cpu":
        return make(), "-"
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step = make()
    repeat(step, 2 * EAGER_CALLS, device)()
    return step, f"{(torch.cuda.max_memory_allocated() - before) / 1e6:.0f}"


def go_roads(data: Path, device: str, quick: bool) -> None:
    """Go the whole road on a data set with the defaults, on the device and on the CPU, and print a table."""
    rows = []
    for name in dict.fromkeys([device, "cpu"]):
        with tempfile.TemporaryDirectory() as folder:
            store = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "PYTHONPATH": str(ROOT)}
            flags = [f"--data.path={data.resolve()}", f"--device={name}"]
            flags += ["--select=false", "--gan.epochs=1"] if quick else []
            command, began = [sys.executable, "-m", "entrypoints.main", *flags], time.perf_counter()
            subprocess.run(command, cwd=folder, env={**os.environ, **store}, check=True)
            seconds = time.perf_counter() - began
            found = MlflowClient(store["MLFLOW_TRACKING_URI"]).search_runs(["0"], "tags.stage = 'main'")
            scores = found[0].data.metrics
            shown = [f"{100 * scores[score]:.1f}" for score in SHOWN]
            rows.append([name, *shown, f"{scores['seconds/train_gan']:.0f}", f"{seconds:.0f}"])
    print(f"\nthe road on {data.name}, defaults")
    print_table(["device", *SHOWN, "final train_gan [s]", "all [s]"], rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of FLO; without it no road is gone")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="few steps and small sizes")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        print("PyTorch sees no GPU here", file=sys.stderr)
        return 1
    device = torch.device(given.device)
    print(machine())
    if given.device == "cuda":
        about = torch.cuda.get_device_properties(device)
        print(f"{about.name}, {about.total_memory / 1e9:.0f} GB, CUDA {torch.version.cuda}", flush=True)
        tests = [sys.executable, "-m", "pytest", "-q", "-rs", *TESTS]
        if subprocess.run(tests, cwd=ROOT, check=False).returncode:
            return 1
    if given.quick:
        measure_steps(device, [64], 256, 3, 512)
    else:
        measure_steps(device, [64, 4096], HIDDEN, 11, 8192 if given.device == "cuda" else 1024)
    if given.data:
        go_roads(given.data, given.device, given.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
