"""What only aiohttp has: middlewares, traces, limits, response classes, connectors, uploads with progress."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import anyio
import pytest

from batchling import install_hooks
from batchling.system.gate import active
from tests.hooks.world import ANSWER, RecordingGate, echo_server

URL = "https://api.example/v1/answer"
PASS = {"stream": 1}


def run(work: Callable[[aiohttp.ClientSession], Awaitable[Any]], **settings: Any) -> Any:
    async def program() -> Any:
        async with aiohttp.ClientSession(
            **{name: make() if callable(make) else make for name, make in settings.items()}
        ) as s:
            return await work(s)

    return asyncio.run(program())


def post(url: str = URL, body: Any = None, **arguments: Any) -> Callable[[aiohttp.ClientSession], Awaitable[bytes]]:
    async def work(session: aiohttp.ClientSession) -> bytes:
        async with session.post(url, json={} if body is None else body, **arguments) as response:
            return await response.read()

    return work


def traced(seen: list[str]) -> aiohttp.TraceConfig:
    trace = aiohttp.TraceConfig()

    def note(name: str) -> Any:
        async def on(session: Any, context: Any, params: Any) -> None:
            seen.append(name)

        return on

    for name in ("request_start", "request_end", "request_exception", "request_chunk_sent", "request_headers_sent"):
        getattr(trace, f"on_{name}").append(note(name))
    return trace


@pytest.mark.parametrize("size", [0, 1, 131_072, 131_073, 1_000_000])
def test_answers_of_any_size_arrive(gate: RecordingGate, size: int) -> None:
    gate.answer = b"x" * size

    assert run(post()) == gate.answer


def test_a_large_answer_can_be_read_piece_by_piece(gate: RecordingGate) -> None:
    gate.answer = bytes(range(256)) * 2_000

    async def program(session: aiohttp.ClientSession) -> None:
        for read in (
            lambda c: c.iter_chunked(1000),
            lambda c: c.iter_any(),
            lambda c: c.iter_chunks(),
        ):
            async with session.post(URL, json={}) as response:
                pieces = [piece if isinstance(piece, bytes) else piece[0] async for piece in read(response.content)]
                assert b"".join(pieces) == gate.answer
        async with session.post(URL, json={}) as response:
            assert await response.content.readexactly(300_000) == gate.answer[:300_000]
            await asyncio.sleep(0)
            assert await response.content.read() == gate.answer[300_000:]
        async with session.post(URL, json={}) as response:
            assert await response.content.read(10) == gate.answer[:10]

    run(program)


def test_a_passed_call_is_begun_once(gate: RecordingGate, echo: str) -> None:
    seen: list[str] = []

    async def counted(request: Any, handler: Any) -> Any:
        seen.append("middleware")
        return await handler(request)

    work = post(f"{echo}/v1/answer", PASS, headers=zip(["authorization"], ["Bearer a"], strict=True))
    body = run(work, middlewares=[counted], trace_configs=lambda: [traced(seen)])

    assert b"Bearer a" in body
    assert seen.count("middleware") == seen.count("request_start") == seen.count("request_end") == 1
    assert "request_exception" not in seen
    assert gate.bypassed == [("answer", "streaming")]


def test_an_answered_call_is_traced_like_any_other(gate: RecordingGate) -> None:
    seen: list[str] = []

    run(post(), trace_configs=lambda: [traced(seen)])

    assert sorted(seen) == ["request_chunk_sent", "request_end", "request_headers_sent", "request_start"]


async def in_a_task_group(request: Any, handler: Any) -> Any:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(handler(request))
    return task.result()


async def in_anyios_task_group(request: Any, handler: Any) -> Any:
    found: list[Any] = []

    async def work() -> None:
        found.append(await handler(request))

    async with anyio.create_task_group() as group:
        group.start_soon(work)
    return found[0]


async def mapping(request: Any, handler: Any) -> Any:
    try:
        return await handler(request)
    except asyncio.CancelledError:
        raise
    except BaseException as fault:
        raise ConnectionError("mapped") from fault


@pytest.mark.parametrize("middleware", [in_a_task_group, in_anyios_task_group, mapping])
@pytest.mark.parametrize("lets_go", [False, True])
def test_no_exception_of_ours_meets_the_program(gate: RecordingGate, echo: str, middleware: Any, lets_go: bool) -> None:
    gate.lets_go = lets_go

    passed = run(post(f"{echo}/v1/answer", PASS), middlewares=[middleware])
    other = run(post(f"{echo}/v1/answer"), middlewares=[middleware])

    assert b"/v1/answer" in passed
    assert (other == ANSWER) is not lets_go


def test_a_call_inside_a_middleware_is_judged_for_itself(gate: RecordingGate, echo: str) -> None:
    async def moderated(request: Any, handler: Any) -> Any:
        if "moderation" not in str(request.url):
            async with aiohttp.ClientSession() as other:
                async with other.post("https://api.example/v1/answer/moderation", json={"m": 1}) as answer:
                    assert await answer.read() == ANSWER
                async with other.get(f"{echo}/token") as answer:
                    assert answer.status == 200
        return await handler(request)

    run(post(f"{echo}/v1/answer", PASS), middlewares=[moderated])

    assert [request.url.rpartition("/")[2] for request in gate.requests] == ["moderation", "answer"]
    assert gate.bypassed == [("answer", "streaming")]


def test_a_middleware_may_change_the_address(gate: RecordingGate, echo: str) -> None:
    async def to_company(request: Any, handler: Any) -> Any:
        request.url = request.url.with_path("/v1/answer/company")
        return await handler(request)

    run(post(), middlewares=[to_company])
    passed = run(post(f"{echo}/elsewhere"), middlewares=[to_company])

    assert [request.url for request in gate.requests] == ["https://api.example/v1/answer/company"]
    assert b"/v1/answer/company" in passed
    ((path, reason),) = gate.bypassed
    assert path == "company"
    assert "time limit" in reason


@pytest.mark.thorough
def test_limits_of_a_passed_call_are_its_own(gate: RecordingGate) -> None:
    """The total limit is lifted while a batch may answer, and counts again for a call that leaves."""
    with echo_server() as (url, go_on):
        for lets_go in (False, True):
            gate.lets_go = lets_go
            body = {} if lets_go else PASS
            work = post(f"{url}/v1/answer/slow", body, timeout=aiohttp.ClientTimeout(total=0.2))
            with pytest.raises(asyncio.TimeoutError):
                run(work)
            with pytest.raises(asyncio.TimeoutError):
                run(post(f"{url}/v1/answer/slow", body), timeout=lambda: aiohttp.ClientTimeout(total=0.2))
        go_on.set()
        assert b"slow" in run(post(f"{url}/v1/answer/slow", {}, timeout=aiohttp.ClientTimeout(total=20)))


def test_bad_urls_are_aiohttps_own_errors(gate: RecordingGate) -> None:
    async def program(session: aiohttp.ClientSession) -> list[str]:
        found = []
        for url in (
            "http://[::1",
            "http://host:99999/x",
            "http://exa mple.com:port/",
            "",
            "ftp://h/",
            "http:///v1/answer",
        ):
            try:
                await session.post(url)
            except aiohttp.ClientError as fault:
                found.append(type(fault).__name__)
        await session.close()
        with pytest.raises(RuntimeError, match="closed"):
            await session.post("http://[::1")
        return found

    install_hooks()
    inside = run(program)
    token = active.set(None)
    outside = run(program)
    active.reset(token)

    assert inside == outside
    assert len(inside) == 6


def test_response_and_request_classes_are_asked(gate: RecordingGate) -> None:
    class Answer(aiohttp.ClientResponse):
        async def twice(self) -> bytes:
            return await self.read() * 2

    class Ask(aiohttp.ClientRequest):
        async def send(self, conn: Any) -> Any:
            self.made = True
            return await super().send(conn)

    async def program(session: aiohttp.ClientSession) -> bytes:
        async with session.post(URL, json={}) as response:
            assert type(response) is Answer
            return await response.twice()

    assert run(program, response_class=lambda: Answer, request_class=lambda: Ask) == ANSWER * 2


@pytest.mark.skipif(not hasattr(aiohttp, "UploadTracker"), reason="this aiohttp has no UploadTracker")
def test_progress_of_an_upload_is_told(gate: RecordingGate, echo: str) -> None:
    async def program(session: aiohttp.ClientSession) -> list[int]:
        sizes = []
        for url, body in ((URL, {"a": 1}), (f"{echo}/v1/answer", PASS)):
            tracker = aiohttp.UploadTracker()
            async with session.post(url, json=body, upload_tracker=tracker) as response:
                await response.read()
            sizes.append(tracker.bytes_written)
        return sizes

    first, second = run(program)
    assert first == len(b'{"a": 1}')
    assert second == len(b'{"stream": 1}')


def test_a_chunked_request_is_answered(gate: RecordingGate) -> None:
    assert run(post(chunked=True)) == ANSWER


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"expect100": True}, "Expect: 100-continue"),
        ({"compress": "deflate"}, "compressed body"),
    ],
)
def test_calls_that_need_the_network(gate: RecordingGate, arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(aiohttp.ClientConnectionError):
        run(post("http://127.0.0.1:9/v1/answer", **arguments))

    assert gate.bypassed == [("answer", reason)]


def test_the_way_of_a_session_goes_along(gate: RecordingGate) -> None:
    trust = ssl.create_default_context()
    run(post(ssl=trust))
    run(post(), connector=lambda: aiohttp.TCPConnector(ssl=trust, local_addr=("127.0.0.1", 0)))
    run(post(proxy="http://user:pass@proxy.example:3128"))
    run(post("http://llm/v1/answer"), connector=lambda: aiohttp.UnixConnector("/run/gateway.sock"))

    by_call, by_connector, proxied, local = [way for way in gate.ways if way is not None]
    assert by_call.tls is by_connector.tls is trust
    assert by_connector.local_address == "127.0.0.1"
    assert proxied.proxy is not None
    assert proxied.proxy.url == "http://proxy.example:3128"
    assert dict(proxied.proxy.headers) == {b"proxy-authorization": b"Basic dXNlcjpwYXNz"}
    assert local.uds == "/run/gateway.sock"


def test_connectors_that_only_the_program_has_go_real_time(gate: RecordingGate, echo: str) -> None:
    class Mine(aiohttp.TCPConnector):
        async def _wrap_create_connection(self, *args: Any, **kwargs: Any) -> Any:
            return await super()._wrap_create_connection(*args, **kwargs)

    class Names(aiohttp.abc.AbstractResolver):
        async def resolve(self, host: str, *args: Any, **kwargs: Any) -> list[Any]:
            raise OSError("no such name here")

        async def close(self) -> None:
            pass

    assert b"/v1/answer" in run(post(f"{echo}/v1/answer"), connector=Mine)
    with pytest.raises(aiohttp.ClientConnectionError):
        run(post("http://llm.invalid/v1/answer"), connector=lambda: aiohttp.TCPConnector(resolver=Names()))

    assert gate.bypassed == [("answer", "the program's own connector")] * 2
    assert gate.requests == []


def test_a_connector_that_never_asks_us_is_reported(gate: RecordingGate, echo: str) -> None:
    class Mine(aiohttp.TCPConnector):
        async def connect(self, *args: Any, **kwargs: Any) -> Any:
            return await aiohttp.BaseConnector.connect.__wrapped__(self, *args, **kwargs)  # type: ignore[attr-defined]

    assert b"/v1/answer" in run(post(f"{echo}/v1/answer"), connector=Mine)

    assert gate.bypassed == [("answer", "the program's own connector")]


def test_a_session_closes_quietly_after_answers(gate: RecordingGate) -> None:
    async def program(session: aiohttp.ClientSession) -> None:
        answers = [await session.post(URL, json={}) for _ in range(3)]
        await answers[0].read()
        answers[1].release()
        answers[2].close()

    run(program, connector=lambda: aiohttp.TCPConnector(limit=1, limit_per_host=1))


def test_more_calls_wait_than_a_connector_has_connections(gate: RecordingGate) -> None:
    gate.held = []
    from batchling.core.model import Response

    async def program(session: aiohttp.ClientSession) -> list[bytes]:
        calls = [asyncio.ensure_future(post()(session)) for _ in range(20)]
        for future in await asyncio.to_thread(gate.wait_for_held, 20):
            future.set_result(Response(200, (), b"{}"))
        return await asyncio.gather(*calls)

    assert run(program, connector=lambda: aiohttp.TCPConnector(limit=2)) == [b"{}"] * 20
