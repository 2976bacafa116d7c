"""Others who patch what we patch: mocks below and above us keep their calls, tracers see what we answer."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import aiohttp
import httpcore
import httpx
import pytest
import requests
import urllib3
import wrapt

from batchling import install_hooks
from batchling.hooks.interception import OWN_TRANSPORT, REPLACED
from tests.hooks.world import ANSWER, RecordingGate, echo_server, opened

URL = "https://api.example/v1/answer"


def ask(library: Any, kind: str) -> Any:
    """One call, sync or async."""
    if kind == "sync":
        with library.Client() as client:
            return client.post(URL, json={})

    async def program() -> Any:
        async with library.AsyncClient() as client:
            return await client.post(URL, json={})

    return asyncio.run(program())


PLACES = {"sync": ("HTTPTransport", "handle_request"), "async": ("AsyncHTTPTransport", "handle_async_request")}


def mock(library: Any, kind: str, monkeypatch: pytest.MonkeyPatch, *, wraps: bool = False) -> None:
    """Replace the network of one of the libraries; with `wraps` as VCR.py does."""
    name, method = PLACES[kind]
    owner = getattr(library, name)

    def answer(self: Any, request: Any) -> Any:
        return library.Response(200, text="the mock")

    async def answer_async(self: Any, request: Any) -> Any:
        return answer(self, request)

    put = answer if kind == "sync" else answer_async
    monkeypatch.setattr(owner, method, functools.wraps(owner.__dict__[method])(put) if wraps else put)


@pytest.mark.parametrize("wraps", [False, True], ids=["plain", "wraps"])
@pytest.mark.parametrize("kind", PLACES)
def test_a_mock_that_was_there_before_us_answers(
    library: Any, kind: str, wraps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    mock(library, kind, monkeypatch, wraps=wraps)
    install_hooks()
    gate = RecordingGate()

    with opened(gate):
        assert ask(library, kind).text == "the mock"

    assert gate.requests == []
    assert gate.bypassed == [("answer", REPLACED)]


@pytest.mark.parametrize("kind", PLACES)
def test_a_mock_that_came_after_us_answers_and_is_reported(
    library: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_hooks()
    gate = RecordingGate()
    with monkeypatch.context() as patching:
        mock(library, kind, patching)
        with opened(gate):
            assert ask(library, kind).text == "the mock"

    assert gate.requests == []
    assert gate.bypassed == [("answer", OWN_TRANSPORT)]
    with opened(gate):
        assert ask(library, kind).content == ANSWER


def test_a_mock_of_httpcore_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        httpcore.ConnectionPool, "handle_request", lambda *_, **__: httpcore.Response(200, content=b"the mock")
    )
    install_hooks()
    gate = RecordingGate()

    with opened(gate):
        assert ask(httpx, "sync").text == "the mock"

    assert (gate.requests, gate.bypassed) == ([], [("answer", REPLACED)])


@pytest.mark.parametrize("kind", PLACES)
def test_a_tracer_that_was_there_before_us_sees_the_answer(
    library: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def trace(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        if kind == "sync":
            answer = wrapped(*args, **kwargs)
            seen.append(answer.status_code)
            return answer

        async def awaited() -> Any:
            answer = await wrapped(*args, **kwargs)
            seen.append(answer.status_code)
            return answer

        return awaited()

    name, method = PLACES[kind]
    owner = getattr(library, name)
    monkeypatch.setattr(owner, method, wrapt.FunctionWrapper(owner.__dict__[method], trace))
    install_hooks()
    gate = RecordingGate()
    gate.status = 409

    with opened(gate):
        answer = ask(library, kind)

    assert (answer.status_code, answer.content, answer.http_version) == (409, ANSWER, "HTTP/1.1")
    assert answer.headers["x-request-id"] == "r1"
    assert seen == [409]
    assert gate.bypassed == []


def test_connections_that_talk_in_their_own_way_are_left_to_do_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Recorded(urllib3.connection.HTTPConnection):
        def getresponse(self) -> Any:
            return super().getresponse()

    monkeypatch.setattr(urllib3.HTTPConnectionPool, "ConnectionCls", Recorded)
    install_hooks()
    gate = RecordingGate()
    with echo_server() as (url, _), requests.Session() as session, opened(gate):
        assert session.post(f"{url}/v1/answer", json={}, timeout=10).json()["path"] == "/v1/answer"

    assert (gate.requests, gate.bypassed) == ([], [("answer", REPLACED)])


def test_our_wrapper_may_be_called_as_the_plain_function_it_replaced() -> None:
    install_hooks()
    raw = aiohttp.ClientSession.__dict__["_request"]
    gate = RecordingGate()

    async def program() -> bytes:
        async with aiohttp.ClientSession() as session:
            body: bytes = await (await raw(session, "POST", URL, json={})).read()
            return body

    with opened(gate):
        assert asyncio.run(program()) == ANSWER
