"""What only httpx and httpx2 have: auth flows, event hooks, mounts, streams, transports of the user."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Generator
from types import ModuleType
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest

from batchling import install_hooks, uninstall_hooks
from tests.hooks.world import ANSWER, RecordingGate, echo_server, opened

URL = "https://api.example/v1/answer"


def test_auth_and_hooks_have_run(library: Any, gate: RecordingGate) -> None:
    seen: list[str] = []
    hooks = {
        "request": [lambda r: r.headers.update({"x-hook": "h"})],
        "response": [lambda r: seen.append(r.headers["x-request-id"])],
    }
    with library.Client(base_url="https://api.example/v1", auth=("user", "pass"), event_hooks=hooks) as client:
        response = client.post("answer", json={})

        sent = dict(gate.requests[0].headers)
        assert sent["authorization"].startswith("Basic ")
        assert sent["x-hook"] == "h"
        assert seen == ["r1"]
        assert client.cookies["a"] == "b"
    assert response.request.url == URL
    assert response.elapsed.total_seconds() >= 0
    assert response.is_closed
    assert response.http_version == "HTTP/1.1"
    assert response.reason_phrase == "OK"


def test_an_auth_flow_sees_our_answer(library: Any, gate: RecordingGate) -> None:
    class Twice(library.Auth):  # type: ignore[misc]
        def auth_flow(self, request: Any) -> Generator[Any, Any, None]:
            response = yield request
            assert response.status_code == 401
            gate.status = 200
            request.headers["authorization"] = "token"
            yield request

    gate.status = 401
    with library.Client(auth=Twice()) as client:
        assert client.post(URL, json={}).status_code == 200
    assert [dict(r.headers).get("authorization") for r in gate.requests] == [None, "token"]


def test_streams_can_be_read_every_way(library: Any, gate: RecordingGate) -> None:
    with library.Client() as client:
        with client.stream("POST", URL, json={}) as response:
            assert not response.is_closed
            assert b"".join(response.iter_raw()) == ANSWER
        with client.stream("POST", URL, json={}) as response:
            assert response.read() == ANSWER
        request = client.build_request("POST", URL, json={})
        response = client.send(request=request, stream=True)
        assert b"".join(response.iter_bytes()) == ANSWER
        response.close()
        assert response.elapsed.total_seconds() >= 0


@pytest.mark.thorough
def test_clients_made_before_subclassed_and_mounted(library: Any) -> None:
    class Mine(library.Client):  # type: ignore[misc]
        pass

    clients = [library.Client(), Mine(), library.Client(mounts={"all://": library.HTTPTransport(retries=2)})]
    install_hooks()
    with opened(RecordingGate()):
        for client in clients:
            assert client.post(URL, json={}).status_code == 200
            client.close()


def test_httpx_over_aiohttp_is_judged_once(library: Any, gate: RecordingGate) -> None:
    class OverAiohttp(library.AsyncBaseTransport):  # type: ignore[misc]
        async def handle_async_request(self, request: Any) -> Any:
            async with aiohttp.ClientSession() as session:
                async with session.post(str(request.url), data=request.content) as answer:
                    return library.Response(answer.status, content=await answer.read())

    async def program(url: str) -> tuple[Any, Any]:
        async with library.AsyncClient(transport=OverAiohttp()) as client:
            return await client.post(f"{url}/v1/answer", json={"stream": 1}), await client.post(URL, json={})

    with echo_server() as (url, _):
        passed, taken = asyncio.run(program(url))

    assert json.loads(passed.content)["path"] == "/v1/answer"
    assert taken.content == ANSWER
    assert gate.bypassed == [("answer", "streaming")]


def test_async_streams(library: Any, gate: RecordingGate) -> None:
    async def program() -> bytes:
        async with library.AsyncClient() as client, client.stream("POST", URL, json={}) as response:
            pieces: AsyncIterator[bytes] = response.aiter_raw()
            return b"".join([piece async for piece in pieces])

    assert asyncio.run(program()) == ANSWER


@pytest.mark.thorough
@pytest.mark.skipif(not hasattr(httpx2, "alias_httpx"), reason="this httpx2 cannot alias httpx yet")
@pytest.mark.parametrize("first", ["install", "alias"])
def test_a_library_under_two_names_is_patched_once(first: str) -> None:
    program = f"""
import sys, httpx2
from batchling import install_hooks, uninstall_hooks
original = httpx2.Client.__dict__["_transport_for_url"]
if {first!r} == "alias": httpx2.alias_httpx()
install_hooks()
if {first!r} == "install": httpx2.alias_httpx()
import httpx
assert httpx.Client is httpx2.Client
ours = httpx2.Client.__dict__["_transport_for_url"]
assert ours is not original and ours.__wrapped__ is original
uninstall_hooks()
assert httpx2.Client.__dict__["_transport_for_url"] is original
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


@pytest.mark.thorough
@pytest.mark.parametrize("module", ["httpx", "httpx2", "aiohttp", "requests"])
def test_no_library_is_imported_before_the_program_does(module: str) -> None:
    program = f"""
import sys
import wrapt
import batchling
with batchling.batchify(cache=False):
    loaded = [name for name in ("httpx", "httpx2", "aiohttp", "requests") if name in sys.modules]
    # genai-prices brings httpx2 along: imported on entering, so that no thread of the program finds half of it.
    assert loaded == ["httpx2"], loaded
    import {module}
    owner, name = {{
        "httpx": ("HTTPTransport", "handle_request"), "httpx2": ("HTTPTransport", "handle_request"),
        "aiohttp": ("BaseConnector", "connect"), "requests": ("packages.urllib3.HTTPConnectionPool", "_make_request"),
    }}[{module!r}]
    thing = {module}
    for part in owner.split("."): thing = getattr(thing, part)
    assert isinstance(thing.__dict__[name], wrapt.FunctionWrapper), thing.__dict__[name]
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


def test_uninstall_restores_the_very_functions() -> None:
    import threading
    from concurrent.futures import ThreadPoolExecutor

    import urllib3

    places: list[tuple[type, str]] = [
        (httpx.Client, "_transport_for_url"),
        (httpx.AsyncClient, "_transport_for_url"),
        (httpx2.Client, "_transport_for_url"),
        (httpx2.AsyncClient, "_transport_for_url"),
        (httpx.HTTPTransport, "handle_request"),
        (httpx2.AsyncHTTPTransport, "handle_async_request"),
        (aiohttp.ClientSession, "_request"),
        (aiohttp.BaseConnector, "connect"),
        (urllib3.HTTPConnectionPool, "_make_request"),
        (ThreadPoolExecutor, "submit"),
        (threading.Thread, "start"),
    ]
    uninstall_hooks()
    originals = [owner.__dict__[name] for owner, name in places]
    for _ in range(2):
        install_hooks()
        once = [owner.__dict__[name] for owner, name in places]
        install_hooks()
        assert [owner.__dict__[name] for owner, name in places] == once
        assert all(now is not before for now, before in zip(once, originals, strict=True))
        uninstall_hooks()
        assert [owner.__dict__[name] for owner, name in places] == originals


def test_both_libraries_answer_in_their_own_kind(gate: RecordingGate) -> None:
    kinds: dict[ModuleType, Any] = {library: library.post(URL, json={}) for library in (httpx, httpx2)}

    assert type(kinds[httpx]) is httpx.Response
    assert type(kinds[httpx2]) is httpx2.Response
