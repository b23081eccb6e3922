"""What cannot fit is refused before it starts, with what it needs and what there is."""

from pathlib import Path

import pytest
import torch

from cwgan.command_line import override
from cwgan.config import Config
from cwgan.data.dataset import GzslDataset
from cwgan.errors import InputError, WriteError
from cwgan.machine import _list_cgroup_memory, free_memory
from cwgan.stages.classify import score_generators
from cwgan.stages.generate import generate
from cwgan.stages.job import Job
from cwgan.stages.needs import _count_files, check_gan, check_rows
from cwgan.stages.train import train


def job(numbers: GzslDataset, folder: Path, **values: object) -> Job:
    config = override(Config(), {name.replace("__", "."): value for name, value in values.items()})
    return Job(config, numbers, folder, lambda terms, epoch: None)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"gan__hidden_size": 10**9}, "gan.hidden_size 1000000000"),
        ({"gan__hidden_size": 10**30}, "gan.hidden_size 1"),
        ({"gan__noise_size": 10**10}, "gan.noise_size 10000000000"),
        ({"gan__epoch_steps": 10**10}, "10000000000 steps"),
    ],
)
def test_a_gan_without_room_is_refused_before_anything_is_trained(
    numbers: GzslDataset, tmp_path: Path, values: dict[str, int], named: str
) -> None:
    message = rf"configuration: .*{named}.*: found a GAN of at least .* GB .*; allowed: at most the .* GB"
    with pytest.raises(InputError, match=message):
        train(job(numbers, tmp_path, **values))
    assert not list(tmp_path.iterdir())


def test_rows_without_room_are_refused_by_every_stage_that_makes_them(
    numbers: GzslDataset, tmp_path: Path
) -> None:
    many = job(numbers, tmp_path, generate__counts=[10**11], generate__source="means")
    on_disk = r"no room on the disk for 2000000000000 synthetic rows of at least 1.2e\+06 GB, and .* are free"
    with pytest.raises(WriteError, match=rf"{tmp_path}: {on_disk} \(generate.counts \[100000000000\]\)"):
        generate(many, None)
    message = r"generate.counts \[100000000000\]: found 2000000000000 synthetic rows of at least .* of memory"
    with pytest.raises(InputError, match=message):
        score_generators(many.config, numbers, [])
    assert not list(tmp_path.iterdir())


def test_files_without_room_on_the_disk_are_refused_before_anything_is_trained(
    numbers: GzslDataset, tmp_path: Path
) -> None:
    saves = {"gan__epochs": 10**6, "gan__hidden_size": 10**5, "gan__save__every": 1}
    message = r": no room on the disk for 1000002 files of a GAN of at least .* \(gan.hidden_size 100000"
    with pytest.raises(WriteError, match=f"{tmp_path}{message}"):
        train(job(numbers, tmp_path, **saves))
    few = job(numbers, tmp_path, gan__save__every=1, gan__save__keep=3, gan__save__epochs=[1, 12])
    assert _count_files(few.config.gan) == 2 + 3 + 2  # chosen, periodic, the resume point and the last
    assert not list(tmp_path.iterdir())


def test_what_has_room_passes_without_a_word(
    numbers: GzslDataset, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    usual = job(numbers, tmp_path)
    check_gan(usual.config, numbers, tmp_path)
    check_rows(usual.config, numbers, tmp_path)
    assert capsys.readouterr().err == ""


def test_a_training_of_few_steps_is_warned_of(
    numbers: GzslDataset, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    hasty = job(numbers, tmp_path, gan__batch_size=100_000, gan__epochs=15, gan__epoch_steps=0)
    check_gan(hasty.config, numbers)
    assert "warning: the GAN takes 15 generator steps; fewer than 100" in capsys.readouterr().err


def test_free_memory_is_below_the_machines_and_shrinks_as_it_is_taken() -> None:
    before = free_memory()
    assert 2**20 < before < 2**50
    taken = torch.ones(100_000_000)
    assert free_memory() < before - 2 * len(taken)


@pytest.mark.parametrize(
    ("line", "files", "left"),
    [
        ("0::/pod/box", {"pod/memory.max": "900", "pod/box/memory.max": "max"}, [800]),
        ("0::/pod/box", {"memory.max": "500"}, [400]),
        ("4:memory:/box", {"memory/box/memory.limit_in_bytes": "700"}, [600]),
        ("4:memory:/elsewhere", {"memory/memory.limit_in_bytes": "300"}, [200]),
        ("7:cpu:/box", {"cpu/box/memory.max": "300"}, []),
    ],
)
def test_the_limits_of_a_process_and_of_all_groups_above_it_count(
    tmp_path: Path, line: str, files: dict[str, str], left: list[int]
) -> None:
    (tmp_path / "cgroup").write_text(f"{line}\n")
    for name, text in files.items():
        place = tmp_path / "mount" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{text}\n")
        (place.parent / "memory.stat").write_text("anon 100\nfile 7\ntotal_rss 100\n")
    assert _list_cgroup_memory(tmp_path / "cgroup", tmp_path / "mount") == left
