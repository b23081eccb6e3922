"""The MLflow UI in a real browser, after a run of the whole on a served store, as docs/tour.md shows it.

With TOUR_PICTURES=docs/pictures the run is that of `make demo`, and the pictures of the tour are taken anew.
"""

import contextlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
from chromium import CHROMIUM, Browser
from PIL import Image
from server import serve_mlflow

from cwgan.launch import launch
from entrypoints import add_classes, main

pytestmark = [
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(not CHROMIUM, reason="Debian's package chromium is not installed"),
]
PICTURES = os.environ.get("TOUR_PICTURES", "")
SMALL = ("monitor.epochs=1", "regressor.epochs=1", "gan.epochs=3", "gan.hidden_size=16", "gan.critic_steps=1")
NEW_CLASS = "1-or-7 then 5,0,.5,0,0,0,0,0,.5,0,0,0,0,0,0,0,1,0,0,0,0\n"  # that of the tour
OF_MLFLOW = "/mlflow/users/current"  # asked for on every page; not there on a server without accounts
NOT_FIRST_VISIT = """if (location.protocol === 'http:')
    localStorage['mlflow.assistant.fab.autoOpenedOnFirstLoad_v1'] = 'true'"""
"""On a first visit MLflow's assistant opens of itself."""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A browser before a served store with one run of `main` and one of `add_classes`, and the printed links."""
    folder, said = tmp_path_factory.mktemp("shown"), io.StringIO()
    small = [] if PICTURES else [f"--{setting}" for setting in SMALL]
    (folder / "new.csv").write_text(NEW_CLASS)
    with serve_mlflow(folder) as site, pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        patch.setenv("MLFLOW_TRACKING_URI", site)
        mlflow.set_tracking_uri(site)
        with contextlib.redirect_stdout(said):
            assert launch(main.COMMAND, ["--threads=1", "--run_name=numbers seed 0", *small]) == 0
        run, results = re.findall(rf"{site}/#\S+", said.getvalue())
        run_id = re.findall(r"main run (\w+)", said.getvalue())[0]
        added = [f"--model={run_id}", "--attributes=new.csv", "--threads=1", "--register=numbers"]
        assert launch(add_classes.COMMAND, added) == 0
        mlflow.set_tracking_uri(None)
        browser = Browser(1400, 850)
        try:
            browser.call("Page.addScriptToEvaluateOnNewDocument", source=NOT_FIRST_VISIT)
            yield SimpleNamespace(site=site, run=run, results=results, browser=browser)
        finally:
            browser.close()


@pytest.fixture
def browser(shown: SimpleNamespace) -> Iterator[Browser]:
    """The browser, whose console has no error after the test but MLflow's own."""
    yield shown.browser
    assert [error for error in shown.browser.errors if OF_MLFLOW not in error] == []


def keep(browser: Browser, name: str) -> None:
    """Take a picture for the tour, if it is wanted."""
    if PICTURES:
        picture = Image.open(io.BytesIO(browser.take_picture())).convert("RGB")
        picture.quantize(64, dither=Image.Dither.NONE).save(Path(PICTURES) / f"{name}.png", optimize=True)


def tab(address: str, name: str) -> str:
    """Return the address of another tab of a run's page."""
    return address.replace("?", f"/{name}?")


def find_child(shown: SimpleNamespace, stage: str) -> str:
    """Return where the page of the run links to one of its children."""
    shown.browser.open(shown.run, f"{stage} numbers seed 0")
    links = "[...document.links].filter(link => link.innerText.startsWith({!r})).map(link => link.href)"
    (address,) = shown.browser.evaluate(links.format(stage))
    return address if "?" in address else f"{address}?workflowType=machine_learning"


def test_the_printed_link_opens_the_run_with_its_scores_and_children(shown, browser):
    said = browser.open(shown.run, "Metrics (", "train_gan numbers seed 0")
    assert {"Model training", "Runs", "Models"} <= {*said.splitlines()}
    assert not {"Judges", "Prompts", "Evaluation runs"} & {*said.splitlines()}, "pages for language models"
    assert re.search(r"H \d+\.\d %, S \d+\.\d, U \d+\.\d, T1 \d+\.\d, AUSUC \d+\.\d", said)
    children = re.findall(r"(\w+) numbers seed 0", said)
    assert children == ["train_cls", "generate", "train_gan"]
    keep(browser, "run")


def test_the_other_link_lists_results_alone_with_their_scores(shown, browser):
    said = browser.open(shown.results, "2 matching runs", "add_classes numbers seed 0")
    assert {"H", "S", "U", "T1", "AUSUC"} <= {*said.splitlines()}
    assert "train_cls" not in said
    keep(browser, "results")


def test_the_child_that_trained_the_gan_has_a_curve_of_every_term(shown, browser):
    said = browser.open(tab(find_child(shown, "train_gan"), "model-metrics"), "gan\n(7)", "cycle")
    assert "monitor\n(3)" in said and "regressor\n(2)" in said
    curves = "document.querySelectorAll('.js-plotly-plot .scatterlayer path.js-line').length"
    browser.wait(lambda: browser.evaluate(curves) >= 3, "three curves on the screen")
    keep(browser, "curves")


def test_every_picture_opens(shown, browser):
    said = browser.open(tab(shown.run, "artifacts"), "summary.md", "training_curves.png")
    names = re.findall(r"^\w+\.png$", said, re.MULTILINE)
    assert {"class_accuracies.png", "confusion.png", "imagined_numbers.png"} <= {*names}
    width = "Math.max(...[...document.images].map(image => image.naturalWidth))"
    for name in names:
        browser.open("about:blank")
        browser.open(tab(shown.run, f"artifacts/{name}"), f"artifacts/{name}")
        browser.wait(lambda: (browser.evaluate(width) or 0) > 500, f"{name} as a picture")
        if name == "class_accuracies.png":
            keep(browser, "classes")


def test_the_models_are_listed_with_their_scores_and_registered(shown, browser):
    models = shown.results.partition("&")[0].replace("/runs?", "/models?")
    said = browser.open(models, "add_classes.py", "main.py", "AUSUC")
    assert said.splitlines().count("model") == 2
    keep(browser, "models")
    said = browser.open(f"{shown.site}/#/models/numbers?workflowType=machine_learning", "Version 1")
    assert re.search(r"H\s*: 0\.\d+", said) and "data.digest" in said
