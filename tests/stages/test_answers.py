"""The file of the model for users says what the classifier says, in the units of the user's files."""

import numpy as np
import pytest
import torch
from make_data import write_xlsa17
from mlflow.pyfunc import PythonModelContext

from cwgan.command_line import override
from cwgan.config import Config
from cwgan.gan.networks import SoftmaxClassifier
from cwgan.model.answer import Answerer
from cwgan.stages.answers import write_answers
from cwgan.stages.job import ANSWERS_FILE, Job, load_data, read_data


@pytest.mark.parametrize("scaling", ["overall", "per_feature", "none", "min_max", "unit_norm"])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("domain", ["all", "seen", "unseen"])
def test_probabilities_are_the_softmax_of_the_logits_less_the_bias_of_seen_classes(
    scaling, relu, domain, tmp_path, rng
):
    write_xlsa17(tmp_path / "data")
    values = {"data.path": str(tmp_path / "data"), "data.scaling": scaling, "classifier.gamma": 0.3}
    config = override(Config(), values)
    dataset, files = load_data(config), read_data(config)
    seen, unseen = dataset.seen_classes, dataset.unseen_classes
    classes = {"all": torch.arange(6), "seen": seen, "unseen": unseen}[domain]
    classifier = SoftmaxClassifier(dataset.feature_size, classes, rng, relu, 0.1)
    job = Job(config, dataset, tmp_path, lambda terms, epoch: None)
    write_answers(job, classifier, dataset.features, dataset.labels)
    answerer = Answerer()
    context = PythonModelContext({"weights": str(tmp_path / ANSWERS_FILE)}, None)
    answerer.load_context(context)
    answers = answerer.predict(context, files.features[:].numpy())
    with torch.no_grad():
        wanted = (classifier(dataset.features[:]) - 0.3 * torch.isin(classes, seen)).softmax(1)
    places = {dataset.class_names[label]: place for place, label in enumerate(classes.tolist())}
    for suffix in [f"_{place}" if place > 1 else "" for place in range(1, 1 + min(5, len(classes)))]:
        chosen = [places[name] for name in answers[f"class{suffix}"]]
        found = wanted[torch.arange(len(wanted)), chosen].numpy()
        assert np.allclose(found, answers[f"probability{suffix}"], atol=1e-5)
    assert np.allclose(answers["probability"], wanted.max(1).values.numpy(), atol=1e-5)
    assert not answers["far"][dataset.trainval.numpy()].all()
