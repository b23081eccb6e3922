"""The same bits as before the package was rebuilt: weights, synthetic rows and scores of two short roads.

The digests were taken at commit a6d4b7b; those of the built-in numbers anew when that data changed, after the
code had still given the old ones on the old data; those of FLO anew when rows came to be drawn in the order
of its split lists, after the code had still given the old ones in the former order. The arithmetic is held to
instructions that every x86-64 processor has, so that they hold on all of them; PyTorch's own choice of
instructions gives other last digits on another kind of processor.
"""

import hashlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[1]
FLO = ROOT.parent / "shared" / "data" / "FLO"
PLAIN = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OMP_NUM_THREADS": "1",
}
SHORT = {
    "threads": 1,
    "seed": 0,
    "gan.epochs": 2,
    "monitor.epochs": 3,
    "regressor.epochs": 2,
    "classifier.epochs": 4,
}
NUMBERS = {**SHORT, "config": "numbers", "gan.hidden_size": 256, "generate.counts": "[20]"}
FLOWERS = {**SHORT, "config": "flo", "data.path": FLO, "gan.hidden_size": 128, "generate.counts": "[30]"}

pytestmark = [
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the digests are of an x86-64 processor"),
    pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="the digests are of PyTorch with MKL"),
]


def digest(*parts: bytes) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()[:16]


def digest_tensors(path: Path) -> str:
    return digest(
        *(
            part
            for key, value in sorted(load_file(path).items())
            for part in (key.encode(), value.numpy().tobytes())
        )
    )


@pytest.mark.parametrize(
    ("flags", "gan", "synthetic", "classifier", "scores"),
    [
        pytest.param(
            NUMBERS,
            "7db317cb09f1aa26",
            "5c85c1b3cca669e5",
            "7fc7f0bfa5c0f8a1",
            "08b2346821538a28",
            id="numbers",
        ),
        pytest.param(
            *(FLOWERS, "9d721eb2ab3a7572", "52aa00c0e2fd946e", "48746431136c58a0", "347395d8cb172ae2"),
            id="FLO",
            marks=pytest.mark.skipif(not FLO.is_dir(), reason=f"needs the benchmark FLO in {FLO}"),
        ),
    ],
)
def test_weights_synthetic_rows_and_scores_are_the_same_bits(
    flags: dict, gan: str, synthetic: str, classifier: str, scores: str, tmp_path: Path
) -> None:
    given = [f"--{name}={value}" for name, value in flags.items()]
    environment = {
        **os.environ,
        **PLAIN,
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
    }
    command = [sys.executable, "-m", "entrypoints.main", *given]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL)
    assert digest_tensors(next(tmp_path.rglob("gan.safetensors"))) == gan
    with h5py.File(next(tmp_path.rglob("synthetic.h5"))) as file:
        assert digest(*(file[f"train/{key}"][:].tobytes() for key in ("X", "Y", "A/continuous"))) == synthetic
    assert digest_tensors(next(tmp_path.rglob("classifier.safetensors"))) == classifier
    found = json.loads(next(tmp_path.rglob("results.json")).read_text())["scores"]
    # They bear the names of then: with a bias of 0 the raw scores are those that were called calibrated.
    found = {name.replace("raw_", "calibrated_"): value for name, value in found.items()}
    assert digest(json.dumps(found, sort_keys=True).encode()) == scores
