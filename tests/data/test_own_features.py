"""The lines of docs/parameters.md that make a data set of somebody's own arrays."""

import re
from pathlib import Path

import numpy as np
import pytest

from cwgan.data.sources import load_dataset

PAGE = Path(__file__).resolve().parents[2] / "docs" / "parameters.md"


def test_the_lines_make_a_data_set_of_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng, labels = np.random.default_rng(0), np.arange(50) % 4 + 1
    arrays = {"features": rng.random((50, 3)), "attributes": rng.random((5, 2)), "labels": labels}
    for name, array in {**arrays, "names": np.array(["ant", "bee", "Ros\u00e9", "dog", "new"])}.items():
        np.save(f"{name}.npy", array)
    (lines,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec(lines, {})
    data = load_dataset(str(tmp_path))
    assert data.class_names == ("ant", "bee", "Ros\u00e9", "dog", "new")
    assert (len(data.trainval), len(data.test_seen), data.unseen_classes.tolist()) == (40, 10, [4])
    np.testing.assert_allclose(
        data.features[data.trainval].numpy(), arrays["features"][data.trainval], rtol=1e-6
    )
