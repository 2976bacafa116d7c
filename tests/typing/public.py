"""Checked by mypy, never run: the types that users see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import assert_type

import pytest

from batchling import BatchingContext, batchify, events, install_hooks, uninstall_hooks
from batchling.telemetry import OpenTelemetry
from batchling.testing import Bill, ProviderServer

assert_type(batchify(), BatchingContext)
assert_type(batchify(batch_size=None, gateways={"http://localhost:4000": "openai"}, duplicates="join"), BatchingContext)
install: Callable[[], None] = install_hooks
uninstall: Callable[[], None] = uninstall_hooks

with batchify(batch_size=3, batch_window_seconds=1, cache=False):
    pass
with batchify(cache="no-results", max_resubmissions=0, max_batches_in_flight=None, max_batches_per_hour=5):
    pass
with batchify(max_waiting=None), batchify(max_waiting=1000):
    pass


def listen(event: events.Event) -> None:
    match event:
        case events.Ended():
            assert_type(event.cost, events.Cost | None)
        case events.Queued():
            assert_type(event.target, events.Target)
        case events.Throttled():
            assert_type(event.waiting, int)


with batchify(on_event=listen):
    pass
with batchify(on_event=[listen, OpenTelemetry()]):
    pass


async def program() -> None:
    async with batchify(dry_run=True):
        pass


def refused(function: Callable[[], None]) -> None:
    batchify(function)  # type: ignore[arg-type]
    batchify(duplicates="all")  # type: ignore[arg-type]
    batchify(cache="none")  # type: ignore[arg-type]


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with ProviderServer(delay=1.0) as server:
        assert_type(server.billed(batch=True), list[Bill])
        yield server
