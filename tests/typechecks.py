"""The run-time type checker of the tests: beartype, with whole numbers accepted where floats are declared.

The first calls of a function in each test are checked: a training makes thousands of calls alike, whose
checks would take a third of the time of all tests.
"""

from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import Any

from beartype import BeartypeConf, beartype

CALLS = 20  # per function and test
_made = Counter[Callable[..., Any]]()
_check = beartype(conf=BeartypeConf(is_pep484_tower=True))


def begin_test() -> None:
    """Check the next calls of every function again."""
    _made.clear()


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that raises where arguments are not of the declared types, in its first calls."""
    checked = _check(function)

    @wraps(function)
    def check_first(*arguments: Any, **named: Any) -> Any:
        if _made[checked] == CALLS:
            return None
        _made[checked] += 1
        return checked(*arguments, **named)

    return check_first
