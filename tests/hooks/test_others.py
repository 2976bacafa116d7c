"""What only aiohttp, requests and threads have."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
import anyio
import pytest
import requests

from batchling import install_hooks
from batchling.core.model import Response
from batchling.hooks.waiting import wait_async
from batchling.system.gate import active, current
from batchling.system.pending import Pending
from tests.hooks.world import ANSWER, RecordingGate, opened

URL = "https://api.example/v1/answer"


def test_aiohttp_responses_can_be_used_every_way(gate: RecordingGate) -> None:
    async def program() -> None:
        async with aiohttp.ClientSession(base_url="https://api.example/v1/", cookies={"c": "1"}) as session:
            async with session.post("answer", json={}) as response:
                assert response.ok
                assert (response.method, str(response.url), response.reason) == ("POST", URL, "OK")
                assert await response.text() == ANSWER.decode()
                assert response.content_type == "application/json"
                assert str(response.request_info.url) == URL
                assert response.history == ()
                assert response.cookies["a"].value == "b"
                assert (b"x-request-id", b"r1") in response.raw_headers
            response = await session.post("answer", data=b"{}", headers={"content-type": "application/json"})
            assert b"".join([piece async for piece in response.content.iter_any()]) == ANSWER
            response.release()
            response = await session.post("answer", json={})
            response.close()
            assert "ClientResponse" in repr(response)
        sent = dict(gate.requests[0].headers)
        assert "c=1" in sent["cookie"]

    asyncio.run(program())


def test_aiohttp_raises_for_status_where_it_was_asked_to(gate: RecordingGate) -> None:
    async def program() -> None:
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            with pytest.raises(aiohttp.ClientResponseError, match="429"):
                await session.post(URL, json={})
            async with session.post(URL, json={}, raise_for_status=False) as response:
                assert response.status == 429

    gate.status = 429
    asyncio.run(program())


def test_aiohttp_middlewares_of_the_user_stay_outside_ours(gate: RecordingGate) -> None:
    async def sign(request: Any, handler: Any) -> Any:
        request.headers["x-signed"] = "yes"
        return await handler(request)

    async def program() -> None:
        async with aiohttp.ClientSession(middlewares=[sign]) as session:
            await session.post(URL, json={})
            await session.post(URL, json={}, middlewares=[])

    asyncio.run(program())

    assert [dict(request.headers).get("x-signed") for request in gate.requests] == ["yes", None]


def test_requests_sessions_and_subclassed_adapters(gate: RecordingGate) -> None:
    class Mine(requests.adapters.HTTPAdapter):
        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            request.headers["x-mine"] = "m"
            return super().send(request, *args, **kwargs)

    seen: list[int] = []
    with requests.Session() as session:
        session.mount("https://", Mine())
        response = session.post(
            URL, json={}, hooks={"response": lambda r, **_: seen.append(r.status_code)}, stream=True
        )

        assert b"".join(response.iter_content(4)) == ANSWER
        assert session.cookies["a"] == "b"
    assert (seen, response.reason, response.url) == ([200], "OK", URL)
    assert response.elapsed.total_seconds() >= 0
    assert dict(gate.requests[0].headers)["x-mine"] == "m"


def scope_seen() -> object:
    return current()


def test_a_pool_worker_sees_the_scope_of_the_submitter(gate: RecordingGate) -> None:
    with ThreadPoolExecutor(1) as pool:
        inside = pool.submit(scope_seen).result()
        token = active.set(None)
        outside = pool.submit(scope_seen).result()
        active.reset(token)
        mapped = list(pool.map(lambda _: scope_seen(), range(2)))

    assert (inside, outside, mapped) == (gate, None, [gate, gate])


def test_a_worker_started_before_the_scope_is_reached(gate: RecordingGate) -> None:
    token = active.set(None)
    pool = ThreadPoolExecutor(1)
    assert pool.submit(scope_seen).result() is None
    active.reset(token)

    assert pool.submit(scope_seen).result() is gate
    assert pool.submit(dict, a=1).result() == {"a": 1}
    with pytest.raises(TypeError):
        pool.submit()  # type: ignore[call-arg]
    pool.shutdown()


def test_threads_and_their_subclasses_see_the_scope(gate: RecordingGate) -> None:
    seen: list[object] = []

    class Mine(threading.Thread):
        def run(self) -> None:
            seen.append(scope_seen())

    threads = [
        Mine(),
        threading.Thread(target=lambda: seen.append(scope_seen())),
        threading.Timer(0, lambda: seen.append(scope_seen())),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == [gate] * 3
    with pytest.raises(RuntimeError):
        threads[0].start()


@pytest.mark.thorough
def test_a_finished_thread_does_not_keep_its_scope() -> None:
    install_hooks()
    gate = RecordingGate()
    with opened(gate):
        thread = threading.Thread(target=scope_seen)
        thread.start()
        thread.join()
    alive = weakref.ref(gate)
    del gate
    gc.collect()

    assert alive() is None
    assert not thread.is_alive()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_async_wait_ends_with_the_answer_or_withdraws(backend: str) -> None:
    async def program() -> None:
        answered: Pending[Response] = Pending()
        threading.Timer(0.02, answered.set_result, [Response(200)]).start()
        assert (await wait_async(answered)).status == 200
        never: Pending[Response] = Pending()
        with anyio.move_on_after(0.02):
            await wait_async(never)
        assert never.cancelled()

    anyio.run(program, backend=backend)
