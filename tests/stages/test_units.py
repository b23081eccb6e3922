"""Nothing depends on the units of the data: the same road on features and attributes in other units."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cwgan.command_line import override
from cwgan.config import Config
from cwgan.data.dataset import GzslDataset
from cwgan.data.scaling import scale
from cwgan.data.views import make_validation_view
from cwgan.gan.checkpoint import load_checkpoint
from cwgan.gan.snapshots import load_snapshots
from cwgan.stages.classify import score_generators
from cwgan.stages.job import Job
from cwgan.stages.train import train

SHORT = override(
    Config(protocol="validation"),
    {
        **{"threads": 1, "monitor.epochs": 1, "regressor.epochs": 1, "gan.epochs": 4, "gan.hidden_size": 128},
        **{"generate.counts": [30], "generate.source": "gan", "gan.critic_steps": 1, "classifier.epochs": 8},
    },
)


def score(dataset: GzslDataset, scaling: str, folder: Path, seed: int = 0) -> torch.Tensor:
    config = override(SHORT, {"seed": seed})
    job = Job(config, scale(dataset, scaling, config.data.attribute_norm), folder, lambda terms, epoch: None)
    path = train(job)
    assert path is not None
    scores = score_generators(config, job.dataset, load_snapshots(load_checkpoint(path)))
    return torch.tensor([scores[f"val_{name}"] for name in ("H", "T1", "AUSUC")])


@pytest.mark.parametrize("scaling", ["overall", "per_feature"])
def test_other_units_of_features_and_attributes_change_scores_by_less_than_other_seeds_do(
    scaling: str, numbers: GzslDataset, tmp_path: Path
) -> None:
    view = make_validation_view(numbers, 0.2, 0)
    ours = score(view, scaling, tmp_path)
    assert ours.min() > 0.4
    by_seed = (score(view, scaling, tmp_path, seed=1) - ours).abs().max().item()
    for features, attributes in ((0.01, 1.0), (100.0, 100.0)):
        other = replace(view, features=view.features[:] * features, attributes=view.attributes * attributes)
        difference = (score(other, scaling, tmp_path) - ours).abs().max().item()
        assert difference <= max(0.03, by_seed)
    # A power of two and unit-norm attributes, of which every class has two, change nothing at all.
    unit = replace(view, features=view.features[:] * 4, attributes=view.attributes / 2)
    torch.testing.assert_close(score(unit, scaling, tmp_path), ours, rtol=0, atol=1e-6)
