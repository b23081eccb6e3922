"""A few cases of every kind of rubbish; `python -m benchmarks.fuzz` tries thousands."""

import pytest

from benchmarks.fuzz import DATASETS, ODDITIES, USES, World, kinds, make_odd, search
from cwgan.errors import InputError

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


@pytest.mark.parametrize("oddity", ODDITIES)
@pytest.mark.parametrize("name", DATASETS)
def test_an_odd_object_in_an_hdf5_file_is_refused_by_name(world: World, name: str, oddity: str) -> None:
    with pytest.raises(InputError, match=f"damaged {name}"):
        world.use(make_odd(world, name, DATASETS[name][0], oddity))
