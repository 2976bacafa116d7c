"""Limits hold before the cost has arisen: in memory, on the disk, and in time."""

from __future__ import annotations

import asyncio
import gzip
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler

import pytest

from batchling.core.model import Call, Request, Response
from batchling.engine import sender
from batchling.engine.decoding import decoder
from batchling.engine.sender import NetworkFault, Sender
from tests.security.servers import Quiet, serving

MB = 1_000_000
ZEROS = gzip.compress(bytes(300 * MB), 1)


def twice(data: bytes) -> bytes:
    return gzip.compress(data)


BODIES = {
    "gzip": (ZEROS, "gzip"),
    "twice": (twice(ZEROS), "gzip, gzip"),
    "deflate": (zlib.compress(bytes(300 * MB), 1), "deflate"),
    "without a header": (ZEROS, ""),
    "named once, packed twice": (twice(ZEROS), "gzip"),
    "three times": (twice(twice(ZEROS)), "gzip, gzip, gzip"),
    "a hundred times": (twice(ZEROS), ", ".join(["gzip"] * 100)),
}


class Handler(Quiet):
    body = b""
    coding = ""
    drip: Callable[[BaseHTTPRequestHandler], None] | None = None

    def do_GET(self) -> None:
        if (drip := type(self).drip) is not None:
            drip(self)
            return
        self.send_response(200)
        if self.coding:
            self.send_header("Content-Encoding", self.coding)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        with suppress(OSError):  # the client has had enough
            self.wfile.write(self.body)
        self.close_connection = True

    do_POST = do_GET


@pytest.fixture
def server() -> Iterator[tuple[str, type[Handler]]]:
    kind = type("One", (Handler,), {})
    with serving(kind) as url:
        yield url, kind


def send(call: Call, kept: list[int] | None = None) -> Response:
    async def main() -> Response:
        async def keep(piece: bytes) -> None:
            assert kept is not None
            kept.append(len(piece))

        door = Sender()
        try:
            return await door.send(call, None if kept is None else keep)
        finally:
            await door.close()

    return asyncio.run(main())


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("rows", [False, True], ids=["a poll", "rows"])
def test_a_bomb(server: tuple[str, type[Handler]], name: str, rows: bool) -> None:
    url, handler = server
    handler.body, handler.coding = BODIES[name]
    kept: list[int] = []
    tracemalloc.start()
    try:
        with pytest.raises(NetworkFault, match=r"more than|too large|too many times"):
            send(Call(Request("GET", url), rows=rows), kept if rows else None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < sender.MOST_BYTES * 2.5, f"{peak:,}"
    assert sum(kept) <= sender.MOST_BYTES + 2 * 262_144


@pytest.mark.thorough
def test_honest_rows_are_no_bomb(server: tuple[str, type[Handler]]) -> None:
    """Rows of nothing but a key and the same answer, as small as they get."""
    import random

    url, handler = server
    keys = random.Random(1)
    row = b'{"custom_id":"%040x-0","response":{"status_code":200,"body":{"text":"' + b"no " * 300 + b'"}}}\n'
    lines = b"".join(row % keys.getrandbits(160) for _ in range(70_000))
    assert len(lines) > sender.MOST_BYTES
    handler.body, handler.coding = gzip.compress(lines, 9), "gzip"
    kept: list[int] = []
    assert send(Call(Request("GET", url), rows=True), kept).ok
    assert sum(kept) == len(lines) + 1


def dripping(pieces: bytes, seconds: float, head: bool = False) -> Callable[[BaseHTTPRequestHandler], None]:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        start = b"HTTP/1.1 200 OK\r\n" + (b"" if head else b"Content-Length: 100000\r\n\r\n")
        try:
            handler.wfile.write(start)
            for _ in range(200):
                handler.wfile.write(pieces)
                threading.Event().wait(seconds)
        except OSError:
            pass
        handler.close_connection = True

    return drip


@pytest.mark.thorough
@pytest.mark.parametrize("head", [False, True], ids=["body", "headers"])
@pytest.mark.parametrize("kind", ["poll", "rows", "create", "upload"])
def test_what_trickles_in_has_an_end(
    server: tuple[str, type[Handler]], monkeypatch: pytest.MonkeyPatch, kind: str, head: bool
) -> None:
    monkeypatch.setattr(sender, "ANSWER_SECONDS", 0.3)
    url, handler = server
    handler.drip = staticmethod(dripping(b"x: y\r\n" if head else b"x", 0.02, head))
    call = {
        "poll": Call(Request("GET", url)),
        "rows": Call(Request("GET", url), rows=True),
        "create": Call(Request("POST", url, (), b"{}"), repeatable=False),
        "upload": Call(Request("POST", url), (b"a", b"b")),
    }[kind]
    with pytest.raises(NetworkFault, match="took too long to answer") as caught:
        send(call, [] if kind == "rows" else None)
    assert caught.value.acted


@pytest.mark.thorough
def test_a_slow_line_goes_on(server: tuple[str, type[Handler]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "ANSWER_SECONDS", 0.2)
    url, handler = server
    handler.drip = staticmethod(dripping(b"x" * 499 + b"\n", 0.01))  # 50 kB/s, for two seconds
    kept: list[int] = []
    assert send(Call(Request("GET", url), rows=True), kept).ok
    assert sum(kept) == 100_001


def test_a_layer_too_many() -> None:
    for said in ("gzip, gzip", "identity, gzip, br", "gzip"):
        decoder(said)
    with pytest.raises(ValueError, match="too many times"):
        decoder("gzip, x-gzip, deflate")
