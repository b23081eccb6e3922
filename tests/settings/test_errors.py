"""Errors that say what is wrong, and signals that end work as an interruption does."""

import signal
from collections.abc import Iterator

import pytest

from cwgan.errors import InputError, interruptible


def test_what_was_found_is_shortened_whatever_it_is() -> None:
    assert len(str(InputError("a", "b", "x" * 10**6, "c"))) < 1100
    assert "found a number of thousands of digits" in str(InputError("a", "b", [10**5000], "c"))


def test_an_input_error_says_where_what_and_what_is_allowed() -> None:
    error = InputError("data.h5", "train/X", "4 columns", "5")
    assert str(error) == "data.h5: train/X: found 4 columns; allowed: 5"
    assert (error.field, error.got, error.allowed) == ("train/X", "4 columns", "5")


@pytest.fixture
def _heard() -> Iterator[None]:
    """Let SIGINT interrupt, also where the tests run in the background, with that signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_heard")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_interrupts_and_later_ones_are_ignored_until_all_is_closed(number: int) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    closed = False
    with pytest.raises(KeyboardInterrupt), interruptible():
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            closed = True
    assert closed
    assert {each: signal.getsignal(each) for each in before} == before


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
