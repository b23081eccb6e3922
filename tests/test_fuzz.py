"""A few cases of every kind of rubbish; `python -m benchmarks.fuzz` tries thousands."""

import time
from pathlib import Path

import pytest

from benchmarks.fuzz import DATASETS, ODD_YAML, ODDITIES, USES, World, kinds, make_odd, search
from cwgan.command_line import parse
from cwgan.errors import InputError
from entrypoints import main

CASES = 25
MADE_UP = ("new classes", "layer", "space", "flags")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def test_every_kind_is_tried_here(world: World) -> None:
    assert set(kinds(world)) == {*USES, *MADE_UP, "odd objects"}


@pytest.mark.parametrize("name", USES)
def test_a_whole_file_is_accepted(world: World, name: str) -> None:
    world.use(world.damage(name, world.find(name).read_bytes()))


@pytest.mark.parametrize("kind", [*USES, *MADE_UP])
def test_rubbish_ends_in_success_or_in_one_of_our_errors(world: World, kind: str) -> None:
    ends = search(world, kind, CASES)
    assert ends["refused"] > 0


@pytest.mark.parametrize("text", ODD_YAML, ids=range(len(ODD_YAML)))
def test_yaml_of_aliases_tags_and_depth_is_refused_by_name(world: World, text: str) -> None:
    (world.folder / "odd.yaml").write_text(text, encoding="utf-8")
    began = time.process_time()
    with pytest.raises(InputError, match=r"odd\.yaml|gan"):
        parse(main.COMMAND, [f"--config={world.folder / 'odd.yaml'}"])
    assert time.process_time() - began < 5
    assert not Path("/tmp/never").exists()


@pytest.mark.parametrize("oddity", ODDITIES)
@pytest.mark.parametrize("name", DATASETS)
def test_an_odd_object_in_an_hdf5_file_is_refused_by_name(world: World, name: str, oddity: str) -> None:
    with pytest.raises(InputError, match=f"damaged {name}"):
        world.use(make_odd(world, name, DATASETS[name][0], oddity))
