"""Rows to be named, as pandas and people write them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cwgan.data.features import is_heading, read_features

ROWS = np.arange(18.0).reshape(3, 6) / 7


@pytest.mark.parametrize("heading", [True, False, list("abcdef"), [1, 2, 3, 4, 5, 6]])
def test_a_table_has_the_same_rows_whatever_stands_above_them(heading: object, tmp_path: Path) -> None:
    pd.DataFrame(ROWS).to_csv(tmp_path / "rows.csv", index=False, header=heading)  # type: ignore[call-overload]
    np.testing.assert_allclose(read_features(tmp_path / "rows.csv", 6), ROWS)


@pytest.mark.parametrize("cells", ["0,1", "1,2,3", "0,1,2,3,5", "nan,nan", "a,1", ""])
def test_values_are_no_heading(cells: str) -> None:
    assert not is_heading(cells.split(","))
