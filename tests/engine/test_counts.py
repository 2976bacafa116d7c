"""What a request costs, counted and not timed: objects that the garbage collector has to visit, since a full collection
visits every object of each waiting request; events; decodings of an answer."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections import Counter
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any

import aiohttp
import httpx
import httpx2
import msgspec
import pytest

from batchling import batchify, events
from batchling.core.model import Target
from batchling.engine.background import PORTION
from batchling.engine.results import sort_rows
from batchling.hooks.wireless import connection
from batchling.money.meter import Meter
from batchling.providers.openai import OPENAI
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
    assert [each.status if client_is_aiohttp(client) else each.status_code for each in answers] == [200] * calls
    return during - before


def client_is_aiohttp(client: object) -> bool:
    return isinstance(client, aiohttp.ClientSession)


async def alone(library: ModuleType, calls: int) -> int:
    """Without us: the calls wait in a transport without a network."""
    if library is aiohttp:
        return await aiohttp_alone(calls)
    waiting: list[None] = []
    answered = asyncio.Event()

    class Waiting(library.AsyncBaseTransport):  # type: ignore[name-defined, misc]
        async def handle_async_request(self, request: object) -> object:
            waiting.append(None)
            await answered.wait()
            return library.Response(200, json={})

    return await objects(library.AsyncClient(transport=Waiting()), calls, lambda: len(waiting), answered.set)


async def aiohttp_alone(calls: int) -> int:
    waiting: list[None] = []
    answered = asyncio.Event()

    class Waiting(aiohttp.TCPConnector):
        async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:  # noqa: ASYNC109  # its name
            waiting.append(None)
            await answered.wait()
            return connection(aiohttp, req, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    client = aiohttp.ClientSession(connector=Waiting())
    return await objects(client, calls, lambda: len(waiting), answered.set)


async def batched(library: ModuleType, calls: int) -> int:
    queued: list[int] = []

    def count(event: events.Event) -> None:
        if isinstance(event, events.Queued):
            queued.append(event.calls)

    scope = batchify(batch_window_seconds=60, batch_poll_interval_seconds=0.05, on_event=count)
    async with scope:
        client = library.ClientSession() if library is aiohttp else library.AsyncClient()
        return await objects(client, calls, lambda: sum(queued), lambda: batcher().drain())


@pytest.mark.parametrize("library", [httpx2, httpx, aiohttp])
def test_a_waiting_request_adds_at_most_eight_objects(
    provider_server_at_real_hosts: ProviderServer, library: ModuleType
) -> None:
    def each(program: Callable[[ModuleType, int], Any]) -> float:
        few, many = (asyncio.run(program(library, calls)) for calls in (FEW, MANY))
        return (many - few) / (MANY - FEW)

    assert each(batched) - each(alone) <= 8.0


def heard(calls: int, server: ProviderServer) -> Counter[type[events.Event]]:
    """The events of a scope with this many calls at once."""
    counted: Counter[type[events.Event]] = Counter()

    def listen(event: events.Event) -> None:
        counted[type(event)] += 1

    async def program() -> None:
        async with (
            batchify(batch_size=calls, batch_poll_interval_seconds=0.05, on_event=listen),
            httpx.AsyncClient() as client,
        ):
            await asyncio.gather(*(client.post(URL, json=chat(f"{n} of {calls}"), headers=KEY) for n in range(calls)))

    asyncio.run(program())
    assert len(server.billed()) == calls
    return counted


def test_calls_at_once_share_events(provider_server_at_real_hosts: ProviderServer) -> None:
    counted = heard(1_000, provider_server_at_real_hosts)
    # A portion of calls at a time: how many there are in each depends on the speed of two threads.
    assert counted[events.Queued] < 300
    assert counted[events.Answered] <= 1_000 // PORTION + 1


def test_real_time_calls_share_events(provider_server: ProviderServer) -> None:
    counted: list[events.Bypassed] = []

    def listen(event: events.Event) -> None:
        if isinstance(event, events.Bypassed):
            counted.append(event)

    with batchify(on_event=listen):
        gate = batcher()
        holds = threading.Event()

        def hold() -> None:
            """Keep the loop thread busy until all calls are made."""
            holds.wait(10)

        gate._mailbox.post(hold)
        for _ in range(1_000):
            gate.bypass("POST", "https://llm.example.org/v1/messages?x=1", "streaming")
        holds.set()
    assert [(event.host, event.path, event.reason, event.calls) for event in counted] == [
        ("llm.example.org", "/v1/messages", "streaming", 1_000)
    ]


def test_a_good_row_is_decoded_once_and_its_usage_once() -> None:
    answer = {"id": "x", "model": "gpt-5-mini", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
    reply = {"status_code": 200, "request_id": "r", "body": answer}
    lines = [msgspec.json.encode({"id": n, "custom_id": f"k{n}", "response": reply, "error": None}) for n in range(100)]
    members = frozenset(f"k{n}" for n in range(100))
    meter = Meter(OPENAI, Target("openai", "https://api.openai.com/v1", "/v1/chat/completions", "gpt-5-mini", "a"))
    decoded = 0

    def count(_: FrameType, kind: str, called: Any) -> None:
        nonlocal decoded
        decoded += kind == "c_call" and called.__name__ == "decode" and "msgspec" in repr(called)

    sort_rows(OPENAI, lines[:1], members, members, meter.add)  # the first one's usage is read by the price list's rules
    sys.setprofile(count)
    try:
        found = sort_rows(OPENAI, lines, members, members, meter.add)
    finally:
        sys.setprofile(None)
    assert len(found.good) == 100
    assert decoded == 200
