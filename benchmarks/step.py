"""One critic step and one generator step: ours against the usual way, and against what the machine could do.

The usual way, as in public f-CLSWGAN code: inputs concatenated, three backward calls for the critic, the penalty by
double backward, Adam with its default implementation.

Run: python -m benchmarks.step [--quick]
"""

import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.timing import interleave, machine, print_table
from cwgan.config import GanConfig
from cwgan.gan import SeenRows, build_gan, critic_step, generator_step
from cwgan.networks import Regressor, SoftmaxClassifier, freeze

BATCH, HIDDEN = 64, 4096
SHAPES = {
    "CUB, 1024 sentences": (2048, 1024, 200, 150),
    "CUB, 312 attributes": (2048, 312, 200, 150),
    "AWA1": (2048, 85, 50, 40),
    "SUN": (2048, 102, 717, 645),
    "FLO": (2048, 1024, 102, 82),
}
CONFIG = GanConfig(hidden_size=HIDDEN, batch_size=BATCH)


class UsualStep:
    """The reference: the same mathematics written the usual way."""

    def __init__(self, features: int, attributes: int) -> None:
        self.generator = nn.Sequential(nn.Linear(2 * attributes, HIDDEN), nn.LeakyReLU(0.2), nn.Linear(HIDDEN, features), nn.ReLU())
        self.critic = nn.Sequential(nn.Linear(features + attributes, HIDDEN), nn.LeakyReLU(0.2), nn.Linear(HIDDEN, 1))
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
        slope = torch.autograd.grad(scores, mixed, torch.ones_like(scores), create_graph=True, retain_graph=True)[0]
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


def least_seconds(features: int, attributes: int, flops_per_second: float, bytes_per_second: float) -> dict[str, float]:
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


def machine_rates(features: int) -> tuple[float, float]:
    """Measure the best product rate at the step's shapes [flop/s], and fused Adam's traffic [byte/s]."""
    rows, weight = torch.rand(2 * BATCH, features), torch.rand(HIDDEN, features)
    errors, out, hidden = torch.rand(2 * BATCH, HIDDEN), torch.empty(HIDDEN, features), torch.empty(2 * BATCH, HIDDEN)
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


def prepare(
    features: int, attributes: int, classes: int, seen: int
) -> tuple[dict[str, Callable[[], object]], dict[str, Callable[[], object]]]:
    """Return the critic's and the generator's step, ours and the usual, on the same rows."""
    rng = torch.Generator().manual_seed(0)
    rows = 1024
    data = SeenRows(
        torch.rand(rows, features, generator=rng),
        torch.randint(seen, (rows,), generator=rng),
        torch.arange(rows),
        torch.rand(classes, attributes, generator=rng),
        torch.arange(seen, classes),
    )
    judges = freeze(Regressor(features, attributes, rng)), freeze(SoftmaxClassifier(features, torch.arange(seen), rng))
    gan = build_gan(features, attributes, CONFIG, rng, *judges)
    usual = UsualStep(features, attributes)

    def batch() -> Tensor:
        return torch.randint(rows, (BATCH,), generator=rng)

    def usual_critic() -> Tensor:
        chosen = batch()
        return usual.critic_step(data.features[chosen], data.attributes[data.labels[chosen]])

    return (
        {"usual": usual_critic, "ours": lambda: critic_step(gan, data, batch())},
        {"usual": lambda: usual.generator_step(data.attributes[data.labels[batch()]]), "ours": lambda: generator_step(gan, data, batch())},
    )


def measure(blocks: int, precision: str, shapes: dict[str, tuple[int, int, int, int]]) -> dict[str, dict[str, float]]:
    """Time both steps at every shape and print the table.

    Args:
        blocks: of timing.
        precision: of our products; the usual way runs in float32, with its own settings.
        shapes: features, attributes, classes, seen classes by name.
    """
    results: dict[str, dict[str, float]] = {}
    for name, sizes in shapes.items():
        critic, generator = prepare(*sizes)
        times = {}
        for step, works in (("critic", critic), ("generator", generator)):
            ours = works["ours"]

            def precise(ours: Callable[[], object] = ours) -> None:
                with_precision(precision, ours)

            for way, seconds in interleave({"usual": works["usual"], "ours": precise}, blocks, repeats=3).items():
                times[f"{step} {way}"] = seconds
        rates = with_precision(precision, lambda width=sizes[0]: machine_rates(width))
        bound = least_seconds(sizes[0], sizes[1], *rates)
        total = {way: times[f"critic {way}"] + times[f"generator {way}"] for way in ("usual", "ours")}
        results[name] = {
            **{key: 1e3 * value for key, value in times.items()},
            "bound": 1e3 * sum(bound.values()),
            "speed-up": total["usual"] / total["ours"],
            "over bound": total["ours"] / sum(bound.values()),
            "Gflop/s": rates[0] / 1e9,
            "GB/s": rates[1] / 1e9,
        }
    print(f"critic + generator step, batch {BATCH}, hidden {HIDDEN}, our products in {precision}, milliseconds")
    head = ["shape", *next(iter(results.values()))]
    print_table(
        head,
        [
            [name, *(f"{value:.{2 if key in ('speed-up', 'over bound') else 0}f}" for key, value in row.items())]
            for name, row in results.items()
        ],
    )
    return results


def with_precision(precision: str, work: Callable[[], object]) -> object:
    """Call a work with the products in one precision, and return to float32 after it."""
    torch.set_float32_matmul_precision({"float32": "highest", "bfloat16": "medium"}[precision])
    try:
        return work()
    finally:
        torch.set_float32_matmul_precision("highest")


def main(quick: bool) -> dict[str, dict[str, dict[str, float]]]:
    shapes = {"CUB, 1024 sentences": SHAPES["CUB, 1024 sentences"]} if quick else SHAPES
    print(machine())
    return {precision: measure(5 if quick else 15, precision, shapes) for precision in ("float32", "bfloat16")}


if __name__ == "__main__":
    main("--quick" in sys.argv)
