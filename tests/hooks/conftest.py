"""What the tests of hooks have in common: both httpx libraries, a scope that answers at once, a server that echoes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest

from batchling import install_hooks
from tests.hooks.world import RecordingGate, echo_server, opened


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def gate() -> Iterator[RecordingGate]:
    """The scope of this thread, open."""
    install_hooks()
    gate = RecordingGate()
    with opened(gate):
        yield gate


@pytest.fixture
def echo() -> Iterator[str]:
    """The URL of a server that answers with what it got."""
    with echo_server() as (url, _):
        yield url
