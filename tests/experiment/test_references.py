"""What stands for the file that a stage is to use."""

import pytest
from runs import UNKNOWN, resolve_file, started

from cwgan.errors import InputError

# MLflow's own queries are not yet of the newest SQLAlchemy.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")


@pytest.fixture
def family(store, tmp_path):
    """A run with a child that made a file, in a folder too."""
    with started(tmp_path) as parent, started(tmp_path, within=parent) as child:
        (child.folder / "checkpoints").mkdir()
        for name in ("gan.safetensors", "checkpoints/gan-epoch-0002.safetensors"):
            (child.folder / name).write_text(name)
    return parent, child


def test_a_file_or_a_folder_with_the_artifact_stands_for_itself(tmp_path, monkeypatch):
    (tmp_path / "gan.safetensors").write_text("")
    (tmp_path / "other").write_text("")
    monkeypatch.chdir(tmp_path)
    assert resolve_file(str(tmp_path)) == tmp_path / "gan.safetensors"
    assert resolve_file(".") == tmp_path / "gan.safetensors"
    assert resolve_file("other") == tmp_path / "other"


def test_a_run_stands_for_the_artifact_that_it_or_its_child_made(family):
    parent, child = family
    for run in (parent, child):
        for spelling in (
            run.run_id,
            run.run_id.upper(),
            f"runs:/{run.run_id}",
            f"{run.run_id}/gan.safetensors",
        ):
            assert resolve_file(spelling) == child.folder / "gan.safetensors"
        savepoint = "checkpoints/gan-epoch-0002.safetensors"
        assert resolve_file(f"{run.run_id}/{savepoint}") == child.folder / savepoint


def test_two_children_with_the_artifact_are_told_apart_by_the_user(store, tmp_path):
    with started(tmp_path) as parent:
        for _ in range(2):
            with started(tmp_path, within=parent) as child:
                (child.folder / "gan.safetensors").write_text("")
    with pytest.raises(
        InputError,
        match=rf"found 2 children that have gan\.safetensors; allowed: one of them: .*{child.run_id}",
    ):
        resolve_file(parent.run_id)
    assert resolve_file(child.run_id) == child.folder / "gan.safetensors"


def test_references_to_nothing_are_refused_with_what_is_there(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=rf"--gan: run id: found no run {UNKNOWN} in sqlite:"):
        resolve_file(UNKNOWN)
    with pytest.raises(
        InputError, match=rf"neither run id nor file: 'nothing/here'.*relative paths start at {tmp_path}"
    ):
        resolve_file("nothing/here")
    with pytest.raises(InputError, match=rf"no gan\.safetensors in the folder {tmp_path}"):
        resolve_file(".")
    with started(tmp_path) as run:
        pass
    with pytest.raises(InputError, match=r"no artifact gan\.safetensors \(it has config\.yaml\)"):
        resolve_file(run.run_id)
    with pytest.raises(InputError, match=r"no artifact pretrained\.safetensors"):
        resolve_file(f"{run.run_id}/pretrained.safetensors")
