"""httpx and httpx2 with transports of the program's own: they run, and what they make of a call is what is judged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
import requests
import urllib3

from batchling.hooks.interception import OWN_TRANSPORT
from tests.hooks.world import ANSWER, RecordingGate

URL = "https://api.example/v1/answer"
PASS = {"stream": 1}


@pytest.fixture(params=["sync", "async"])
def post(request: pytest.FixtureRequest, library: Any) -> Callable[..., Any]:
    """Posts by a client over a transport that is made of `handle(request, send)`, where `send` is the network."""

    def sync(handle: Callable[..., Any], url: str, *bodies: Any) -> list[Any]:
        class Mine(library.HTTPTransport):  # type: ignore[misc]
            def handle_request(self, request: Any) -> Any:
                return handle(request, super().handle_request)

        with library.Client(transport=Mine()) as client:
            return [client.post(url, json=body) for body in bodies]

    def by_task(handle: Callable[..., Any], url: str, *bodies: Any) -> list[Any]:
        class Mine(library.AsyncHTTPTransport):  # type: ignore[misc]
            async def handle_async_request(self, request: Any) -> Any:
                sent: list[Any] = []
                answer = handle(request, sent.append)
                for again in sent:
                    answer = await super().handle_async_request(again)
                return answer

        async def program() -> list[Any]:
            async with library.AsyncClient(transport=Mine()) as client:
                return [await client.post(url, json=body) for body in bodies]

        return asyncio.run(program())

    return sync if request.param == "sync" else by_task


def test_what_a_transport_adds_is_in_the_request(post: Callable[..., Any], gate: RecordingGate) -> None:
    def refresh(request: Any, send: Callable[..., Any]) -> Any:
        request.headers["authorization"] = "Bearer fresh"
        return send(request)

    (answer,) = post(refresh, URL, {})

    assert answer.content == ANSWER
    assert dict(gate.requests[0].headers)["authorization"] == "Bearer fresh"
    assert gate.bypassed == []


def test_the_address_that_a_transport_makes_is_the_one_that_counts(
    post: Callable[..., Any], gate: RecordingGate, echo: str
) -> None:
    def to_company(request: Any, send: Callable[..., Any]) -> Any:
        request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=int(echo.rpartition(":")[2]))
        return send(request)

    def to_elsewhere(request: Any, send: Callable[..., Any]) -> Any:
        request.url = request.url.copy_with(path="/elsewhere")
        return to_company(request, send)

    (taken,) = post(to_company, URL, {})
    (passed,) = post(to_elsewhere, URL, {})

    assert taken.content == ANSWER
    assert [request.url for request in gate.requests] == [f"{echo}/v1/answer"]
    assert passed.json()["path"] == "/elsewhere"
    assert gate.bypassed == [("answer", OWN_TRANSPORT)]


def test_a_transport_that_asks_once_is_asked_each_time(
    post: Callable[..., Any], gate: RecordingGate, library: Any
) -> None:
    kept: list[int] = []

    def caching(request: Any, send: Callable[..., Any]) -> Any:
        if kept:
            return library.Response(200, content=b"{}")
        kept.append(1)
        return send(request)

    answers = post(caching, URL, {}, {}, {})

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert (len(gate.requests), gate.bypassed) == (1, [])


def test_a_transport_that_repeats_sees_our_failures(library: Any, gate: RecordingGate) -> None:
    class Again(library.BaseTransport):  # type: ignore[misc]
        def __init__(self) -> None:
            self.inner = library.HTTPTransport()

        def handle_request(self, request: Any) -> Any:
            response = self.inner.handle_request(request)
            assert (response.status_code, response.read()) == (409, ANSWER)
            gate.status = 200
            return self.inner.handle_request(request)

    gate.status = 409
    with library.Client(transport=Again()) as client:
        assert client.post(URL, json={}).status_code == 200
    assert (len(gate.requests), gate.bypassed) == (2, [])


def test_transports_in_this_process_are_never_touched(library: Any, gate: RecordingGate) -> None:
    def wsgi(environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [("content-type", "text/plain")])
        return [b"app"]

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"app"})

    async def program() -> list[bytes]:
        found = []
        for transport in (
            library.ASGITransport(asgi),
            library.MockTransport(lambda _: library.Response(200, text="app")),
        ):
            async with library.AsyncClient(transport=transport) as client:
                found.append((await client.post(URL, json={})).content)
        return found

    found = asyncio.run(program())
    for transport in (library.WSGITransport(wsgi), library.MockTransport(lambda _: library.Response(200, text="app"))):
        with library.Client(transport=transport) as client:
            found.append(client.post(URL, json={}).content)

    assert found == [b"app"] * 4
    assert (gate.requests, gate.bypassed) == ([], [])


def test_a_transport_without_an_end_of_ours_is_reported(library: Any, gate: RecordingGate) -> None:
    class Sockets(library.BaseTransport):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            if request.url.host == "broken.example":
                raise library.ConnectError("no")
            return library.Response(200, text="by sockets of its own")

    with library.Client(transport=Sockets()) as client:
        assert client.post(URL, json={}).text == "by sockets of its own"
        assert client.post("https://api.example/other", json={}).text == "by sockets of its own"
        assert client.get(URL).text == "by sockets of its own"
        with pytest.raises(library.ConnectError):
            client.post("https://broken.example/v1/answer", json={})

    assert gate.requests == []
    assert gate.bypassed == [("answer", OWN_TRANSPORT)]


@pytest.mark.parametrize("end", ["aiohttp", "requests", "urllib3"])
def test_a_transport_that_ends_in_another_library_is_decided_there(
    library: Any, gate: RecordingGate, echo: str, end: str
) -> None:
    class Over(library.BaseTransport):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            url, body = str(request.url), request.content
            if end == "aiohttp":
                return asyncio.run(self.by_aiohttp(url, body))
            if end == "requests":
                with requests.Session() as session:
                    answer = session.post(url, data=body)
                return library.Response(answer.status_code, content=answer.content)
            pool = urllib3.PoolManager()
            got = pool.request("POST", url, body=body)
            pool.clear()
            return library.Response(got.status, content=got.data)

        async def by_aiohttp(self, url: str, body: bytes) -> Any:
            async with aiohttp.ClientSession() as session, session.post(url, data=body) as answer:
                return library.Response(answer.status, content=await answer.read())

    with library.Client(transport=Over()) as client:
        passed, taken = client.post(f"{echo}/v1/answer", json=PASS), client.post(URL, json={})

    assert json.loads(passed.content)["path"] == "/v1/answer"
    assert taken.content == ANSWER
    assert gate.bypassed == [("answer", "streaming")]
    assert len(gate.requests) == 2


def test_a_call_inside_a_transport_is_judged_for_itself(library: Any, gate: RecordingGate, echo: str) -> None:
    """Each has its own answer, and its own line in the report; a call for a token is nobody's business."""

    class Moderating(library.BaseTransport):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            assert library.post(f"{echo}/token", json={}).status_code == 200
            assert library.post("https://api.example/v1/answer/moderation", json={"m": 1}).content == ANSWER
            assert library.post(f"{echo}/v1/answer/log", json=PASS).status_code == 200
            return library.Response(200, text="by sockets of its own")

    with library.Client(transport=Moderating()) as client:
        assert client.post(URL, json={}).text == "by sockets of its own"

    assert [request.url.rpartition("/")[2] for request in gate.requests] == ["moderation", "log"]
    assert gate.bypassed == [("log", "streaming"), ("answer", OWN_TRANSPORT)]


def test_for_other_urls_a_client_has_its_own_transport(library: Any, gate: RecordingGate) -> None:
    class Mine(library.BaseTransport):  # type: ignore[misc]
        limit = 7

    with library.Client(transport=Mine()) as client, library.Client() as plain:
        assert type(client._transport_for_url(library.URL("https://example.org/"))) is Mine
        assert client._transport_for_url(library.URL(URL)).limit == 7
        assert type(plain._transport_for_url(library.URL(URL))) is library.HTTPTransport


def test_the_way_of_a_client_goes_along(library: Any, gate: RecordingGate) -> None:
    import ssl

    trust = ssl.create_default_context()
    proxy = library.Proxy("http://user:pass@proxy.example:3128", headers={"X-Team": "t"})
    for client in (
        library.Client(verify=trust),
        library.Client(proxy=proxy, verify=trust),
        library.Client(transport=library.HTTPTransport(uds="/run/gateway.sock", local_address="127.0.0.1")),
    ):
        with client:
            client.post(URL, json={})

    plain, proxied, local = gate.ways
    assert plain is not None
    assert proxied is not None
    assert local is not None
    assert (plain.tls, plain.proxy, plain.uds) == (trust, None, None)
    assert proxied.proxy is not None
    assert (proxied.tls, proxied.proxy.url) == (trust, "http://proxy.example:3128")
    assert dict(proxied.proxy.headers) == {b"proxy-authorization": b"Basic dXNlcjpwYXNz", b"x-team": b"t"}
    assert (local.uds, local.local_address) == ("/run/gateway.sock", "127.0.0.1")
    assert "pass" not in repr(gate.ways)


def test_a_call_that_its_scope_lets_go_of_is_sent(library: Any, gate: RecordingGate, echo: str) -> None:
    gate.lets_go = True

    async def program() -> Any:
        async with library.AsyncClient() as client:
            return await client.post(f"{echo}/v1/answer", json={})

    with library.Client() as client:
        assert client.post(f"{echo}/v1/answer", json={}).json()["path"] == "/v1/answer"
    assert asyncio.run(program()).json()["path"] == "/v1/answer"
    assert len(gate.requests) == 2
