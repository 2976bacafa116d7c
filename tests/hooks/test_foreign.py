"""Traffic that is not ours: what programs do beside their LLM calls is the same in a scope as without one."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
import tqdm.utils
from aiohttp import web

from batchling import install_hooks
from tests.hooks.clients import CLIENTS
from tests.hooks.world import RecordingGate, opened

MEGABYTES = 20_000_000
CHANGES = ("host", "user-agent", "date", "content-type")
"""Headers of which some hold a port or a boundary that differs each time."""


@pytest.fixture
def gate() -> RecordingGate:
    install_hooks()
    return RecordingGate()


def outcome(call: Callable[[], Any]) -> Any:
    """What a call gives, or the classes of what it raises."""
    try:
        return call()
    except Exception as fault:
        return [each.__name__ for each in type(fault).__mro__]


def same(gate: RecordingGate, call: Callable[[], Any]) -> Any:
    """What a call gives without a scope, which has to be what it gives in one."""
    alone = outcome(call)
    with opened(gate):
        assert outcome(call) == alone
    return alone


def heard(text: str) -> Any:
    """What the echoing server got, without what differs each time."""
    said = json.loads(text)
    said["headers"] = {name: value for name, value in said["headers"].items() if name not in CHANGES}
    return said


def with_aiohttp(method: str, url: str, session: dict[str, Any] | None = None, **options: Any) -> Any:
    async def program() -> Any:
        async with aiohttp.ClientSession(**(session or {})) as made, made.request(method, url, **options) as got:
            return got.status, heard(await got.text())

    return asyncio.run(program())


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://host:99999/x", "http://exa mple.com:port/", "nothing", "ftp://x/"]
)
@pytest.mark.parametrize("client", CLIENTS)
def test_invalid_addresses_raise_the_librarys_own_errors(client: str, url: str, gate: RecordingGate) -> None:
    raised = same(gate, lambda: CLIENTS[client](url, json={}))

    assert isinstance(raised, list)


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_a_client_may_ask_for_the_type_of_its_transport(library: Any, gate: RecordingGate) -> None:
    class Cache(library.BaseTransport):  # type: ignore[misc]
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def handle_request(self, request: Any) -> Any:
            return library.Response(200, text="from the cache")

    class Client(library.Client):  # type: ignore[misc]
        def _transport_for_url(self, url: Any) -> Any:
            found = super()._transport_for_url(url)
            return found.inner if isinstance(found, Cache) else found

    def ask() -> Any:
        fresh = library.MockTransport(lambda _: library.Response(200, text="fresh"))
        with Client(transport=Cache(fresh)) as client, library.Client() as plain:
            pool = type(plain._transport_for_url(library.URL("http://example.org/"))._pool).__name__
            return client.get("http://example.org/").text, pool

    assert same(gate, ask) == ("fresh", "ConnectionPool")
    assert gate.requests == gate.bypassed == []


def test_websockets_of_aiohttp(gate: RecordingGate) -> None:
    async def socket(request: web.Request) -> web.WebSocketResponse:
        made = web.WebSocketResponse()
        await made.prepare(request)
        async for message in made:
            await made.send_str(f"heard {message.data}")
        return made

    async def program() -> list[str]:
        app = web.Application()
        app.router.add_get("/v1/answer", socket)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/answer"
            async with aiohttp.ClientSession() as session, session.ws_connect(url) as connected:
                await connected.send_str("one")
                await connected.send_str("two")
                return [(await connected.receive_str()), (await connected.receive_str())]
        finally:
            await runner.cleanup()

    assert same(gate, lambda: asyncio.run(program())) == ["heard one", "heard two"]
    assert gate.requests == gate.bypassed == []


@pytest.mark.skipif(not hasattr(aiohttp, "UploadTracker"), reason="this aiohttp has no UploadTracker")
def test_uploads_of_aiohttp_tell_their_progress(gate: RecordingGate, echo: str) -> None:
    def upload(path: str, body: Any) -> Any:
        async def program() -> Any:
            tracker = aiohttp.UploadTracker()
            async with aiohttp.ClientSession() as session:
                async with session.post(f"{echo}/{path}", upload_tracker=tracker, **body) as got:
                    await got.read()
                    await asyncio.wait_for(tracker.upload_complete, 5)
                    return got.status, tracker.attempts, tracker.bytes_written

        return asyncio.run(program())

    for path in ("other", "v1/answer"):
        status, attempts, written = same(gate, lambda path=path: upload(path, {"data": b"x" * 1000}))
        assert (status, attempts) == (200, 1)
        assert "1000" in str(written)
    assert len(gate.requests) == 1


@pytest.mark.parametrize("path", ["other", "v1/answer"])
def test_uploads_with_a_bar_arrive_whole(path: str, gate: RecordingGate, echo: str) -> None:
    def upload() -> tuple[int, int]:
        seen: list[int] = []
        file = tqdm.utils.CallbackIOWrapper(seen.append, io.BytesIO(b"x" * 300_000), "read")
        got = requests.post(f"{echo}/{path}", data=file, timeout=10)
        return len(got.json()["body"]), sum(seen)

    assert same(gate, upload) == (300_000, 300_000)
    assert gate.requests == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # aiohttp's advice
@pytest.mark.parametrize("path", ["other", "v1/answer"])
@pytest.mark.parametrize("client", CLIENTS)
def test_large_uploads_arrive_whole(client: str, path: str, gate: RecordingGate, echo: str, tmp_path: Path) -> None:
    def pieces() -> Any:
        return iter([b"x" * (MEGABYTES // 20)] * 20)

    def files() -> Any:
        return {"file": b"x" * MEGABYTES}

    post = CLIENTS[client]
    with opened(gate):
        assert len(post(f"{echo}/{path}", content=pieces(), timeout=30).json["body"]) == MEGABYTES
        assert len(post(f"{echo}/{path}", files=files(), timeout=30).json["body"]) > MEGABYTES
        assert len(post(f"{echo}/other", content=b"x" * MEGABYTES, timeout=30).json["body"]) == MEGABYTES
    assert gate.requests == []


def following(url: str) -> dict[str, Callable[[], Any]]:
    """POST that is redirected with 307, by each library."""

    def with_httpx(library: Any) -> Any:
        with library.Client(follow_redirects=True) as client:
            got = client.post(url, json={"a": 1})
            return got.status_code, heard(got.text), dict(client.cookies), len(got.history)

    def with_requests() -> Any:
        with requests.Session() as session:
            got = session.post(url, json={"a": 1}, timeout=10)
            return got.status_code, heard(got.text), session.cookies.get_dict(), len(got.history)

    def with_aiohttp_and_cookies() -> Any:
        async def program() -> Any:
            jar = aiohttp.CookieJar(unsafe=True)  # also of addresses without a name
            async with aiohttp.ClientSession(cookie_jar=jar) as session, session.post(url, json={"a": 1}) as got:
                return got.status, heard(await got.text()), [cookie.key for cookie in jar], len(got.history)

        return asyncio.run(program())

    return {
        "httpx": lambda: with_httpx(httpx),
        "httpx2": lambda: with_httpx(httpx2),
        "requests": with_requests,
        "aiohttp": with_aiohttp_and_cookies,
    }


@pytest.mark.parametrize("client", ["httpx", "httpx2", "requests", "aiohttp"])
def test_redirects_keep_their_body_and_cookies(client: str, gate: RecordingGate, echo: str) -> None:
    status, said, *_ = same(gate, following(f"{echo}/moved")[client])

    assert (status, said["path"], said["headers"]["cookie"]) == (200, "/arrived", "seen=1")
    assert json.loads(said["body"]) == {"a": 1}


@pytest.mark.parametrize("client", ["httpx", "httpx2", "requests", "aiohttp"])
def test_a_redirect_that_leads_to_a_wanted_address_is_answered(client: str, gate: RecordingGate, echo: str) -> None:
    gate.answer = json.dumps({"path": "ours", "headers": {}}).encode()

    with opened(gate):
        status, said, *_ = following(f"{echo}/to-answer")[client]()

    if client == "aiohttp":
        # The limit of 5 minutes that aiohttp sets itself runs since the call began, at an address that nobody wanted.
        assert (status, said["path"], gate.requests) == (200, "/v1/answer", [])
        assert [reason[:20] for _, reason in gate.bypassed] == ["aiohttp's time limit"]
        return
    assert (status, said["path"]) == (200, "ours")
    (request,) = gate.requests
    assert json.loads(request.body) == {"a": 1}


@pytest.mark.thorough
def test_netrc_is_read(gate: RecordingGate, echo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1\nlogin me\npassword secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    def ask() -> Any:
        with httpx.Client(auth=httpx.NetRCAuth(str(tmp_path / "netrc"))) as client:
            return [
                heard(requests.post(f"{echo}/locked", timeout=10).text),
                heard(client.post(f"{echo}/locked").text),
                with_aiohttp("POST", f"{echo}/locked", {"trust_env": True}),
            ]

    said = same(gate, ask)

    assert all("Basic" in json.dumps(each) for each in said)


@pytest.mark.thorough
@pytest.mark.parametrize("path", ["other", "v1/answer"])
def test_plain_proxies_are_used(path: str, gate: RecordingGate, echo: str) -> None:
    url = f"http://nowhere.example/{path}"

    def ask() -> Any:
        with httpx.Client(proxy=echo) as client, httpx2.Client(proxy=echo) as second:
            return [
                heard(requests.post(url, data=iter([b"x"]), proxies={"http": echo}, timeout=10).text)["path"],
                heard(client.post(url, content=iter([b"x"])).text)["path"],
                heard(second.post(url, content=iter([b"x"])).text)["path"],
                with_aiohttp("POST", url, data=b"x", proxy=echo, expect100=False, compress="gzip")[1]["path"],
            ]

    assert same(gate, ask) == [url] * 4
    assert gate.requests == []


@pytest.mark.thorough
@pytest.mark.parametrize("path", ["other", "v1/answer"])
def test_bodies_that_are_compressed_or_announced_go_as_they_are(path: str, gate: RecordingGate, echo: str) -> None:
    packed = gzip.compress(b'{"a": 1}', mtime=0)
    headers = {"content-encoding": "gzip"}

    def ask() -> Any:
        return [
            heard(httpx.post(f"{echo}/{path}", content=packed, headers=headers).text),
            heard(httpx2.post(f"{echo}/{path}", content=packed, headers=headers).text),
            heard(requests.post(f"{echo}/{path}", data=packed, headers=headers, timeout=10).text),
            with_aiohttp("POST", f"{echo}/{path}", data=b"x", compress="deflate"),
            with_aiohttp("POST", f"{echo}/{path}", data=b"x", expect100=True),
        ]

    said = same(gate, ask)

    assert [each["body"].encode("latin-1") for each in said[:3]] == [packed] * 3
    assert gate.requests == []
    assert [reason for _, reason in gate.bypassed] == (
        ["compressed body"] * 4 + ["Expect: 100-continue"] if path == "v1/answer" else []
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_worker_makes_its_own_calls(gate: RecordingGate, echo: str) -> None:
    with opened(gate):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                asked = [requests.get(f"{echo}/other", timeout=10).status_code, httpx.get(f"{echo}/other").status_code]
                asked.append(with_aiohttp("GET", f"{echo}/other")[0])
                status = int(asked != [200, 200, 200])
            finally:
                os._exit(status)
        done: list[int] = []
        waiter = threading.Thread(target=lambda: done.append(os.waitpid(child, 0)[1]))
        waiter.start()
        waiter.join(30)
    assert done == [0]
    assert gate.requests == gate.bypassed == []


def test_http_2_is_spoken(gate: RecordingGate, tmp_path: Path) -> None:
    pytest.importorskip("h2")
    hypercorn = pytest.importorskip("hypercorn.asyncio")
    import trustme
    from hypercorn.config import Config

    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "chain.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": scope["http_version"].encode()})

    async def program(path: str, **options: Any) -> Any:
        import socket
        import ssl

        free = socket.socket()
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        config = Config.from_mapping(
            bind=f"127.0.0.1:{port}", certfile=str(tmp_path / "chain.pem"), keyfile=str(tmp_path / "key.pem")
        )
        config.errorlog = None
        over = asyncio.Event()
        serving = asyncio.create_task(hypercorn.serve(app, config, shutdown_trigger=over.wait))
        trusted = ssl.create_default_context()
        authority.configure_trust(trusted)
        try:
            async with httpx.AsyncClient(http2=True, verify=trusted) as client:
                for _ in range(100):
                    try:
                        got = await client.post(f"https://localhost:{port}/{path}", **options)
                    except httpx.ConnectError:
                        await asyncio.sleep(0.02)
                    else:
                        return got.http_version, got.text
        finally:
            over.set()
            await serving

    assert same(gate, lambda: asyncio.run(program("other"))) == ("HTTP/2", "2")
    assert same(gate, lambda: asyncio.run(program("v1/answer", json={"stream": 1}))) == ("HTTP/2", "2")
    assert {reason for _, reason in gate.bypassed} == {"streaming"}


if sys.version_info >= (3, 14):

    def test_work_for_another_interpreter_is_left_alone(gate: RecordingGate) -> None:
        from concurrent.futures import InterpreterPoolExecutor

        with opened(gate), InterpreterPoolExecutor(1) as pool:
            assert pool.submit(abs, -1).result(30) == 1
