"""What a waiting request costs, counted and not timed: objects that the garbage collector has to visit. A scope may hold a
hundred thousand waiting requests, and a full collection visits every object of each."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from batchling import batchify, events
from batchling.testing import ProviderServer
from tests.engine.calls import chat
from tests.engine.open_scope import batcher
from tests.waiting import wait_until_async

URL = "https://api.openai.com/v1/chat/completions"
KEY = {"authorization": "Bearer sk-1"}

FEW, MANY = 100, 300
"""Calls at once. What each of them adds is the difference, without what there is once."""


def tracked() -> int:
    gc.collect()
    return len(gc.get_objects())


async def objects(client: Any, calls: int, arrived: Callable[[], int], answer: Callable[[], object]) -> int:
    """The objects that calls at once add while all of them wait. `answer` ends their waiting."""
    async with client:
        gc.collect()
        gc.freeze()  # what there is already is not counted, whether it goes in the meantime or not
        before = tracked()
        asked = [
            asyncio.ensure_future(client.post(URL, json=chat(f"{n} of {calls}"), headers=KEY)) for n in range(calls)
        ]
        await wait_until_async(lambda: arrived() == calls, "all calls wait")
        during = tracked()
        gc.unfreeze()
        answer()
        answers = await asyncio.gather(*asked)
    assert [each.status_code for each in answers] == [200] * calls
    return during - before


async def alone(library: ModuleType, calls: int) -> int:
    """Without us: the calls wait in a transport without a network."""
    waiting: list[None] = []
    answered = asyncio.Event()

    class Waiting(library.AsyncBaseTransport):  # type: ignore[name-defined, misc]
        async def handle_async_request(self, request: object) -> object:
            waiting.append(None)
            await answered.wait()
            return library.Response(200, json={})

    return await objects(library.AsyncClient(transport=Waiting()), calls, lambda: len(waiting), answered.set)


async def batched(library: ModuleType, calls: int) -> int:
    queued: list[int] = []

    def count(event: events.Event) -> None:
        if isinstance(event, events.Queued):
            queued.append(event.calls)

    scope = batchify(batch_window_seconds=60, batch_poll_interval_seconds=0.05, on_event=count)
    async with scope:
        return await objects(library.AsyncClient(), calls, lambda: sum(queued), lambda: batcher().drain())


@pytest.mark.parametrize("library", [httpx2, httpx])
def test_a_waiting_request_adds_at_most_eight_objects(
    provider_server_at_real_hosts: ProviderServer, library: ModuleType
) -> None:
    def each(program: Callable[[ModuleType, int], Any]) -> float:
        few, many = (asyncio.run(program(library, calls)) for calls in (FEW, MANY))
        return (many - few) / (MANY - FEW)

    assert each(batched) - each(alone) <= 8.0
