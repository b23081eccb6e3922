"""The model that people use: logged, asked, served, registered, and given further classes."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import h5py
import mlflow
import numpy as np
import pandas as pd
import pytest
import scipy.io
import torch
from mlflow import MlflowClient

from cwgan.data.dataset import GzslDataset
from cwgan.data.hdf5 import save_hdf5
from cwgan.data.numbers import load_numbers
from cwgan.errors import InputError
from cwgan.launch import launch
from cwgan.model import registry
from entrypoints import add_classes, main, predict

pytestmark = pytest.mark.filterwarnings("default")
NEW = ("2 new", "1 new")
TINY = {
    "config": "numbers",
    "threads": 1,
    "select": "false",
    "monitor.epochs": 1,
    "regressor.epochs": 1,
    "gan.epochs": 1,
    "gan.hidden_size": 16,
    "gan.critic_steps": 1,
    "generate.mean_correction": 1,
    "classifier.gamma": 0.5,
}


def divide_numbers() -> tuple[GzslDataset, GzslDataset]:
    """Return the numbers with two unseen classes at the end, and without them."""
    numbers = load_numbers()
    last = numbers.unseen_classes[[3, 8]]
    order = torch.cat([torch.tensor([c for c in range(100) if c not in last]), last])
    place = torch.empty(100, dtype=torch.int64).scatter_(0, order, torch.arange(100))
    names = [numbers.class_names[label] for label in order.tolist()]
    whole = replace(
        numbers,
        labels=place[numbers.labels],
        attributes=numbers.attributes[order],
        class_names=(*names[:-2], *NEW),
    )
    known = whole.test_unseen[whole.labels[whole.test_unseen] < 98]
    # Rows of no split would have labels without a class.
    labels = whole.labels.clamp(max=97)
    fewer = replace(
        whole,
        labels=labels,
        attributes=whole.attributes[:98],
        class_names=whole.class_names[:98],
        test_unseen=known,
    )
    return whole, fewer


def go(command, *flags: str, **given: object) -> str:
    """Run an entry point; return the id of its run."""
    assert launch(command, [*flags, *(f"--{name}={value}" for name, value in given.items())]) == 0
    runs = mlflow.search_runs(output_format="list", filter_string=f"tags.stage = '{command.name}'")
    return runs[0].info.run_id


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A model of 98 classes, one of all 100, and the first with the other two classes added."""
    folder = tmp_path_factory.mktemp("made")
    whole, fewer = divide_numbers()
    save_hdf5(whole, folder / "whole")
    save_hdf5(fewer, folder / "fewer")
    table = folder / "new.csv"
    lines = [
        f"{name},{','.join(map(str, row))}"
        for name, row in zip(NEW, whole.attributes[98:].tolist(), strict=True)
    ]
    table.write_text("name,a heading\n" + "\n".join(lines))
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        mlflow.set_experiment("model")
        tiny = [f"--{name}={value}" for name, value in TINY.items()]
        fewer_id = go(main.COMMAND, *tiny, **{"data.path": folder / "fewer", "register": "numbers"})
        whole_id = go(main.COMMAND, *tiny, **{"data.path": folder / "whole"})
        added_id = go(add_classes.COMMAND, model=fewer_id, attributes=table, register="numbers")
        rows = whole.features[whole.test_unseen].numpy()
        yield SimpleNamespace(
            folder=folder,
            table=table,
            whole=whole,
            fewer_id=fewer_id,
            whole_id=whole_id,
            added_id=added_id,
            rows=rows,
        )
        mlflow.set_tracking_uri(None)


def names_of(model: str, features: np.ndarray) -> pd.DataFrame:
    return registry.answer(registry.load_model(model)[0], features.astype(np.float64))


def test_the_model_answers_as_the_scored_classifier_did(made):
    children = mlflow.search_runs(
        output_format="list", filter_string=f"tags.`mlflow.parentRunId` = '{made.whole_id}'"
    )
    child = next(run for run in children if run.data.tags["stage"] == "train_cls")
    with h5py.File(Path(child.info.artifact_uri) / "predictions.h5") as file:
        wanted = [file["class_names"][answer - 1].decode() for answer in file["prediction"][:]]
        rows = torch.cat([made.whole.test_seen, made.whole.test_unseen])
    answers = names_of(made.whole_id, made.whole.features[rows].numpy())
    assert np.mean(answers["class"] == wanted) > 0.999  # products in float64 may part equal logits
    unseen = {made.whole.class_names[label] for label in made.whole.unseen_classes.tolist()}
    assert ((answers["kind"] == "unseen") == answers["class"].isin(unseen)).all()
    best = answers[["probability", *(f"probability_{place}" for place in range(2, 6))]].to_numpy()
    assert (np.diff(best, axis=1) <= 0).all() and (best.sum(1) <= 1 + 1e-9).all()


def test_its_scores_are_on_the_model_itself_and_it_needs_neither_pickle_nor_pytorch(made):
    (best, *_) = mlflow.search_logged_models(
        order_by=[{"field_name": "metrics.H", "ascending": False}], output_format="list"
    )
    scores = {metric.key: metric.value for metric in best.metrics}
    assert scores["H"] == max(
        run.data.metrics["H"] for run in mlflow.search_runs(output_format="list") if "H" in run.data.metrics
    )
    assert {"S", "U", "H", "T1"} <= set(scores)
    folder = made.folder / "model"
    mlflow.artifacts.download_artifacts(f"models:/{best.model_id}", dst_path=str(folder))
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"answer.py", "artifacts/answers.safetensors", "requirements.txt"} <= files
    assert not [name for name in files if name.endswith((".pkl", ".pt", ".pickle"))]
    asked = "import sys, mlflow, numpy; model = mlflow.pyfunc.load_model(sys.argv[1]); "
    asked += (
        "print(len(model.predict(numpy.zeros((3, 128)))), 'torch' in sys.modules, 'cwgan' in sys.modules)"
    )
    forbidding = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    done = subprocess.run(
        [sys.executable, "-c", asked, str(folder)],
        env=forbidding,
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["3", "False", "False"]


def test_few_rows_of_the_data_are_far_from_everything_known_and_most_of_others_are(made):
    rng, data = np.random.default_rng(0), made.whole.features.numpy()
    seen, training = data[made.whole.test_seen], data[made.whole.trainval]
    shuffled = np.stack([rng.permutation(column)[:500] for column in training.T], axis=1)
    share = {
        name: names_of(made.whole_id, rows)["far"].mean()
        for name, rows in {
            **{"seen": seen, "unseen": made.rows, "shuffled": shuffled, "zeros": np.zeros((1, 128))},
            **{"noise": rng.normal(size=(500, 128)), "other units": 255 * seen, "small": seen / 4},
        }.items()
    }
    assert share.pop("seen") < 0.05
    assert share.pop("unseen") < 0.05
    assert min(share.values()) > 0.95, share


def test_added_classes_are_answered_as_if_they_had_been_there_from_the_start(made):
    labels = made.whole.labels[made.whole.test_unseen].numpy()
    wanted = np.array(made.whole.class_names, dtype=object)[labels]

    def accuracy(model: str, classes: np.ndarray) -> float:
        hits = (names_of(model, made.rows)["class"] == wanted).to_numpy()
        return float(np.mean([hits[labels == label].mean() for label in classes]))

    everything = np.unique(labels)
    assert accuracy(made.fewer_id, everything[-2:]) == 0
    assert accuracy(made.added_id, everything[-2:]) > 0.3
    assert accuracy(made.added_id, everything) == pytest.approx(accuracy(made.whole_id, everything), abs=0.01)
    config = mlflow.artifacts.load_text(f"runs:/{made.added_id}/config.yaml")
    assert str(made.table) in config, "whoever builds on it reads the same classes"


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ("07,{row}", "line 1: found the class '07'"),
        ("x,{row}\nx,{row}", "line 2: found the class 'x'"),
        ("x,1,2", "line 1: found 2 attributes of 'x'; allowed: 20"),
        ("x,nan,{row}", "line 1: found 21 attributes"),
        ("name,{row}\ny,nan{rest}", "line 2: found 'nan'"),
        ("", "found no class"),
    ],
)
def test_classes_that_cannot_be_added_are_refused_before_anything_is_trained(
    made, tmp_path, capfd, lines, found
):
    rest = ",1" * 19
    (tmp_path / "new.csv").write_text(lines.format(row=f"1{rest}", rest=rest))
    assert (
        launch(add_classes.COMMAND, [f"--model={made.fewer_id}", f"--attributes={tmp_path / 'new.csv'}"]) == 1
    )
    error = capfd.readouterr().err
    assert f"{tmp_path / 'new.csv'}: " in error and found in error


def test_classes_are_added_by_a_path_without_separators_and_to_a_final_model_alone(made, tmp_path, capfd):
    table = tmp_path / "a:b.csv"
    shutil.copy(made.table, table)
    assert launch(add_classes.COMMAND, [f"--model={made.fewer_id}", f"--attributes={table}"]) == 1
    assert "--attributes: file: found" in capfd.readouterr().err
    flags = [f"--model={made.fewer_id}", f"--attributes={made.table}", "--protocol=validation"]
    assert launch(add_classes.COMMAND, flags) == 1
    assert "--model: protocol: found validation; allowed: final" in capfd.readouterr().err


def test_the_run_that_mlflow_makes_for_a_command_without_one_bears_its_name(made, tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", made.rows[:2])
    given = [f"--model={made.fewer_id}", f"--features={tmp_path / 'a.npy'}", f"--out={tmp_path / 'out.csv'}"]
    for name, expected in (("bedecked-owl-123", "predict"), ("mine", "mine")):
        run_id = MlflowClient().create_run("0", run_name=name).info.run_id
        monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
        begun = []
        with monkeypatch.context() as patch:
            look = partial(note_stage, registry.load_model, begun, run_id)
            patch.setattr(registry, "load_model", look)
            assert launch(predict.COMMAND, given) == 0
        assert begun == ["predict"], "else another run would take it for one whose program never began"
        run = MlflowClient().get_run(run_id)
        assert (run.info.run_name, run.data.tags["stage"]) == (expected, "predict")


def note_stage(work, begun, run_id, *given):
    begun.append(MlflowClient().get_run(run_id).data.tags.get("stage"))
    return work(*given)


def test_one_command_leads_from_a_file_of_any_kind_to_names(made, tmp_path):
    rows, answers = made.rows[:9], []
    np.save(tmp_path / "a.npy", rows)
    pd.DataFrame(rows).to_csv(tmp_path / "b.csv", index=False, header=[f"f{i}" for i in range(128)])
    np.savetxt(tmp_path / "c.csv", rows, delimiter=",")
    scipy.io.savemat(tmp_path / "d.mat", {"features": rows.T, "labels": np.ones((9, 1))})
    with h5py.File(tmp_path / "e.h5", "w") as file:
        file["test/unseen/X"] = rows
    for name in ("a.npy", "b.csv", "c.csv", "d.mat", "e.h5", "e.h5/test/unseen/X"):
        given = [f"--model={made.fewer_id}", f"--features={tmp_path / name}", f"--out={tmp_path / 'out.csv'}"]
        assert launch(predict.COMMAND, given) == 0
        answers.append(pd.read_csv(tmp_path / "out.csv", dtype={"class": str}))
    assert answers[0]["row"].tolist() == [*range(1, 10)]
    for answer in answers:
        pd.testing.assert_frame_equal(answer, answers[0], rtol=1e-5)
    assert {path.name for path in tmp_path.iterdir()} == {
        "a.npy",
        "b.csv",
        "c.csv",
        "d.mat",
        "e.h5",
        "out.csv",
    }


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.csv", "1,2\n3,4\n", "shape (2, 2)"),
        ("a.csv", "x\ny\n", "unreadable"),
        ("a.csv", "", "unreadable"),
        ("a.npy", "not an array", "unreadable"),
        ("a.h5", "not HDF5", "unreadable"),
        ("a.csv", ",".join(["1"] * 127) + ",nan\n", "NaN, infinity or a value beyond 1e30 in row 1"),
        ("a.txt", "1", "ends in .npy, .csv, .h5 or .mat"),
    ],
)
def test_features_that_the_model_cannot_take_are_refused_in_one_line(
    made, tmp_path, capfd, name, content, found
):
    (tmp_path / name).write_text(content)
    given = [f"--model={made.fewer_id}", f"--features={tmp_path / name}", f"--out={tmp_path / 'out.csv'}"]
    assert launch(predict.COMMAND, given) == 1
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert found in line
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    "reference", ["0" * 32, "models:/nothing/1", "models:/numbers@nobody", "no/such/folder"]
)
def test_a_model_that_is_not_there_is_refused(made, reference):
    with pytest.raises(InputError, match="--model"):
        registry.load_model(reference)


def test_the_champion_is_the_version_of_highest_validation_score_on_the_same_data(made):
    model = next(
        m for m in mlflow.search_logged_models(output_format="list") if m.source_run_id == made.added_id
    )

    def register(digest: str, **scores: float) -> str:
        return registry.register("ours", model.model_id, scores, digest)

    assert "no val_H" in register("a", H=0.9)
    assert "now the champion instead of none" in register("a", H=0.5, val_H=0.4)
    assert "champion stays version 2: its val_H is 40.0 %" in register("a", H=0.9, val_H=0.3)
    assert "other data" in register("b", H=0.9, val_H=0.9)
    assert "now the champion instead of version 2" in register("a", H=0.1, val_H=0.5)
    champion = MlflowClient().get_model_version_by_alias("ours", "champion")
    assert champion.tags == {"H": "0.1", "val_H": "0.5", "data.digest": "a"}
    assert [v.version for v in MlflowClient().search_model_versions("name = 'numbers'")] == [2, 1]
    with pytest.raises(InputError, match="register"):
        registry.register("a/b", model.model_id, {}, "a")


def test_a_model_that_cannot_be_logged_leaves_none_behind(made, tmp_path):
    before = len(mlflow.search_logged_models(output_format="list"))
    with mlflow.start_run() as run, pytest.raises(Exception, match="nowhere"):
        registry.log_model(tmp_path / "nowhere", np.ones((1, 4)), 3, {}, "a", run.info.run_id)
    assert len(mlflow.search_logged_models(output_format="list")) == before


def test_the_served_model_answers_many_at_once_and_refuses_what_it_cannot_take(made):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = "from mlflow.cli import cli; cli()"
    command = [
        sys.executable,
        "-c",
        program,
        "models",
        "serve",
        "--env-manager",
        "local",
        "--port",
        str(port),
    ]
    command += ["-m", "models:/numbers/2", "--workers", "1"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # where uvicorn is
    with (made.folder / "serve.log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=made.folder, start_new_session=True,
            env={**os.environ, "PATH": path},
        )  # fmt: skip

    def ask(body: bytes) -> tuple[int, dict]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
                break
            assert process.poll() is None, (made.folder / "serve.log").read_text()
            time.sleep(0.1)
        wanted = names_of("models:/numbers/2", made.rows[:200])["class"].tolist()
        bodies = [json.dumps({"inputs": [row]}).encode() for row in made.rows[:200].tolist()]
        with ThreadPoolExecutor(32) as pool:
            replies = [*pool.map(ask, bodies)]
        assert [(status, reply["predictions"][0]["class"]) for status, reply in replies] == [
            (200, name) for name in wanted
        ]
        row = made.rows[0].tolist()
        for bad, said in (
            ([row[:-1]], "127"),
            ([[*row[:-1], float("nan")]], "NaN, infinity"),
            ([[*row[:-1], None]], "NaN, infinity"),
            ([[*row[:-1], "text"]], "text"),
            ([], "list"),
            (row, "shape"),
        ):
            status, reply = ask(json.dumps({"inputs": bad}).encode())
            assert (status, said.lower() in reply["message"].lower()) == (400, True), (bad, reply)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)
