"""Tracebacks with locals, as Sentry, rich and pytest make them: our frames add no key and no prompt."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
import urllib3

import batchling
from batchling import Detached
from batchling.testing import ProviderServer
from tests.engine.calls import scope

KEY, PROMPT = "sk-TRACED-0123456789", "a prompt that nobody is to see"
HEADERS = {"authorization": f"Bearer {KEY}"}
BODY = {"model": "m", "messages": [{"role": "user", "content": PROMPT}]}
OURS = str(Path(batchling.__file__).parent)


class Broken(Exception):
    """What a program raises itself."""


def by(library: Any) -> Callable[[str, object], None]:
    def call(url: str, body: object) -> None:
        with library.Client() as client:
            client.post(url, headers=HEADERS, json=body)

    return call


def by_async(library: Any) -> Callable[[str, object], None]:
    def call(url: str, body: object) -> None:
        async def main() -> None:
            async with library.AsyncClient() as client:
                await client.post(url, headers=HEADERS, json=body)

        asyncio.run(main())

    return call


def by_aiohttp(url: str, body: object) -> None:
    async def main() -> None:
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            await session.post(url, headers=HEADERS, json=body)

    asyncio.run(main())


def by_requests(url: str, body: object) -> None:
    with requests.Session() as session:
        session.post(url, headers=HEADERS, json=body)


def by_urllib3(url: str, body: object) -> None:
    with urllib3.PoolManager(retries=False) as pool:
        pool.request("POST", url, headers=HEADERS, body=json.dumps(body))


CLIENTS = {
    "httpx": by(httpx),
    "httpx, async": by_async(httpx),
    "httpx2": by(httpx2),
    "httpx2, async": by_async(httpx2),
    "aiohttp": by_aiohttp,
    "requests": by_requests,
    "urllib3": by_urllib3,
}


def by_a_pool(url: str, body: object) -> None:
    def fail(prompt: object, *, key: str) -> None:
        raise Broken

    with ThreadPoolExecutor(1) as pool:
        pool.submit(fail, body, key=KEY).result()


def frames(fault: BaseException) -> Iterator[FrameType]:
    """Ours, of a fault and of all that led to it."""
    seen: set[int] = set()
    queue: list[BaseException | None] = [fault]
    while queue:
        each = queue.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        queue += [each.__cause__, each.__context__]
        place: TracebackType | None = each.__traceback__
        while place is not None:
            if place.tb_frame.f_code.co_filename.startswith(OURS):
                yield place.tb_frame
            place = place.tb_next


def leaks(fault: BaseException) -> list[str]:
    found = []
    for frame in frames(fault):
        for name, value in frame.f_locals.items():
            shown = repr(value)
            if KEY in shown or PROMPT in shown:
                found.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}.{name}")
    return found


def fault_of(work: Callable[[], None]) -> BaseException:
    with pytest.raises(BaseException) as caught:
        work()
    return caught.value


@pytest.mark.thorough
@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
@pytest.mark.parametrize("extra", [{}, {"stream": True}], ids=["batched", "real time"])
def test_a_call_that_cannot_connect(
    provider_server: ProviderServer, client: Callable[[str, object], None], extra: dict[str, object]
) -> None:
    """In real time it fails in its client, below our frames; batched, its scope is left by another fault."""
    nobody = "http://127.0.0.1:9"
    with scope(provider_server, gateways={nobody: "openai"}, batch_window_seconds=600.0):
        if extra:
            fault = fault_of(lambda: client(f"{nobody}/v1/chat/completions", {**BODY, **extra}))
            assert leaks(fault) == []
            return
    with pytest.raises(Broken), scope(provider_server, batch_window_seconds=600.0) as _:
        faults: list[BaseException] = []
        url = provider_server.openai_url + "/chat/completions"
        thread = threading.Thread(target=lambda: faults.append(fault_of(lambda: client(url, BODY))))
        thread.start()
        thread.join(0.5)
        raise Broken
    thread.join(10)
    assert isinstance(faults[0], Detached)
    assert any(True for _ in frames(faults[0]))
    assert leaks(faults[0]) == []


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_a_call_that_is_none_of_ours(provider_server: ProviderServer, client: Callable[[str, object], None]) -> None:
    with scope(provider_server):
        fault = fault_of(lambda: client("http://127.0.0.1:9/elsewhere", BODY))
    assert leaks(fault) == []


def test_what_a_pool_runs(provider_server: ProviderServer) -> None:
    with scope(provider_server):
        fault = fault_of(lambda: by_a_pool("", PROMPT))
    assert isinstance(fault, Broken)
    assert [frame.f_code.co_name for frame in frames(fault)] == ["run_with"]
    assert leaks(fault) == []
