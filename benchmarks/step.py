"""One critic step and one generator step: ours against the usual way, and against what the machine could do.

The usual way, as in public f-CLSWGAN code: inputs concatenated, autograd on both losses, the penalty by
double backward, Adam with its default implementation.

Run: python -m benchmarks.step [--quick]
"""

import sys
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.timing import elsewhere, interleave, machine, print_table
from cwgan.gan import losses
from cwgan.gan.networks import Regressor, SoftmaxClassifier, freeze
from cwgan.gan.players import build_gan
from cwgan.gan.training import SeenRows, critic_step, generator_step
from cwgan.gan_config import GanConfig
from cwgan.machine import PRECISIONS, set_up

BATCH, HIDDEN, ROWS = 64, 4096, 1024
SHAPES = {
    "CUB, 1024 sentences": (2048, 1024, 200, 150),
    "CUB, 312 attributes": (2048, 312, 200, 150),
    "AWA1": (2048, 85, 50, 40),
    "SUN": (2048, 102, 717, 645),
    "FLO": (2048, 1024, 102, 82),
}
BOUNDS = {
    "float32": {"bound": torch.float32},
    "bfloat16": {"bound": torch.float32, "strict bound": torch.bfloat16},
}
"""Type of the matrices multiplied for a bound; the strict one has no rounding and no float32 gradients."""

CONFIG = GanConfig(hidden_size=HIDDEN, batch_size=BATCH)
WEIGHTS = {"cycle": CONFIG.cycle_weight, "unseen_cycle": 0.0, "classification": 0.0}


class Concatenated(nn.Sequential):
    """A network over two inputs side by side, as public code writes it."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return super().forward(torch.cat([first, second], 1)).squeeze(1)


class UsualStep:
    """The reference: autograd on the definition of the losses, and Adam as it comes."""

    def __init__(
        self, features: int, attributes: int, classes: int, units: int = HIDDEN, device: str = "cpu"
    ) -> None:
        hidden, rng = nn.Linear(2 * attributes, units), torch.Generator().manual_seed(0)
        output = nn.Linear(units, features)
        self.generator = Concatenated(hidden, nn.LeakyReLU(0.2), output, nn.ReLU()).to(device)
        hidden = nn.Linear(features + attributes, units)
        self.critic = Concatenated(hidden, nn.LeakyReLU(0.2), nn.Linear(units, 1)).to(device)
        self.regressor = nn.Linear(features, attributes).requires_grad_(False).to(device)
        self.monitor = freeze(SoftmaxClassifier(features, torch.arange(classes), rng)).to(device)
        self.generator_optimizer = torch.optim.Adam(self.generator.parameters(), 1e-4, betas=(0.5, 0.999))
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), 1e-4, betas=(0.5, 0.999))

    def critic_step(self, real: Tensor, attributes: Tensor) -> None:
        self.critic.requires_grad_().zero_grad()
        fake = self.generator(attributes, torch.randn_like(attributes)).detach()
        mix = torch.rand(len(real), 1, device=real.device)
        terms = losses.critic_loss(self.critic, real, fake, attributes, mix, 10.0)
        (-terms["wasserstein"]).backward()  # one call per term, as in public code
        (10.0 * terms["gradient_penalty"]).backward()
        self.critic_optimizer.step()

    def generator_step(self, attributes: Tensor, labels: Tensor) -> None:
        self.critic.requires_grad_(False)
        self.generator.zero_grad()
        fake = self.generator(attributes, torch.randn_like(attributes))
        networks = self.critic, self.regressor, self.monitor
        terms = losses.generator_loss(*networks, fake, attributes, labels, WEIGHTS, losses.cycle)
        terms["generator"].backward()
        self.generator_optimizer.step()


def least_seconds(
    features: int,
    attributes: int,
    flops_per_second: float,
    bytes_per_second: float,
    batch: int = BATCH,
    units: int = HIDDEN,
) -> dict[str, float]:
    """Return the bound of both steps: the products that cannot be avoided, and Adam's traffic.

    Per row, in multiples of hidden x features (F) and hidden x attributes (A): the critic's step needs the
    fake (F + 2A), two hidden layers (2F + A), the slope (F), the way back through it (F) and the weights'
    gradients (3F + A). The generator's needs the fake (F + 2A), the critic there and back (2F + A), its own
    gradients (2F + 2A), and attributes x features twice for the regressor there and back. Adam reads weight,
    gradient and two moments and writes weight and moments: seven numbers of four bytes per parameter.
    """
    wide, narrow = 2 * batch * units * features, 2 * batch * units * attributes
    critic_parameters = units * (features + attributes)
    generator_parameters = units * (2 * attributes + features)
    return {
        "critic": (8 * wide + 4 * narrow) / flops_per_second + 28 * critic_parameters / bytes_per_second,
        "generator": (5 * wide + 5 * narrow + 4 * batch * features * attributes) / flops_per_second
        + 28 * generator_parameters / bytes_per_second,
    }


def machine_rates(features: int, dtype: torch.dtype) -> tuple[float, float]:
    """Measure the best rate of products at the step's shapes [flop/s], and fused Adam's traffic [byte/s]."""
    rows, weight, errors = (
        torch.rand(*shape).to(dtype)
        for shape in ((2 * BATCH, features), (HIDDEN, features), (2 * BATCH, HIDDEN))
    )
    out, hidden = torch.empty_like(weight), torch.empty_like(errors)
    flops = 2 * len(rows) * HIDDEN * features
    parameter = torch.rand(HIDDEN, 3072)
    parameter.grad = torch.rand(HIDDEN, 3072)
    optimizer = torch.optim.Adam([parameter], fused=True)
    seconds = interleave(
        {
            "forward": lambda: torch.mm(rows, weight.t(), out=hidden),
            "backward": lambda: torch.mm(errors.t(), rows, out=out),
            "adam": optimizer.step,
        },
        blocks=15,
        repeats=4,
    )
    return flops / min(seconds["forward"], seconds["backward"]), 28 * parameter.numel() / seconds["adam"]


def random_rows(features: int, attributes: int, classes: int, seen: int) -> SeenRows:
    """Return random rows to train on."""
    rng = torch.Generator().manual_seed(0)
    return SeenRows(
        torch.rand(ROWS, features, generator=rng),
        torch.randint(seen, (ROWS,), generator=rng),
        torch.arange(ROWS),
        torch.rand(classes, attributes, generator=rng),
        torch.arange(seen, classes),
    )


def our_steps(sizes: tuple[int, int, int, int], precision: str) -> dict[str, Callable[[], object]]:
    """Return our critic step and generator step, each on a batch drawn anew."""
    set_up(torch.get_num_threads(), precision)
    features, attributes, _, seen = sizes
    data, rng = random_rows(*sizes), torch.Generator().manual_seed(0)
    regressor = freeze(Regressor(features, attributes, rng))
    monitor = freeze(SoftmaxClassifier(features, torch.arange(seen), rng))
    gan = build_gan(features, attributes, CONFIG, rng, regressor, monitor)
    return {
        "critic": lambda: critic_step(gan, data, torch.randint(ROWS, (BATCH,), generator=rng)),
        "generator": lambda: generator_step(gan, data, torch.randint(ROWS, (BATCH,), generator=rng)),
    }


def usual_steps(sizes: tuple[int, int, int, int]) -> dict[str, Callable[[], object]]:
    """Return the usual critic step and generator step, each on a batch drawn anew."""
    data, usual = random_rows(*sizes), UsualStep(*sizes[:2], classes=sizes[3])

    def critic() -> None:
        rows = torch.randint(ROWS, (BATCH,))
        usual.critic_step(data.features[rows], data.attributes[data.labels[rows]])

    def generator() -> None:
        labels = data.labels[torch.randint(ROWS, (BATCH,))]
        usual.generator_step(data.attributes[labels], labels)

    return {"critic": critic, "generator": generator}


def measure(
    blocks: int, precision: str, shapes: dict[str, tuple[int, int, int, int]]
) -> dict[str, dict[str, float]]:
    """Time both steps at every shape and print the table.

    Ours run in a process that is set up as the program's, the usual ones in a plain one.

    Args:
        blocks: of timing.
        precision: of our products; the usual way runs in float32, with its own settings.
        shapes: features, attributes, classes, seen classes by name.
    """
    results: dict[str, dict[str, float]] = {}
    for name, sizes in shapes.items():
        usual, times = usual_steps(sizes), {}
        with elsewhere({"THP_MEM_ALLOC_ENABLE": "1"}, our_steps, sizes, precision) as ours:
            for step in ("critic", "generator"):
                for way, seconds in interleave(
                    {"usual": usual[step], "ours": partial(ours, step)}, blocks, repeats=3
                ).items():
                    times[f"{step} {way}"] = seconds
        del usual
        bounds = {
            bound: sum(
                least_seconds(
                    *sizes[:2], *with_precision(precision, partial(machine_rates, sizes[0], dtype))
                ).values()
            )
            for bound, dtype in BOUNDS[precision].items()
        }
        total = {way: times[f"critic {way}"] + times[f"generator {way}"] for way in ("usual", "ours")}
        results[name] = {
            **{key: 1e3 * value for key, value in times.items()},
            **{bound: 1e3 * seconds for bound, seconds in bounds.items()},
            "speed-up": total["usual"] / total["ours"],
            **{f"over {bound}": total["ours"] / seconds for bound, seconds in bounds.items()},
        }
    print(
        f"critic + generator step, batch {BATCH}, hidden {HIDDEN}, our products in {precision}, milliseconds"
    )
    head = ["shape", *next(iter(results.values()))]
    print_table(
        head,
        [
            [
                name,
                *(
                    f"{value:.{2 if key.startswith(('speed-up', 'over')) else 0}f}"
                    for key, value in row.items()
                ),
            ]
            for name, row in results.items()
        ],
    )
    return results


def with_precision(precision: str, work: Callable[[], object]) -> object:
    """Call a work with the products in one precision, and return to float32 after it."""
    torch.set_float32_matmul_precision(PRECISIONS[precision])
    try:
        return work()
    finally:
        torch.set_float32_matmul_precision("highest")


def main(quick: bool) -> dict[str, dict[str, dict[str, float]]]:
    shapes = {"CUB, 1024 sentences": SHAPES["CUB, 1024 sentences"]} if quick else SHAPES
    print(machine())
    return {
        precision: measure(5 if quick else 15, precision, shapes) for precision in ("float32", "bfloat16")
    }


if __name__ == "__main__":
    main("--quick" in sys.argv)
