"""Checks the values of options. Each message names the option and what would work."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real

from batchling.core.text import described
from batchling.errors import OptionError
from batchling.scope.listening import Call


def callables(value: object) -> list[Call]:
    """One or several callables that take an event; none for None. Raises `OptionError`."""
    if value is None:
        return []
    found = [value] if callable(value) else list(value) if isinstance(value, Iterable) else []
    if not found or not all(callable(call) for call in found):
        wanted = "must be a callable that takes one event, or several such callables"
        raise OptionError("on_event", f"{wanted}; not {described(value)}")
    return found


def seconds(name: str, value: object) -> float:
    """A positive number of seconds. Raises `OptionError`."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or value <= 0:
        raise OptionError(name, f"must be a positive number of seconds; not {described(value)}")
    return float(value)


def dollars(name: str, value: object) -> float:
    """A number of US dollars, 0 or more. Raises `OptionError`."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or value < 0:
        raise OptionError(name, f"must be a number of US dollars, 0 or more, or None; not {described(value)}")
    return float(value)


def number(name: str, value: object) -> int | None:
    """A whole number of at least 1, or None. Raises `OptionError`."""
    return None if value is None else whole(name, value, 1, ", or None")


def whole(name: str, value: object, least: int, otherwise: str = "") -> int:
    """A whole number of at least `least`. Raises `OptionError`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise OptionError(name, f"must be a whole number of at least {least}{otherwise}; not {described(value)}")
    return value


def boolean(name: str, value: object) -> bool:
    """True or False. Raises `OptionError`."""
    if not isinstance(value, bool):
        raise OptionError(name, f"must be True or False; not {described(value)}")
    return value
