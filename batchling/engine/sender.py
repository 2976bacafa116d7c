"""The only door to the network: sends the calls that flows ask for, and tells what became of them.

Our calls go the way of the program's own client (`core.way`), or the one that the environment describes. They are made
with httpcore, below the clients that tracing and logging libraries watch: they are none of the program's calls. What a
provider sends is data: its size is bounded, and a redirect to another host gets no header of ours. Nothing here logs or
raises a body, a header or a query.

Lives on the engine's loop. Importing this module imports all that a call needs, so that no thread of ours imports
anything: import it in the caller's thread.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from urllib.parse import quote, unquote, urljoin, urlsplit

import httpcore

from batchling.core import lenient
from batchling.core.model import Call, Headers, Request, Response, header
from batchling.core.way import Way
from batchling.engine.decoding import ACCEPTED, decoder
from batchling.engine.pools import LOGIN_WANTED, Pools, refused_by_proxy, whole
from batchling.engine.wire import NetworkFault

__all__ = ["Keep", "NetworkFault", "Sender", "sendable"]

CONNECT_SECONDS = 15.0
IDLE_SECONDS = 120.0
"""How long a connection may stay silent while it sends or receives."""

ANSWER_SECONDS = 300.0
"""How long an answer may take from the end of what was sent, besides the time that its length explains."""
SLOWEST = 4_000.0
"""Bytes a second of an answer that takes its time: a modem has more."""

MOST_BYTES = 64 * 1024 * 1024
"""Of an answer that is held in memory: a list of jobs is far below."""
MOST_ROW_BYTES = 64 * 1024 * 1024 * 1024
"""Of a file of result rows, which goes to the disk: 50,000 images are below."""

_MOST_UNFOLDED = 200
"""How many times larger than what was sent an unpacked answer may be, above `MOST_BYTES`. A row has a key of 160 random
bits, which no compression makes smaller: honest ones stay below 20."""

_REDIRECTS = 5
_PIECE = 262_144
"""Bytes handed over at once, in both directions."""

_NOT_A_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]|^[ \t]|[ \t]\Z")
_TARGET = "%/?:@!$&'()*+,;=~-._[]|^\\"
"""What stays as it is in a path and a query."""
_OURS = ((b"accept", b"*/*"), (b"connection", b"keep-alive"), (b"user-agent", b"batchling"))
_SET_HERE = frozenset({"accept-encoding", "content-length", "transfer-encoding"})

Keep = Callable[[bytes], Awaitable[None]]
"""Takes a piece of a result file."""


class Sender:
    """A pool of connections for each account and way. Every method belongs to the engine's loop thread; a forked child
    makes its own."""

    def __init__(self) -> None:
        self._pools = Pools()

    async def send(
        self, call: Call, keep: Keep | None = None, way: Way | None = None, home: str = "", account: str = ""
    ) -> Response:
        """One attempt at a call, never repeated here, on this way; None means the environment's. `home` is a URL of the
        host that the way was taken for, and `account` whose call it is: accounts share no connection. A success of a
        `rows` call goes to `keep`, piece by piece, and comes back without its body; of an `unpack` call the rows go
        there.

        Raises `NetworkFault` when there is no whole answer.
        """
        request = call.request
        for _ in range(_REDIRECTS):
            response = await self._exchange(request, call, keep, whole(way, request.url, home), account)
            place = _redirected(request, response)
            if place is None:
                if call.unpack is not None and keep is not None and response.ok:
                    await keep(_unpacked(call.unpack, response))
                return response
            request = place
        raise NetworkFault("too many redirects", acted=True)

    async def _exchange(self, request: Request, call: Call, keep: Keep | None, way: Way, account: str) -> Response:
        url, host = _address(request.url)
        limit = asyncio.timeout(None if call.chunks else ANSWER_SECONDS)
        headers, content = _message(request, call.chunks, limit)
        limits = {"timeout": {"connect": CONNECT_SECONDS, "read": IDLE_SECONDS, "write": IDLE_SECONDS, "pool": None}}
        try:
            async with (
                limit,
                self._pools.on(way, account) as pool,
                pool.stream(request.method, url, headers=headers, content=content, extensions=limits) as answer,
            ):
                if answer.status == LOGIN_WANTED and way.proxy is not None and url.scheme == b"http":
                    raise refused_by_proxy(way.proxy, str(answer.status), host)
                received = tuple((_text(name).lower(), _text(value)) for name, value in answer.headers)
                body = await _read(answer, header(received, "content-encoding"), call, keep, limit)
        except httpcore.ProxyError as fault:
            assert way.proxy is not None
            raise refused_by_proxy(way.proxy, str(fault), host) from fault
        except TimeoutError as fault:
            raise NetworkFault(f"{host} took too long for its answer", acted=True) from fault
        except httpcore.TimeoutException as fault:
            raise NetworkFault(f"{host} was silent for {IDLE_SECONDS:.0f} s", acted=True) from fault
        except httpcore.NetworkError as fault:
            raise NetworkFault(f"the connection to {host} broke off", acted=True) from fault
        except httpcore.ProtocolError as fault:
            raise NetworkFault(f"the answer of {host} was cut off, or is no HTTP", acted=True) from fault
        return Response(answer.status, received, body)

    async def close(self) -> None:
        """Close all pools. Idempotent."""
        await self._pools.close()


def sendable(headers: Headers) -> bool:
    """Whether HTTP can carry these headers."""
    return not any(_NOT_A_VALUE.search(value) for _, value in headers)


# What is sent.


def _address(url: str) -> tuple[httpcore.URL, str]:
    """A URL as httpcore takes it, and its host and port for people."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        name = host.encode("ascii" if host.isascii() else "idna")
    except ValueError:
        raise NetworkFault("the address cannot be called", acted=False) from None
    if not host or parts.scheme not in ("http", "https"):
        raise NetworkFault("the address cannot be called", acted=False)
    target = quote(parts.path or "/", safe=_TARGET) + (f"?{quote(parts.query, safe=_TARGET)}" if parts.query else "")
    shown = f"[{host}]" if ":" in host else host
    place = shown if port is None else f"{shown}:{port}"
    return httpcore.URL(scheme=parts.scheme, host=name, port=port, target=target), place


def _redirected(request: Request, response: Response) -> Request | None:
    """The call that a redirect asks for; None when the response is none that we follow. Reading calls are never
    redirected from https to http, and to another origin none of our headers goes along. All others stay on their
    origin, and follow only what says that nothing was done yet, as servers do about a slash at the end of a path."""
    location = header(response.headers, "location")
    reads = request.method == "GET"
    if not location or response.status not in ((301, 302, 303, 307, 308) if reads else (301, 307, 308)):
        return None
    try:
        url = urljoin(request.url, _as_utf8(location))
        here, there = urlsplit(request.url), urlsplit(url)
        origins = [(parts.scheme, parts.hostname, parts.port) for parts in (here, there)]
    except ValueError:
        return None
    same = origins[0] == origins[1]
    if not reads:
        return Request(request.method, url, request.headers, request.body) if same else None
    if there.scheme not in ("http", "https") or (here.scheme == "https" and there.scheme == "http"):
        return None
    return Request("GET", url, request.headers if same else ())


def _as_utf8(value: str) -> str:
    """A header that was read as Latin-1, as UTF-8 if it is that."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _message(
    request: Request, chunks: tuple[bytes, ...], limit: asyncio.Timeout
) -> tuple[list[tuple[bytes, bytes]], bytes | AsyncIterator[bytes]]:
    # The library takes texts of ASCII only.
    headers = [(name.encode(), value.encode()) for name, value in request.headers if name not in _SET_HERE]
    given = {name for name, _ in headers}
    headers += [pair for pair in _OURS if pair[0] not in given]
    headers.append((b"accept-encoding", ACCEPTED.encode()))
    parts = urlsplit(request.url)
    if parts.username is not None and b"authorization" not in given:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers.append((b"authorization", b"Basic " + base64.b64encode(login.encode())))
    size = sum(map(len, chunks)) if chunks else len(request.body)
    if size or request.method in ("POST", "PUT", "PATCH"):
        headers.append((b"content-length", b"%d" % size))
    return headers, _joined(chunks, limit) if chunks else request.body


async def _joined(chunks: tuple[bytes, ...], limit: asyncio.Timeout) -> AsyncIterator[bytes]:
    """The chunks in pieces worth a system call each. When all are sent, the time for the answer begins."""
    piece: list[bytes] = []
    size = 0
    for chunk in chunks:
        piece.append(chunk)
        size += len(chunk)
        if size >= _PIECE:
            yield b"".join(piece)
            piece, size = [], 0
    if piece:
        yield b"".join(piece)
    limit.reschedule(asyncio.get_running_loop().time() + ANSWER_SECONDS)


# What is received.


def _text(value: bytes) -> str:
    return value.decode("latin-1")


async def _read(
    answer: httpcore.Response, encoding: str | None, call: Call, keep: Keep | None, limit: asyncio.Timeout
) -> bytes:
    async with aclosing(_decoded(answer, encoding, limit)) as pieces:
        if call.rows and keep is not None and 200 <= answer.status < 300:
            await _keep_rows(pieces, keep)
            return b""
        body = bytearray()
        async for piece in pieces:
            body += piece
            if call.peek is not None and len(body) >= call.peek:
                return bytes(body[: call.peek])
            if len(body) > MOST_BYTES:
                raise NetworkFault(f"an answer of more than {MOST_BYTES:,} bytes", acted=True)
        return bytes(body)


async def _decoded(
    answer: httpcore.Response, encoding: str | None, limit: asyncio.Timeout
) -> AsyncGenerator[bytes, None]:
    """The body, unpacked, for as long as it goes on at some speed."""
    sent = unfolded = 0
    began = asyncio.get_running_loop().time()
    try:
        unfolding = decoder(encoding)
        async for chunk in answer.aiter_stream():
            sent += len(chunk)
            limit.reschedule(began + ANSWER_SECONDS + sent / SLOWEST)
            for piece in unfolding.feed(chunk):
                unfolded += len(piece)
                if unfolded > max(MOST_BYTES, _MOST_UNFOLDED * sent):
                    raise ValueError("far too large for what was sent")
                yield piece
        unfolding.end()
    except ValueError as fault:
        raise NetworkFault(f"a compressed answer that is {fault}", acted=True) from fault


def _unpacked(unpack: Callable[[bytes], bytes], response: Response) -> bytes:
    try:
        return unpack(response.body) + b"\n"
    except (ValueError, RecursionError) as fault:
        raise NetworkFault("results that cannot be read", acted=True) from fault


async def _keep_rows(pieces: AsyncIterator[bytes], keep: Keep) -> None:
    """Pass the body on in pieces, as JSON Lines whatever it is. A newline more does no harm: the next file's first row
    begins a line then."""
    piece = bytearray()
    size = 0
    document: bool | None = None
    async for part in pieces:
        piece += part
        size += len(part)
        if size > MOST_ROW_BYTES:
            raise NetworkFault(f"a result file of more than {MOST_ROW_BYTES:,} bytes", acted=True)
        if len(piece) >= _PIECE:
            if document is None:
                document = lenient.is_document(piece)
            # What is too long to be held in memory is kept as it is.
            document = document and len(piece) <= MOST_BYTES
            if not document:
                await keep(bytes(piece))
                piece.clear()
    whole = document or (document is None and lenient.is_document(piece))
    await keep((_lines_of(piece) if whole else bytes(piece)) + b"\n")


def _lines_of(document: bytearray) -> bytes:
    try:
        return b"\n".join(lenient.lines_of(document))
    except ValueError:
        return bytes(document)
