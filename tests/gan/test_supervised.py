import pytest
import torch

from cwgan.gan import losses
from cwgan.gan.networks import Regressor, SoftmaxClassifier
from cwgan.gan.supervised import fit, held_out_metrics
from cwgan.gan_config import FitConfig


def test_the_regressor_finds_the_least_squares_solution(rng: torch.Generator) -> None:
    features = torch.rand(400, 6, generator=rng)
    targets = features @ torch.randn(6, 3, generator=rng) + 0.7
    model = Regressor(6, 3, rng)
    *_, last = fit(
        model,
        losses.cycle,
        features,
        targets,
        torch.arange(400),
        FitConfig(epochs=300, lr=0.05, lr_decay=0.05),
        rng,
    )
    design = torch.cat([features, torch.ones(400, 1)], dim=1)
    exact = torch.linalg.lstsq(design, targets).solution
    torch.testing.assert_close(torch.cat([model.weight.T, model.bias[None]]), exact, atol=2e-2, rtol=0)
    assert last["loss"] < 1e-4


def test_rows_that_were_not_asked_for_are_not_looked_at(rng: torch.Generator) -> None:
    features = torch.rand(20, 4, generator=rng)
    features[10:] = torch.nan
    model = SoftmaxClassifier(4, torch.arange(2), rng)
    curve = fit(
        model,
        losses.classification,
        features,
        torch.arange(20) % 2,
        torch.arange(10),
        FitConfig(epochs=3),
        rng,
    )
    assert len(list(curve)) == 3


def test_weight_decay_draws_the_weights_but_not_the_biases_to_zero(rng: torch.Generator) -> None:
    norms = {}
    for decay in (0.0, 1.0):
        model = Regressor(4, 2, torch.Generator().manual_seed(3))
        features, targets = torch.rand(64, 4, generator=rng), torch.full((64, 2), 5.0)
        list(
            fit(
                model,
                losses.cycle,
                features,
                targets,
                torch.arange(64),
                FitConfig(epochs=300, lr=0.05, weight_decay=decay),
                rng,
            )
        )
        norms[decay] = model.weight.norm().item(), model.bias.norm().item()
    assert norms[1.0][0] < 0.2 * norms[0.0][0]
    assert norms[1.0][1] > norms[0.0][1]


def test_a_loss_that_is_no_longer_finite_stops_the_fit(rng: torch.Generator) -> None:
    model = Regressor(4, 2, rng)
    features = torch.rand(64, 4, generator=rng) * 1e30
    with pytest.raises(
        FloatingPointError, match=r"Regressor: the loss is (inf|nan) in epoch 1, step \d of \d"
    ):
        list(
            fit(
                model,
                losses.cycle,
                features,
                torch.ones(64, 2),
                torch.arange(64),
                FitConfig(epochs=3, lr=1e8),
                rng,
            )
        )


def test_held_out_metrics_are_loss_and_accuracy_of_the_rows_asked_for(rng: torch.Generator) -> None:
    model = SoftmaxClassifier(2, torch.arange(2), rng)
    model.load_state_dict({"weight": 20 * torch.eye(2), "bias": torch.zeros(2), "classes": torch.arange(2)})
    features, targets = torch.eye(2)[torch.tensor([0, 1, 0, 0])], torch.tensor([0, 1, 1, 0])
    metrics = held_out_metrics(model, losses.classification, features, targets, torch.tensor([0, 1, 2]))
    assert metrics["val_accuracy"] == pytest.approx(2 / 3)
    assert metrics["val_loss"] == pytest.approx(20 / 3, abs=1e-3)


def test_relu_on_the_logits_stops_the_gradient_of_logits_below_zero(rng: torch.Generator) -> None:
    model = SoftmaxClassifier(2, torch.arange(2), rng, relu=True)
    model.load_state_dict(
        {
            "weight": torch.tensor([[1.0, 0.0], [-1.0, 0.0]]),
            "bias": torch.zeros(2),
            "classes": torch.arange(2),
        }
    )
    features, before = torch.tensor([[3.0, 1.0]]), model.weight.detach().clone()
    list(
        fit(
            model,
            losses.classification,
            features,
            torch.tensor([0]),
            torch.arange(1),
            FitConfig(epochs=1, lr=0.1),
            rng,
        )
    )
    assert model.weight[0, 0] > before[0, 0], "the logit above zero grows towards its target"
    assert torch.equal(model.weight[1], before[1]), "the logit below zero stays"
