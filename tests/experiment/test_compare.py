"""Runs beside one another, as a user compares them, at tiny size."""

import csv
import json
import shutil
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import mlflow
import numpy as np
import pytest
from make_data import LABELS, ROWS, write_xlsa17

from cwgan.launch import launch
from cwgan.pages import widen_tables
from entrypoints import compare, main

SHORT = ["--select=false", "--generate.source=means", "--generate.counts=[9]"]
SHORT += ["--classifier.epochs=50", "--classifier.lr=0.1"]


def find_runs(stage: str) -> list[mlflow.entities.Run]:
    """Return the runs of a stage, the newest first."""
    found = mlflow.search_runs(order_by=["start_time DESC"], output_format="list")
    return [run for run in found if run.data.tags["stage"] == stage]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Two runs of `main` that differ in their bias, and what cannot be compared with them, by short names."""
    folder, rng = tmp_path_factory.mktemp("compare"), np.random.default_rng(0)
    attributes = rng.random((5, 6))
    write_xlsa17(folder / "data", features=attributes[:, LABELS] + rng.random((5, ROWS)) / 9, att=attributes)
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    with chdir(folder):  # where artifacts are to lie
        mlflow.set_experiment("compared")
    for more in ([], ["--classifier.gamma=99", "--run_name=biased"]):
        assert launch(main.COMMAND, [f"--data.path={folder / 'data'}", *SHORT, *more]) == 0
    biased, plain = find_runs("main")
    other = Path(shutil.copytree(plain.info.artifact_uri, folder / "other"))
    content = json.loads((other / "results.json").read_text())
    content["data"]["digest"] = "0" * 16
    (other / "results.json").write_text(json.dumps(content))
    (damaged := folder / "damaged").mkdir()
    (damaged / "results.json").write_text("{}")
    for name in ("per_class_accuracy.csv", "config.yaml"):
        shutil.copy(other / name, damaged)
    unscored = find_runs("generate")[0].info.run_id
    named = {"a": plain.info.run_id, "b": biased.info.run_id, "unscored": unscored}
    yield named | {"other": str(other), "damaged": str(damaged)}
    mlflow.set_tracking_uri(None)


@pytest.mark.filterwarnings("default")
def test_two_runs_give_one_table_of_scores_classes_and_parameters(runs: dict[str, str]) -> None:
    assert launch(compare.COMMAND, [f"--runs=[{runs['a']}, {runs['b']}]"]) == 0
    (run,) = find_runs("compare")
    assert (run.info.run_name, run.info.status) == ("compare data", "FINISHED")
    folder = Path(run.info.artifact_uri)
    assert (folder / "comparison.png").is_file()
    table = (folder / "comparison.md").read_text()
    assert widen_tables(table) == run.data.tags["mlflow.note.content"]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    at = cells.index(["parameter", "A data seed 0 ...", "B biased"])
    assert cells[at + 2 :] == [["classifier.gamma", "0", "99"]], "and no other parameter"
    with open(folder / "class_differences.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "seen"]
    assert [row["class"] for row in rows] == ["ant", "bee", "cat", "dog"]
    known = sum(float(row["A data seed 0 ..."]) > 0 for row in rows)
    assert known > 1
    tested = next(row for row in cells if row[:2] == ["B biased", "seen"])
    assert tested[2:] == ["0", str(known), str(4 - known), f"{2 * 0.5**known:.3f}"], "the bias takes all"


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a"], "--runs: value: found 1 run(s); allowed: 2 to 26 of them"),
        (["a", "other"], "--runs: data digest: found 0000000000000000 (data) of B other"),
        (["a", "unscored"], "no artifact results.json (it has "),
        (["a", "damaged"], "results.json: content: found KeyError('data')"),
        (["a", "f" * 32], "no run ffff"),
        (["a", "nonsense"], "neither run id nor file: 'nonsense'"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_a_run_is_opened(
    runs: dict[str, str], names: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(find_runs("compare"))
    assert launch(compare.COMMAND, ["--runs", ",".join(runs.get(name, name) for name in names)]) == 1
    assert said in capsys.readouterr().err
    assert len(find_runs("compare")) == before
