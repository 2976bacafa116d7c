"""One table of behaviours for every client."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from batchling import install_hooks
from batchling.core.events import OUTSIDE
from batchling.system.gate import open_gates
from tests.hooks.clients import CLIENTS, Got
from tests.hooks.world import ANSWER, RecordingGate, echo_server, opened

Client = Callable[..., Got]


@pytest.fixture(params=CLIENTS)
def post(request: pytest.FixtureRequest) -> Client:
    return CLIENTS[request.param]


def test_a_taken_call_gets_a_native_answer(post: Client, gate: RecordingGate) -> None:
    got = post("https://api.example/v1/answer?q=1", json={"a": 1}, headers={"X-Mine": "m"})

    assert (got.status, got.body, got.json) == (200, ANSWER, {"answer": "é\u2028"})
    assert got.error is None
    headers = {name.lower(): value for name, value in got.headers.items()}
    assert headers["x-request-id"] == "r1"
    assert headers["content-length"] == str(len(ANSWER))
    (request,) = gate.requests
    assert (request.method, request.url) == ("POST", "https://api.example/v1/answer?q=1")
    assert request.body.replace(b" ", b"") == b'{"a":1}'
    sent = dict(request.headers)
    assert (sent["x-mine"], sent["x-default"], sent["content-type"]) == ("m", "d", "application/json")


def test_an_error_answer_raises_the_librarys_own_error(post: Client, gate: RecordingGate) -> None:
    gate.status = 429

    got = post("https://api.example/v1/answer", json={})

    assert got.status == 429
    assert type(got.error).__name__ in ("HTTPStatusError", "HTTPError", "ClientResponseError")
    assert type(got.error).__module__.split(".")[0] in ("httpx", "httpx2", "requests", "aiohttp")


def test_a_foreign_call_is_untouched(post: Client, gate: RecordingGate, echo: str) -> None:
    got = post(f"{echo}/other", json={"a": 1})

    assert got.json["body"].replace(" ", "") == '{"a":1}'
    assert gate.requests == gate.bypassed == []


def test_a_streaming_upload_passes_with_its_body(post: Client, gate: RecordingGate, echo: str) -> None:
    got = post(f"{echo}/v1/answer", content=iter([b"one", b"two"]))

    assert got.json["body"] == "onetwo"
    assert gate.requests == []
    assert gate.bypassed == [("answer", "streaming upload")]


def test_a_multipart_upload_passes_with_its_body(post: Client, gate: RecordingGate, echo: str) -> None:
    got = post(f"{echo}/v1/answer", files={"file": b"content"})

    assert "content" in got.json["body"]
    assert gate.requests == []
    assert gate.bypassed == [("answer", "multipart")]


def test_a_call_that_the_gate_lets_pass_arrives_once(post: Client, gate: RecordingGate, echo: str) -> None:
    got = post(f"{echo}/v1/answer", json={"stream": True})

    assert got.json["path"] == "/v1/answer"
    assert got.json["headers"]["x-default"] == "d"
    assert gate.bypassed == [("answer", "streaming")]
    assert len(gate.requests) == 1


def test_limits_hold_for_passed_calls_and_not_for_taken_ones(post: Client, gate: RecordingGate) -> None:
    with echo_server() as (url, go_on):
        for path, body in (("other/slow", {}), ("v1/answer/slow", {"stream": True})):
            with pytest.raises(Exception, match=r"(?i)time|^$"):
                post(f"{url}/{path}", json=body, timeout=0.1)
        go_on.set()
    gate.held = []
    done: list[Got] = []
    thread = threading.Thread(target=lambda: done.append(post("https://api.example/v1/answer", json={}, timeout=0.05)))
    thread.start()
    (future,) = gate.wait_for_held(1)
    thread.join(0.3)
    assert thread.is_alive()
    from batchling.core.model import Response

    future.set_result(Response(200, (("content-type", "application/json"),), b"{}"))
    thread.join(5)
    assert done[0].status == 200


def test_without_a_scope_nothing_is_asked(post: Client, echo: str) -> None:
    install_hooks()

    assert post(f"{echo}/v1/answer", json={}).status == 200


def test_a_call_outside_the_scope_is_noted_once(post: Client, echo: str) -> None:
    install_hooks()
    gate = RecordingGate()
    open_gates.add(gate)
    try:
        assert post(f"{echo}/v1/answer", json={}).json["path"] == "/v1/answer"
    finally:
        open_gates.discard(gate)

    assert gate.requests == []
    assert gate.bypassed == [("answer", OUTSIDE)]


def test_a_closed_gate_gives_way_to_the_outer_one(post: Client, gate: RecordingGate) -> None:
    inner = RecordingGate()
    inner.outer = gate
    inner.closed = True
    with opened(inner):
        post("https://api.example/v1/answer", json={})

    assert (len(inner.requests), len(gate.requests)) == (0, 1)


def test_errors_of_the_network_are_the_librarys_own(post: Client, gate: RecordingGate) -> None:
    with pytest.raises(Exception, match=r"(?i)connect|refused") as caught:
        post("http://127.0.0.1:9/other", json={})

    assert type(caught.value).__module__.split(".")[0] in ("httpx", "httpx2", "requests", "aiohttp")
