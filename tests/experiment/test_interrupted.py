"""What is killed or interrupted and resumed leaves the same as what nobody disturbed."""

import pytest

from benchmarks.soak import SELECT, TINY, kill_and_resume


@pytest.mark.parametrize("flags", [TINY, {**TINY, **SELECT}], ids=["stages", "select"])
def test_a_road_killed_at_random_moments_goes_on_to_the_same_bits_and_curves(tmp_path, flags):
    assert kill_and_resume(tmp_path, flags, kills=2)["differ"] == 0
