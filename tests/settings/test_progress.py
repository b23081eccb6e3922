"""Progress: plain lines in a log file, a bar before a person."""

import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from cwgan import progress
from cwgan.progress import show_epochs

LOOP = """
from cwgan.progress import show_epochs
for epoch, terms in show_epochs(({"loss": 1 / n} for n in (1, 2, 4)), "gan", total=3):
    pass
"""
LINE = r"gan +3/3 epochs +\d+\.\d s  loss 0\.25"


def test_epochs_are_numbered_from_those_done_before():
    curve = [{"loss": 3.0}, {"loss": 2.0}]
    assert list(show_epochs(curve, "gan", total=7, done=5)) == [(6, {"loss": 3.0}), (7, {"loss": 2.0})]


def test_the_loop_runs_only_as_far_as_it_is_asked():
    asked = []
    curve = ({"loss": asked.append(epoch) or 0.0} for epoch in (1, 2, 3))
    for epoch, _ in show_epochs(curve, "gan", total=3):
        if epoch == 2:
            break
    assert asked == [1, 2]


def test_without_a_terminal_the_last_epoch_alone_makes_one_plain_line(capsys):
    list(show_epochs([{"loss": 0.5}, {"loss": 0.25}, {"loss": 0.25}], "gan", total=3))
    printed = capsys.readouterr()
    assert re.fullmatch(LINE, printed.out.strip())
    assert printed.err == ""


def test_without_a_terminal_long_work_says_a_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    list(show_epochs([{"loss": 0.5}, {"loss": 0.25}], "gan", total=2))
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["1/2", "2/2"]


def test_before_a_terminal_a_bar_moves_and_leaves_one_line():
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 100))
    program = [sys.executable, "-c", LOOP]
    done = subprocess.run(
        program,
        stdout=subprocess.PIPE,
        stderr=follower,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    shown = os.read(leader, 65536).decode()
    os.close(leader)
    os.close(follower)
    assert re.search(r"\rgan .* 0/3 epochs", shown)
    assert shown.endswith(" \r")
    assert re.fullmatch(LINE, done.stdout.strip())


def test_an_error_within_the_loop_goes_on_upwards(capsys):
    def curve():
        yield {"loss": 1.0}
        raise FloatingPointError("loss")

    with pytest.raises(FloatingPointError):
        list(show_epochs(curve(), "gan", total=2))
    assert "2/2" not in capsys.readouterr().out
