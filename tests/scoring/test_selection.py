from dataclasses import replace

import pytest

from cwgan.config import ClassifierConfig, Config
from cwgan.errors import InputError
from cwgan.gan_config import GanConfig, GanSaveConfig
from cwgan.scoring.selection import choose, final_half, find_best, validation_half

HISTORY = {
    "gan/wasserstein": [(1, 3.0), (2, 2.0), (3, 1.0), (4, 0.5), (6, 0.1)],
    "val_raw_H": [(2, 0.5), (4, 0.3), (6, 0.2)],
    "val_H": [(2, 0.5), (4, 0.6), (6, 0.6)],
    "val_gamma": [(2, 0.0), (4, 1.5), (6, 2.5)],
}
CONFIG = Config(select=True, gan=GanConfig(epochs=35), classifier=ClassifierConfig(gamma=9.0))


def test_the_epoch_of_highest_h_is_chosen_with_its_bias_and_the_earliest_of_equals() -> None:
    choice = choose([HISTORY], 57)
    assert (choice.epoch, choice.epoch_steps, choice.gamma) == (4, 57, 1.5)
    assert choice.scores == {"val_raw_H": 0.3, "val_H": 0.6, "val_gamma": 1.5}


def test_over_several_divisions_means_of_h_and_of_bias_are_chosen() -> None:
    other = HISTORY | {"val_H": [(2, 0.9), (4, 0.5), (6, 0.5)], "val_gamma": [(2, 1.0), (4, 0.0), (6, 0.0)]}
    choice = choose([HISTORY, other], 57)
    assert (choice.epoch, choice.gamma, choice.scores["val_H"]) == (2, 0.5, 0.7)


def test_where_no_gan_is_better_the_final_model_has_none() -> None:
    auto = replace(CONFIG, generate=replace(CONFIG.generate, source="auto"))
    means = {name: [(0, value)] for name, value in {"val_H": 0.7, "val_gamma": 0.5}.items()}
    with_means = {name: [*means.get(name, []), *points] for name, points in HISTORY.items()}
    assert final_half(auto, choose([HISTORY], 57)).generate.source == "gan"
    assert final_half(auto, choose([with_means], 57)).generate.source == "means"
    assert final_half(auto, choose([with_means], 57)).classifier.gamma == 0.5


def test_the_best_is_the_highest_and_of_equals_the_earliest() -> None:
    assert find_best({6: 0.5, 4: 0.5, 2: 0.1}) == 4


def test_the_choosing_half_is_validation_and_the_other_half_final() -> None:
    half = validation_half(CONFIG)
    assert (half.protocol, half.select, half.gan.score_every, half.gan.epochs) == ("validation", False, 8, 35)
    assert validation_half(replace(CONFIG, gan=replace(CONFIG.gan, score_every=7))).gan.score_every == 7
    final = final_half(CONFIG, choose([HISTORY], 57))
    assert (final.protocol, final.select, final.classifier.gamma) == ("final", False, 1.5)
    assert (final.gan.epochs, final.gan.epoch_steps) == (4, 57)
    saving = replace(CONFIG, gan=replace(CONFIG.gan, save=GanSaveConfig(epochs=[3, 4, 5, 35])))
    assert final_half(saving, choose([HISTORY], 57)).gan.save.epochs == [3, 4]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            replace(CONFIG, gan=replace(CONFIG.gan, score_every=36)),
            r"gan.score_every: found 36; allowed: at most gan.epochs, 35",
        ),
        (
            replace(CONFIG, gan=replace(CONFIG.gan, save=GanSaveConfig(epochs=[36]))),
            r"gan.save.epochs: found 36; allowed: at most gan.epochs, 35",
        ),
        (
            replace(CONFIG, classifier=replace(CONFIG.classifier, domain="zsl")),
            r"classifier.domain: found zsl; allowed: openset",
        ),
    ],
)
def test_what_would_score_nothing_is_refused_before_any_training(config: Config, message: str) -> None:
    with pytest.raises(InputError, match=message):
        validation_half(config)
