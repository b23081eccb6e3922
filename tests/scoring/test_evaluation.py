from dataclasses import replace

import pytest
import torch
from sklearn.metrics import recall_score

from cwgan.data.dataset import GzslDataset
from cwgan.gan.networks import SoftmaxClassifier
from cwgan.scoring.evaluation import evaluate


def tiny() -> GzslDataset:
    """Four classes whose features say, one-hot, which logits a row gets; classes 2 and 3 are unseen."""
    features = torch.eye(4)[torch.tensor([0, 1, 0, 1, 1, 2, 0, 3, 3])]
    labels = torch.tensor([0, 1, 0, 1, 0, 2, 2, 3, 3])
    index = {"trainval": [0, 1], "train": [], "val": [], "test_seen": [2, 3, 4], "test_unseen": [5, 6, 7, 8]}
    tensors = {split: torch.tensor(rows, dtype=torch.int64) for split, rows in index.items()}
    return GzslDataset("tiny", "tiny", features, labels, torch.eye(4), ("a", "b", "c", "d"), **tensors)


def answering(classes: list[int], logits: list[list[float]], rng: torch.Generator) -> SoftmaxClassifier:
    """Return a classifier whose logits for the feature k are row k of a table."""
    classifier = SoftmaxClassifier(4, torch.tensor(classes), rng)
    classifier.load_state_dict(
        {
            "weight": torch.tensor(logits).T,
            "bias": torch.zeros(len(classes)),
            "classes": torch.tensor(classes),
        }
    )
    return classifier


def test_seen_and_unseen_rows_are_answered_among_all_classes_and_t1_among_unseen_ones(
    rng: torch.Generator,
) -> None:
    logits = [[9.0, 0.0, 5.0, 1.0], [0.0, 9.0, 0.0, 1.0], [0.0, 0.0, 9.0, 1.0], [9.0, 0.0, 0.0, 8.0]]
    result = evaluate(answering([0, 1, 2, 3], logits, rng), tiny())
    assert result.seen_accuracy.tolist() == [0.5, 1.0]
    assert result.unseen_accuracy.tolist() == [0.5, 0.0]
    assert result.conventional_accuracy.tolist() == [1.0, 1.0], (
        "the best unseen answer is right, though a seen one beats it"
    )
    plain = {name: result.scores[name] for name in ("S", "U", "T1", "H")}
    assert plain == pytest.approx({"S": 0.75, "U": 0.25, "T1": 1.0, "H": 2 * 0.75 * 0.25})
    assert result.conventional.tolist() == [-1, -1, -1, 2, 2, 3, 3]


def test_scores_with_a_bias_leaks_and_ausuc_follow_from_the_margins(rng: torch.Generator) -> None:
    # Margins of the seen rows: 4, 9 and 9, the last one wrong; of the unseen rows: -9, 4, 1 and 1, all right.
    logits = [[9.0, 0.0, 5.0, 1.0], [0.0, 9.0, 0.0, 0.0], [0.0, 0.0, 9.0, 1.0], [9.0, 0.0, 0.0, 8.0]]
    classifier = answering([0, 1, 2, 3], logits, rng)
    plain, given, chosen = (evaluate(classifier, tiny(), gamma).scores for gamma in (0.0, 1.0, None))
    assert plain["leak_seen_to_unseen"] == 0
    assert plain["leak_unseen_to_seen"] == (0.5 + 1) / 2
    assert given["leak_unseen_to_seen"] == 0.25, "a bias moves the answers, not the scores alone"
    for name in "SUH":
        assert plain[name] == plain[f"raw_{name}"] == given[f"raw_{name}"] == chosen[f"raw_{name}"]
    assert [given["S"], given["U"], given["gamma"]] == [0.75, 0.75, 1.0]
    assert [chosen["H"], chosen["gamma"]] == [0.75, 2.5], "any bias from 1 to 4, so the middle"
    # S stays at 0.75 up to U = 0.75; the two rows of margin 4 then change sides together: S = 0.5 and U = 1.
    assert plain["AUSUC"] == pytest.approx(0.75 * 0.75 + 0.25 * (0.75 + 0.5) / 2)


def test_a_tie_goes_to_the_unseen_class_with_and_without_a_bias_of_0(rng: torch.Generator) -> None:
    result = evaluate(answering([0, 1, 2, 3], [[7.0, 7.0, 7.0, 7.0]] * 4, rng), tiny())
    assert set(result.predictions.tolist()) == {2}
    plain = [result.scores[name] for name in ("S", "U", "H")]
    assert plain == [0.0, 0.5, 0.0] == [result.scores[f"raw_{name}"] for name in "SUH"]


def test_the_scores_are_those_of_scikit_learn(numbers: GzslDataset, rng: torch.Generator) -> None:
    classifier = SoftmaxClassifier(numbers.feature_size, torch.arange(100), rng)
    classifier.load_state_dict({**classifier.state_dict(), "weight": torch.randn(100, 128, generator=rng)})
    result = evaluate(classifier, numbers)
    for score, rows in (("S", numbers.test_seen), ("U", numbers.test_unseen)):
        labels = numbers.labels[rows].numpy()
        predictions = classifier(numbers.features[rows]).argmax(1).numpy()
        expected = recall_score(labels, predictions, labels=sorted(set(labels.tolist())), average="macro")
        assert result.scores[score] == pytest.approx(expected, abs=1e-12)


def test_a_classifier_of_unseen_classes_has_t1_alone(rng: torch.Generator) -> None:
    result = evaluate(answering([2, 3], [[5.0, 1.0], [0.0, 1.0], [9.0, 1.0], [0.0, 8.0]], rng), tiny())
    assert result.scores == {"T1": 1.0}
    assert result.labels.tolist() == [2, 2, 3, 3]


def test_a_classifier_of_seen_classes_has_s_alone(rng: torch.Generator) -> None:
    result = evaluate(answering([0, 1], [[9.0, 0.0], [0.0, 9.0], [0.0, 0.0], [9.0, 0.0]], rng), tiny())
    assert result.scores == {"S": 0.75}


def test_what_has_no_test_row_is_not_scored(rng: torch.Generator) -> None:
    nothing, logits = torch.empty(0, dtype=torch.int64), [[9.0, 0.0, 5.0, 1.0], [0.0, 9.0, 0.0, 1.0]] * 2
    classifier, whole = answering([0, 1, 2, 3], logits, rng), tiny()
    assert set(evaluate(classifier, replace(whole, test_unseen=nothing), 0.5).scores) == {"S"}
    assert set(evaluate(classifier, replace(whole, test_seen=nothing)).scores) == {"U", "T1"}
    assert evaluate(classifier, replace(whole, test_seen=nothing, test_unseen=nothing)).scores == {}
    one = replace(whole, test_unseen=torch.tensor([5, 6]))  # of class 2 alone
    assert one.unseen_classes.tolist() == [2, 3]
    assert len(evaluate(classifier, one).conventional_accuracy) == 1


def test_many_unseen_classes_are_scored_by_hits_among_the_best_few(rng: torch.Generator) -> None:
    labels = torch.cat([torch.zeros(3, dtype=torch.int64), torch.arange(1, 301).repeat(2)])
    trainval, test_unseen = torch.arange(2), torch.arange(3, len(labels))
    features = torch.randn(len(labels), 7, generator=rng)
    empty, names = torch.empty(0, dtype=torch.int64), tuple(f"class {label}" for label in range(301))
    splits = trainval, empty, empty, torch.tensor([2]), test_unseen[:400]
    data = GzslDataset("many", "many", features, labels, torch.eye(301), names, *splits)
    classifier = SoftmaxClassifier(7, torch.randperm(301, generator=rng), rng)
    scores = evaluate(classifier, data, 0.0).scores
    with torch.no_grad():
        logits = torch.zeros(len(labels), 301).index_copy_(1, classifier.classes, classifier(features))
    best = logits[data.test_unseen, 1:].argsort(1, descending=True) + 1 == labels[data.test_unseen, None]
    by_class = torch.bincount(labels[data.test_unseen]).double()
    for count in (1, 2, 5, 10, 20):
        hits = best[:, :count].any(1).double()
        assert scores[f"hit_at_{count}"] == pytest.approx(hits.mean().item())
        sums = torch.zeros(301, dtype=torch.float64).index_add_(0, labels[data.test_unseen], hits)
        assert scores[f"T{count}"] == pytest.approx((sums[1:] / by_class[1:]).nanmean().item())
