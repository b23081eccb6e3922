"""docs/tour.md: its commands are followed on a served store, and what it shows is seen in a real browser.

With TOUR_PICTURES=docs/pictures the run is that of `make demo`, and the pictures of the tour are taken anew.
"""

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pandas as pd
import pytest
from chromium import CHROMIUM, Browser
from PIL import Image
from postgres import free_port
from server import serve_mlflow

from cwgan.launch import launch
from entrypoints import main

pytestmark = pytest.mark.filterwarnings("default")
PAGE = Path(__file__).resolve().parents[1] / "docs" / "tour.md"
PICTURES = os.environ.get("TOUR_PICTURES") and Path(os.environ["TOUR_PICTURES"]).resolve()
SMALL = ("monitor.epochs=1", "regressor.epochs=1", "gan.epochs=3", "gan.hidden_size=16", "gan.critic_steps=1")
OF_MLFLOW = ("/mlflow/users/current", "ResizeObserver loop")
"""Its own errors: pages ask who the user is, also without accounts; charts are resized in a loop."""
NOT_FIRST_VISIT = """if (location.protocol === 'http:')
    localStorage['mlflow.assistant.fab.autoOpenedOnFirstLoad_v1'] = 'true'"""
"""On a first visit MLflow's assistant opens of itself."""


def follow(commands: str, run_id: str) -> str:
    """Give the commands of the page, entry points in this process; return what bash printed."""
    said = ""
    for part in re.split(r"^(mlflow run .*)$", commands, flags=re.MULTILINE):
        if part.startswith("mlflow run "):
            words = shlex.split(part.replace("$RUN", run_id))
            assert words[2:6] == [".", "--env-manager", "local", "-e"]
            flags = [f"--{given}" for option, given in pairwise(words) if option == "-P"]
            assert launch(import_module(f"entrypoints.{words[6]}").COMMAND, flags) == 0
        else:
            script = f'set -eu\n{part}\n[ -z "${{RUN-}}" ] || echo run $RUN'
            path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            done = subprocess.run(
                ["bash", "-c", script],
                stdout=subprocess.PIPE, text=True, check=True, timeout=120, env={**os.environ, "PATH": path},
            )  # fmt: skip
            said += done.stdout
    return said


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A served store after the tour, the links that its first command printed, and what the others said."""
    folder, said, port = tmp_path_factory.mktemp("toured"), io.StringIO(), str(free_port())
    demo, *others = re.findall(r"^```bash\n(.*?)```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert demo == "make demo\nsource .venv/bin/activate\n"
    small = [] if PICTURES else [f"--{setting}" for setting in SMALL]
    with serve_mlflow(folder) as site, pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        patch.setenv("MLFLOW_TRACKING_URI", site)
        mlflow.set_tracking_uri(site)
        with contextlib.redirect_stdout(said):
            assert launch(main.COMMAND, ["--threads=1", "--run_name=numbers seed 0", *small]) == 0
        run, results = re.findall(rf"{site}/#\S+", said.getvalue())
        run_id = re.findall(r"main run (\w+)", said.getvalue())[0]
        told = follow("".join(others).replace("5001", port), run_id)
        mlflow.set_tracking_uri(None)
        yield SimpleNamespace(
            folder=folder, site=site, run=run, results=results, run_id=run_id, told=told
        )  # fmt: skip


@pytest.fixture(scope="module")
def chromium(toured: SimpleNamespace) -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip("Debian's package chromium is not installed")
    browser = Browser(1400, 850)
    try:
        browser.call("Page.addScriptToEvaluateOnNewDocument", source=NOT_FIRST_VISIT)
        yield browser
    finally:
        browser.close()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """The browser, whose console has no error after the test but MLflow's own."""
    yield chromium
    assert [error for error in chromium.errors if not any(known in error for known in OF_MLFLOW)] == []


def keep(browser: Browser, name: str) -> None:
    """Take a picture for the tour, if it is wanted."""
    if PICTURES:
        picture = Image.open(io.BytesIO(browser.take_picture())).convert("RGB")
        picture.quantize(128, dither=Image.Dither.NONE).save(PICTURES / f"{name}.png", optimize=True)


def tab(address: str, name: str) -> str:
    """Return the address of another tab of a run's page."""
    return address.replace("?", f"/{name}?")


def find_child(toured: SimpleNamespace, browser: Browser, stage: str) -> str:
    """Return where the page of the run links to one of its children."""
    browser.open(toured.run, f"{stage} numbers seed 0")
    links = "[...document.links].filter(link => link.innerText.startsWith({!r})).map(link => link.href)"
    (address,) = browser.evaluate(links.format(stage))
    return f"{address.partition('?')[0]}?workflowType=machine_learning"


def test_the_commands_of_the_page_do_what_it_says(toured):
    run, *heading_and_rows, answer = toured.told.splitlines()
    assert run == f"run {toured.run_id}"
    assert heading_and_rows[0] == "row,class,probability,kind,far,class_2,probability_2"
    assert len(pd.read_csv(toured.folder / "data" / "answers.csv")) == 500
    (row,) = json.loads(answer)["predictions"]
    assert {"class", "probability", "kind", "far"} <= row.keys()
    if PICTURES:  # of a GAN that learnt something
        assert (row["class"], row["class_2"]) == ("1-or-7 then 5", "75")


def test_the_printed_link_opens_the_run_with_its_scores_and_children(toured, browser):
    said = browser.open(toured.run, "Metrics (", "train_gan numbers seed 0")
    assert {"Model training", "Runs", "Models"} <= {*said.splitlines()}
    assert not {"Judges", "Prompts", "Evaluation runs"} & {*said.splitlines()}, "pages for language models"
    assert re.search(r"H \d+\.\d %, S \d+\.\d, U \d+\.\d, T1 \d+\.\d, AUSUC \d+\.\d", said)
    children = re.findall(r"(\w+) numbers seed 0", said)
    assert children == ["train_cls", "generate", "train_gan"]
    keep(browser, "run")


def test_the_other_link_lists_results_alone_with_their_scores(toured, browser):
    said = browser.open(toured.results, "2 matching runs", "add_classes numbers seed 0")
    assert {"H", "S", "U", "T1", "AUSUC"} <= {*said.splitlines()}
    assert "train_cls" not in said
    keep(browser, "results")


def test_the_child_that_trained_the_gan_has_a_curve_of_every_term(toured, browser):
    said = browser.open(tab(find_child(toured, browser, "train_gan"), "model-metrics"), "gan\n(7)", "cycle")
    assert "monitor\n(4)" in said and "regressor\n(2)" in said
    curves = "document.querySelectorAll('.js-plotly-plot .scatterlayer path.js-line').length"
    browser.wait(lambda: browser.evaluate(curves) >= 3, "three curves on the screen")
    keep(browser, "curves")


def test_every_picture_opens(toured, browser):
    said = browser.open(tab(toured.run, "artifacts"), "summary.md", "training_curves.png")
    names = re.findall(r"^\w+\.png$", said, re.MULTILINE)
    assert {"class_accuracies.png", "confusion.png", "imagined_numbers.png"} <= {*names}
    width = "Math.max(...[...document.images].map(image => image.naturalWidth))"
    for name in names:
        browser.open("about:blank")
        browser.open(tab(toured.run, f"artifacts/{name}"), f"artifacts/{name}")
        browser.wait(lambda: (browser.evaluate(width) or 0) > 500, f"{name} as a picture")
        if name == "class_accuracies.png":
            keep(browser, "classes")


def test_the_models_are_listed_with_their_scores_and_registered(toured, browser):
    models = toured.results.partition("&")[0].replace("/runs?", "/models?")
    said = browser.open(models, "add_classes numbers seed 0", "train_cls numbers seed 0")
    assert said.splitlines().count("model") == 2
    browser.evaluate("document.querySelector('.ag-body-horizontal-scroll-viewport').scrollLeft = 600")
    browser.wait(
        lambda: all(f"\n{name}\n" in browser.text() for name in ("H", "S", "U")), "columns of scores"
    )
    keep(browser, "models")
    said = browser.open(f"{toured.site}/#/models/numbers?workflowType=machine_learning", "Version 1")
    assert re.search(r"H\s*: 0\.\d+", said) and "data.digest" in said
