"""One critic step and one generator step: ours against the usual way, and against what the machine could do.

The usual way, as in public f-CLSWGAN code: inputs concatenated, three backward calls for the critic, the penalty by
double backward, Adam with its default implementation.

Run: python -m benchmarks.step [--quick]
"""

import sys
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.timing import elsewhere, interleave, machine, print_table
from cwgan.config import GanConfig
from cwgan.gan.networks import Regressor, SoftmaxClassifier, freeze
from cwgan.gan.training import SeenRows, build_gan, critic_step, generator_step
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
"""Type of the matrices whose products are timed for a bound. The strict one does not count rounding, nor float32 gradients."""

CONFIG = GanConfig(hidden_size=HIDDEN, batch_size=BATCH)


class UsualStep:
    """The reference: the same mathematics written the usual way."""

    def __init__(self, features: int, attributes: int) -> None:
        self.generator = nn.Sequential(
            nn.Linear(2 * attributes, HIDDEN), nn.LeakyReLU(0.2), nn.Linear(HIDDEN, features), nn.ReLU()
        )
        self.critic = nn.Sequential(
            nn.Linear(features + attributes, HIDDEN), nn.LeakyReLU(0.2), nn.Linear(HIDDEN, 1)
        )
        self.regressor = nn.Linear(features, attributes).requires_grad_(False)
        self.generator_optimizer = torch.optim.Adam(self.generator.parameters(), 1e-4, betas=(0.5, 0.999))
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), 1e-4, betas=(0.5, 0.999))

    def critic_step(self, real: Tensor, attributes: Tensor) -> Tensor:
        for parameter in self.critic.parameters():
            parameter.requires_grad = True
        self.critic.zero_grad()
        real_score = self.critic(torch.cat([real, attributes], 1)).mean()
        real_score.backward(torch.tensor(-1.0))
        fake = self.generator(torch.cat([attributes, torch.randn_like(attributes)], 1))
        fake_score = self.critic(torch.cat([fake.detach(), attributes], 1)).mean()
        fake_score.backward(torch.tensor(1.0))
        mix = torch.rand(len(real), 1)
        mixed = (mix * real + (1 - mix) * fake.detach()).requires_grad_()
        scores = self.critic(torch.cat([mixed, attributes], 1))
        slope = torch.autograd.grad(
            scores, mixed, torch.ones_like(scores), create_graph=True, retain_graph=True
        )[0]
        penalty = ((slope.norm(2, dim=1) - 1) ** 2).mean() * 10
        penalty.backward()
        self.critic_optimizer.step()
        return fake_score - real_score + penalty

    def generator_step(self, attributes: Tensor) -> Tensor:
        for parameter in self.critic.parameters():
            parameter.requires_grad = False
        self.generator.zero_grad()
        fake = self.generator(torch.cat([attributes, torch.randn_like(attributes)], 1))
        loss = -self.critic(torch.cat([fake, attributes], 1)).mean()
        loss = loss + 0.01 * functional.mse_loss(self.regressor(fake), attributes)
        loss.backward()
        self.generator_optimizer.step()
        return loss


def least_seconds(
    features: int, attributes: int, flops_per_second: float, bytes_per_second: float
) -> dict[str, float]:
    """Return the bound of both steps: the products that cannot be avoided, and Adam's traffic.

    Per row, in multiples of hidden x features (F) and hidden x attributes (A): the critic's step needs the fake
    (F + 2A), two hidden layers (2F + A), the slope (F), the way back through it (F) and the weights' gradients (3F + A);
    the generator's needs the fake (F + 2A), the critic there and back (2F + A), and its own gradients (2F + 2A), and
    attributes x features three times less one for the regressor there and back. Adam reads weight, gradient and two
    moments and writes weight and moments: seven numbers of four bytes per parameter.
    """
    wide, narrow = 2 * BATCH * HIDDEN * features, 2 * BATCH * HIDDEN * attributes
    critic_parameters = HIDDEN * (features + attributes)
    generator_parameters = HIDDEN * (2 * attributes + features)
    return {
        "critic": (8 * wide + 4 * narrow) / flops_per_second + 28 * critic_parameters / bytes_per_second,
        "generator": (5 * wide + 5 * narrow + 4 * BATCH * features * attributes) / flops_per_second
        + 28 * generator_parameters / bytes_per_second,
    }


def machine_rates(features: int, dtype: torch.dtype) -> tuple[float, float]:
    """Measure the best product rate of matrices of a type at the step's shapes [flop/s], and fused Adam's traffic [byte/s]."""
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
    judges = (
        freeze(Regressor(features, attributes, rng)),
        freeze(SoftmaxClassifier(features, torch.arange(seen), rng)),
    )
    gan = build_gan(features, attributes, CONFIG, rng, *judges)
    return {
        "critic": lambda: critic_step(gan, data, torch.randint(ROWS, (BATCH,), generator=rng)),
        "generator": lambda: generator_step(gan, data, torch.randint(ROWS, (BATCH,), generator=rng)),
    }


def usual_steps(sizes: tuple[int, int, int, int]) -> dict[str, Callable[[], object]]:
    """Return the usual critic step and generator step, each on a batch drawn anew."""
    data, usual = random_rows(*sizes), UsualStep(*sizes[:2])

    def critic() -> Tensor:
        chosen = torch.randint(ROWS, (BATCH,))
        return usual.critic_step(data.features[chosen], data.attributes[data.labels[chosen]])

    return {
        "critic": critic,
        "generator": lambda: usual.generator_step(
            data.attributes[data.labels[torch.randint(ROWS, (BATCH,))]]
        ),
    }


def measure(
    blocks: int, precision: str, shapes: dict[str, tuple[int, int, int, int]]
) -> dict[str, dict[str, float]]:
    """Time both steps at every shape and print the table.

    Ours run in a process that is set up as `entrypoints.launch` sets up the program's, the usual ones in a plain one.

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
