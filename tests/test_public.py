"""The public surface: what a user may import, and what importing it costs."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import get_args

import pytest

import batchling
from batchling import errors, events
from batchling.core import events as core_events


def test_the_public_names() -> None:
    assert dir(batchling) == sorted(batchling.__all__)
    for name in batchling.__all__:
        assert getattr(batchling, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        batchling.nothing  # noqa: B018


def test_importing_loads_nothing_heavy() -> None:
    code = "import sys, batchling; print([m for m in ('asyncio', 'httpx', 'aiohttp', 'requests', 'rich') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize(
    "error",
    [
        errors.OptionError("batch_size", "must be more"),
        errors.CacheError("folder", "is full"),
        errors.ClosedError("closed"),
        errors.ScriptError("no such file"),
        errors.Detached("left"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_can_be_pickled(error: BaseException) -> None:
    again = pickle.loads(pickle.dumps(error))

    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
    assert isinstance(error, Exception) != isinstance(error, errors.Detached)


def test_every_event_that_listeners_hear_is_public() -> None:
    told = {kind.__name__ for kind in get_args(core_events.Event)} - {"Settled"}

    assert told <= set(events.__all__)
    assert all(hasattr(events, name) for name in events.__all__)
