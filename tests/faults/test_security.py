"""What a provider sends is data, and what is ours stays with us."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import trustme

from batchling.core.model import Call, Request, Response
from batchling.engine import sender
from batchling.engine.sender import NetworkFault, Sender
from batchling.testing import ProviderServer
from tests.engine.calls import ask, ask_all, scope

SECRET = "sk-very-secret-0123456789"
PROMPT = "the prompt that nobody may read"


class Stranger(BaseHTTPRequestHandler):
    """A host that is not the provider: it notes what it is sent, and answers as it is told."""

    seen: list[dict[str, str]]
    answer: Callable[[Stranger], None]

    def do_GET(self) -> None:
        self.seen.append({name.lower(): value for name, value in self.headers.items()})
        type(self).answer(self)

    def log_message(self, *_: object) -> None:
        pass

    def give(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def stranger(answer: Callable[[Stranger], None]) -> Iterator[tuple[str, list[dict[str, str]]]]:
    kind = type("Kind", (Stranger,), {"seen": [], "answer": staticmethod(answer)})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", kind.seen
        finally:
            server.shutdown()
            thread.join()


def send(call: Call) -> object:
    async def once() -> object:
        client = Sender()
        try:
            return await client.send(call)
        finally:
            await client.close()

    return asyncio.run(once())


def get(url: str) -> Call:
    return Call(Request("GET", url, (("authorization", f"Bearer {SECRET}"), ("openai-project", "p"))))


@pytest.mark.thorough
def test_a_redirect_to_another_host_takes_no_header_of_ours_along(provider_server: ProviderServer) -> None:
    """Signed download links point to somebody's storage."""
    with scope(provider_server):
        ask(provider_server, "x", key=SECRET)
    (content,) = (seen.path for seen in provider_server.calls("GET", "/content"))
    rows = httpx.get(provider_server.url + content, headers={"authorization": f"Bearer {SECRET}"}).content
    with stranger(lambda host: host.give(200, rows)) as (url, seen):
        place = {"location": f"{url}/bucket/rows.jsonl?signature=abc"}
        provider_server.fail_call("GET", "/content", 302, b"", place)
        with scope(provider_server, cache=False):
            assert ask(provider_server, "x", key=SECRET).status_code == 200

    assert len(seen) == 1
    assert "authorization" not in seen[0]
    assert SECRET not in str(seen)


def test_a_redirect_on_the_same_host_keeps_who_asks() -> None:
    def answer(host: Stranger) -> None:
        if host.path == "/old":
            host.give(307, location="/new")
        else:
            host.give(200, b"{}")

    with stranger(answer) as (url, seen):
        assert send(get(f"{url}/old")).status == 200  # type: ignore[attr-defined]
    assert [headers["authorization"] for headers in seen] == [f"Bearer {SECRET}"] * 2


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/x", "file:///etc/passwd", "http://[bad", "", "//"])
def test_a_redirect_to_nowhere_sensible_is_the_answer(location: str) -> None:
    with stranger(lambda host: host.give(302, location=location)) as (url, _):
        try:
            answer = send(get(url))
        except NetworkFault:
            return
        assert answer.status == 302  # type: ignore[attr-defined]


@pytest.mark.parametrize(("sent", "path"), [(b"/caf\xc3\xa9", "/café"), (b"/caf\xe9", "/café"), (b"/a%20b", "/a%20b")])
def test_a_redirect_in_any_spelling_is_followed(sent: bytes, path: str) -> None:
    request = Request("GET", "https://host/v1/files", ())
    moved = sender._redirected(request, Response(302, (("location", sender._text(sent)),), b""))
    assert moved is not None
    assert moved.url == f"https://host{path}"


def test_a_document_that_no_memory_should_hold_is_kept_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "_PIECE", 10)
    monkeypatch.setattr(sender, "MOST_BYTES", 100)
    longest = 0

    async def pieces() -> AsyncIterator[bytes]:
        yield b"["
        for _ in range(100):
            yield b'{"a": "bcdefgh"},'

    async def keep(piece: bytes) -> None:
        nonlocal longest
        longest = max(longest, len(piece))

    asyncio.run(sender._keep_rows(pieces(), keep))
    assert longest < 200


def test_redirects_in_a_circle_end() -> None:
    with (
        stranger(lambda host: host.give(302, location=host.path)) as (url, seen),
        pytest.raises(NetworkFault, match="many"),
    ):
        send(get(url))
    assert len(seen) == 5


def test_an_answer_without_an_end_is_not_held_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "MOST_BYTES", 100_000)

    def endless(host: Stranger) -> None:
        host.send_response(200)
        host.end_headers()
        try:
            while True:
                host.wfile.write(b" " * 10_000)
        except OSError:
            pass

    with stranger(endless) as (url, _), pytest.raises(NetworkFault, match="more than 100,000 bytes"):
        send(get(url))


@pytest.mark.thorough
def test_a_download_is_never_held_whole() -> None:
    """A hundred megabytes pass in pieces."""
    sizes: list[int] = []

    def large(host: Stranger) -> None:
        host.send_response(200)
        host.send_header("content-length", str(100 * 1_000_000))
        host.end_headers()
        for _ in range(100):
            host.wfile.write(b"x" * 1_000_000)

    async def keep(piece: bytes) -> None:
        sizes.append(len(piece))

    async def download(url: str) -> None:
        client = Sender()
        answer = await client.send(Call(Request("GET", url), rows=True), keep)
        assert answer.body == b""
        await client.close()

    with stranger(large) as (url, _):
        asyncio.run(download(url))
    assert sum(sizes) == 100_000_001  # with the newline that ends a file
    assert max(sizes) < 1_000_000


@pytest.mark.thorough
def test_what_a_provider_says_cannot_write_to_the_terminal(
    provider_server: ProviderServer, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        provider_server.fail_job("\x1b[2Jgone\n" + "x" * 10_000, "no")
    with scope(provider_server):
        assert ask(provider_server, "x").status_code == 400

    shown = capsys.readouterr().err
    assert "failed: ?[2Jgone?x" in shown
    assert "\x1b" not in shown
    assert len(shown) < 900


@pytest.mark.thorough
def test_ids_and_words_of_a_provider_cannot_write_to_the_log(
    provider_server: ProviderServer, caplog: pytest.LogCaptureFixture
) -> None:
    def renamed(body: bytes) -> bytes:
        return json.dumps({**json.loads(body), "id": "\x1b[2J" + "x" * 5_000}).encode()

    def worded(body: bytes) -> bytes:
        return json.dumps({"status": "\x1b[31mred\n" + "x" * 5_000}).encode()

    provider_server.change_reply("POST", "/batches", renamed)
    provider_server.fail_call("GET", "/batches/", 200, worded(b""))
    provider_server.fail_call("GET", "/batches/", 401, b"{}")
    with caplog.at_level(logging.DEBUG, "batchling"), scope(provider_server):
        ask(provider_server, "x")

    shown = [record.getMessage() for record in caplog.records]
    assert any("submitted as job ?[2J" in line for line in shown)
    assert any("?[31mred?" in line for line in shown)
    assert all("\x1b" not in line and len(line) < 400 for line in shown)


@pytest.mark.thorough
@pytest.mark.parametrize("job_id", ["../../etc/passwd", "a/b?c=d#e", "..", "x" * 5_000, "\u2028\x00"])
def test_an_id_of_the_provider_is_no_path(provider_server: ProviderServer, batchling_cache: Path, job_id: str) -> None:
    """It stays one segment of a URL, and never becomes the name of a file."""

    def renamed(body: bytes) -> bytes:
        return json.dumps({**json.loads(body), "id": job_id}).encode()

    provider_server.change_reply("POST", "/batches", renamed)
    provider_server.fail_call("GET", "/batches/", 401, b"{}")
    with scope(provider_server):
        assert ask(provider_server, "x").status_code == 424
    asked = provider_server.calls("GET")
    assert all(seen.path.startswith("/openai/v1/batches/") for seen in asked if seen.status == 401)
    assert {path.parent.name for path in batchling_cache.rglob("*") if path.is_file()} <= {
        "batches",
        "programs",
        "results",
        batchling_cache.name,
    }


@pytest.mark.thorough
def test_nothing_secret_is_logged_printed_or_written(
    provider_server: ProviderServer,
    batchling_cache: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Through a lost reply, a refused poll, a failed row and a broken download."""
    provider_server.lose_reply("POST", "/batches")
    provider_server.fail_call("GET", "/batches", 500, SECRET.encode())
    provider_server.cut_reply("GET", "/content")
    provider_server.fail_rows(lambda body: "!" in str(body), 400, {"error": {"message": "bad"}})
    with caplog.at_level(logging.DEBUG, "batchling"), scope(provider_server):
        answers = ask_all(provider_server, [PROMPT, PROMPT + "!"], keys=[SECRET])
    assert sorted(answer.status_code for answer in answers) == [200, 400]
    said = caplog.text + "".join(capsys.readouterr())
    records = b"".join(path.read_bytes() for path in batchling_cache.glob("batches/*")).decode()

    assert len(caplog.records) > 3
    for secret in (SECRET, PROMPT, answers[0].json()["choices"][0]["message"]["content"]):
        assert secret not in said
        assert secret not in records


@contextmanager
def tls(server: ProviderServer, authority: trustme.CA) -> Iterator[str]:
    """The embedded server behind TLS, with a certificate of an authority that nobody knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    inner = int(server.url.rpartition(":")[2])

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", inner)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(65536):
                    sink.write(data)
            finally:
                sink.close()

        await asyncio.gather(pump(reader, back), pump(there, writer), return_exceptions=True)

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def open_() -> asyncio.Server:
        return await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)

    async def close(listening: asyncio.Server) -> None:
        listening.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    listening = asyncio.run_coroutine_threadsafe(open_(), loop).result(5)
    try:
        yield f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        asyncio.run_coroutine_threadsafe(close(listening), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.mark.thorough
def test_certificates_follow_the_environment(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    with tls(provider_server, authority) as url:
        with pytest.raises(NetworkFault, match=r"certificate of .* is not trusted .*SSL_CERT_FILE"):
            send(get(f"{url}/openai/v1/batches"))
        assert provider_server.calls() == []
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        assert send(get(f"{url}/openai/v1/batches")).status == 200  # type: ignore[attr-defined]


def test_proxies_follow_the_environment(provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def proxy(host: Stranger) -> None:
        asked.append(host.path)
        host.give(200, b"{}")

    with stranger(proxy) as (url, _):
        monkeypatch.setenv("HTTP_PROXY", url)
        assert send(get("http://api.example.test/v1/batches")).status == 200  # type: ignore[attr-defined]
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        send(get(f"{provider_server.url}/openai/v1/batches"))

    assert asked == ["http://api.example.test/v1/batches"]
    assert len(provider_server.calls("GET")) == 1


def test_an_https_proxy_is_asked_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what it refuses never left: it is safe to try again."""
    lines: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                lines.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listening.getsockname()[1]}")
        with pytest.raises(NetworkFault) as fault:
            send(get("https://api.example.test/v1/batches"))
        thread.join()

    assert lines[0].startswith(b"CONNECT api.example.test:443 ")
    assert SECRET.encode() not in lines[0]
    assert not fault.value.acted
