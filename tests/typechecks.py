"""The run-time type checks of the tests: beartype, with whole numbers accepted where floats are declared.

The first calls of a function in each test are checked: a training makes thousands of calls alike, whose
checks would take a third of the time of all tests.
"""

from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

CALLS = 20  # per function and test
_made = Counter[Callable[..., Any]]()
_jaxtyped = jaxtyping.jaxtyped
check = beartype(conf=BeartypeConf(is_pep484_tower=True))


def begin_test() -> None:
    """Check the next calls of every function again."""
    _made.clear()


def check_first_calls(**options: Any) -> Callable[[Any], Any]:
    """Return a decorator that checks a class, or the first calls of a function, as `jaxtyping.jaxtyped`."""

    def decorate(decorated: Any) -> Any:
        if isinstance(decorated, type):
            return _jaxtyped(decorated, **options)
        checked: Callable[..., Any] | None = None

        @wraps(decorated)
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal checked
            if _made[call] == CALLS:
                return decorated(*arguments, **named)
            _made[call] += 1
            checked = checked or _jaxtyped(decorated, **options)  # made once it is needed
            return checked(*arguments, **named)

        return call

    return decorate


jaxtyping.jaxtyped = check_first_calls  # which the import hook puts on every class and function
