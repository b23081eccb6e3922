"""A GAN of tiny size."""

from pathlib import Path

import pytest
from tiny import TINY, ignore

from cwgan.data.dataset import GzslDataset
from cwgan.stages.job import Job
from cwgan.stages.train import train


@pytest.fixture(scope="session")
def gan_file(tmp_path_factory: pytest.TempPathFactory, numbers: GzslDataset) -> Path:
    path = train(Job(TINY, numbers, tmp_path_factory.mktemp("gan"), ignore))
    assert path is not None
    return path
