from pathlib import Path

import pytest
import torch
from tiny import TINY, ignore

from cwgan.command_line import override
from cwgan.config import Config
from cwgan.data.dataset import GzslDataset
from cwgan.errors import InputError
from cwgan.stages import eszsl
from cwgan.stages.classify import train_classifier
from cwgan.stages.eszsl import fit_eszsl
from cwgan.stages.generate import generate
from cwgan.stages.job import Job
from cwgan.stages.saves import check_saves

RNG = torch.Generator().manual_seed(0)
ATTRIBUTES = torch.nn.functional.normalize(torch.randn(12, 4, generator=RNG))
LABELS = torch.arange(9).repeat_interleave(20)  # classes 9 to 11 are unseen
FEATURES = ATTRIBUTES[LABELS] @ torch.randn(4, 7, generator=RNG) + 0.02 * torch.randn(180, 7, generator=RNG)


def fit(features: torch.Tensor, attributes: torch.Tensor) -> torch.Tensor:
    return fit_eszsl(features, LABELS, attributes, 0.25, torch.Generator().manual_seed(1))


def test_it_is_the_closed_form_of_the_paper_up_to_a_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eszsl, "PENALTIES", (0.3,))
    x, seen = FEATURES.double(), ATTRIBUTES[:9].double()
    y = 2 * torch.nn.functional.one_hot(LABELS, 9).double() - 1
    of_x, of_s = 0.3 * torch.trace(x.t() @ x) / 7, 0.3 * torch.trace(seen.t() @ seen) / 4
    left = torch.linalg.inv(x.t() @ x + of_x * torch.eye(7, dtype=torch.float64))
    right = torch.linalg.inv(seen.t() @ seen + of_s * torch.eye(4, dtype=torch.float64))
    wanted = left @ x.t() @ y @ seen @ right @ ATTRIBUTES.double().t()
    found = fit(FEATURES, ATTRIBUTES)
    torch.testing.assert_close(found, wanted / (x @ wanted).std())


def test_it_knows_classes_that_it_has_only_attributes_of_whatever_the_units() -> None:
    unseen = ATTRIBUTES[9:].repeat_interleave(5, 0)
    basis = torch.linalg.lstsq(ATTRIBUTES[LABELS], FEATURES).solution
    rows, truth = (unseen @ basis).double(), torch.arange(9, 12).repeat_interleave(5)
    weights = fit(FEATURES, ATTRIBUTES)
    assert torch.equal(9 + (rows @ weights[:, 9:]).argmax(1), truth)
    other = fit(64 * FEATURES, 0.01 * ATTRIBUTES)
    torch.testing.assert_close(64 * rows @ other, rows @ weights, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("changes", [{"classifier.holdout": 0.1}, {"classifier.save.every": 1}])
def test_what_needs_epochs_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"classifier\.holdout, classifier\.save: .* eszsl has no epochs"):
        check_saves(override(Config(), {"classifier.method": "eszsl", **changes}))


def test_it_learns_from_real_rows_alone(tmp_path: Path, gan_file: Path, numbers: GzslDataset) -> None:
    scores = []
    for counts in ([5, 5], [5, 200]):
        changes = {"classifier.method": "eszsl", "generate.domain": "all", "generate.counts": counts}
        for operation in ("merge", "replace"):
            config = override(TINY, {**changes, "classifier.operation": operation})
            job = Job(config, numbers, tmp_path / f"{counts} {operation}", ignore)
            made, _ = generate(job, gan_file)
            scores.append(train_classifier(job, made).scores)
    assert all(found == scores[0] for found in scores)
