"""The only access to the network: sends the calls that flows request, and returns what became of them.

Our calls go the way of the program's own client (`core.way`), or the one that the environment describes. They are made
with httpcore, below the clients that tracing and logging libraries watch, since they are not the program's calls. What
a provider sends is data: its size is limited, and a redirect to another host gets none of our headers. Nothing here
logs or raises a body, a header or a query.

Lives on the engine's loop. Importing this module imports everything that a call needs. Do it in the caller's thread, so
that our threads never import anything.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from functools import lru_cache
from urllib.parse import quote, unquote, urljoin, urlsplit

import httpcore

from batchling.core import lenient
from batchling.core.model import Call, Headers, Pieces, Request, Response, header
from batchling.core.way import Way
from batchling.engine.decoding import ACCEPTED, decoder
from batchling.engine.pools import LOGIN_WANTED, Pools, refused_by_proxy, whole
from batchling.engine.wire import NetworkFault

__all__ = ["Keep", "NetworkFault", "Sender", "sendable"]

CONNECT_SECONDS = 15.0
IDLE_SECONDS = 120.0
"""Seconds that a connection may stay silent while it sends or receives."""

ANSWER_SECONDS = 300.0
"""Seconds that an answer may take after everything has been sent, in addition to the time that its length explains."""
SLOWEST = 4_000.0
"""Bytes per second of a slow answer: a modem is faster."""

MOST_BYTES = 64 * 1024 * 1024
"""Limit for an answer that is held in memory: a list of jobs is far smaller."""
MOST_ROW_BYTES = 64 * 1024 * 1024 * 1024
"""Limit for a file of result rows, which goes to disk: 50,000 images are smaller."""

_MOST_UNFOLDED = 200
"""How many times larger than the bytes sent a decompressed answer may be, once it exceeds `MOST_BYTES`. A row has a key
of 160 random bits, which no compression can shrink: honest answers stay below 20."""

_REDIRECTS = 5
_PIECE = 262_144
"""Bytes passed on at once, in both directions."""
_CHUNK = 256
"""What a chunk costs beyond its bytes, as a number of bytes."""

_NOT_A_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]|^[ \t]|[ \t]\Z")
_TARGET = "%/?:@!$&'()*+,;=~-._[]|^\\"
"""Characters that are not changed in a path and a query."""
_OURS = ((b"accept", b"*/*"), (b"connection", b"keep-alive"), (b"user-agent", b"batchling"))
_SET_HERE = frozenset({"accept-encoding", "content-length", "transfer-encoding"})

Keep = Callable[[bytes], Awaitable[None]]
"""Takes a piece of a result file."""


class Sender:
    """Has a pool of connections for each account and way. Every method belongs to the engine's loop thread; a forked
    child makes its own sender."""

    def __init__(self) -> None:
        self._pools = Pools()

    async def send(
        self, call: Call, keep: Keep | None = None, way: Way | None = None, home: str = "", account: str = ""
    ) -> Response:
        """Make one attempt at a call, on this way; None means the environment's. It is not repeated here. `home` is a
        URL of the host that the way was taken from, and `account` is the account that the call belongs to: accounts
        share no connection. If a `rows` call succeeds, its body goes to `keep`, piece by piece, and the response is
        returned without it; if an `unpack` call succeeds, its rows go there.

        Raises `NetworkFault` if there is no complete answer.
        """
        request = call.request
        for _ in range(_REDIRECTS):
            response = await self._exchange(request, call, keep, whole(way, request.url, home), account)
            place = _redirected(request, response)
            if place is None:
                if call.unpack is not None and keep is not None and response.ok:
                    await keep(await asyncio.to_thread(_unpacked, call.unpack, response))
                return response
            request = place
        raise NetworkFault("too many redirects", acted=True)

    async def _exchange(self, request: Request, call: Call, keep: Keep | None, way: Way, account: str) -> Response:
        url, host = _address(request.url)
        limit = asyncio.timeout(None if call.chunks else ANSWER_SECONDS)
        size = await _size(call.chunks) if call.chunks else len(request.body)
        headers = _headers(request, size)
        content = _joined(call.chunks, limit) if call.chunks else request.body
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
            raise NetworkFault(f"{host} took too long to answer", acted=True) from fault
        except httpcore.TimeoutException as fault:
            raise NetworkFault(f"{host} was silent for {IDLE_SECONDS:.0f} s", acted=True) from fault
        except httpcore.NetworkError as fault:
            raise NetworkFault(f"the connection to {host} was lost", acted=True) from fault
        except httpcore.ProtocolError as fault:
            raise NetworkFault(f"the answer of {host} was cut off, or is not HTTP", acted=True) from fault
        return Response(answer.status, received, body)

    async def close(self) -> None:
        """Close all pools. Idempotent."""
        await self._pools.close()


@lru_cache(maxsize=256)
def sendable(headers: Headers) -> bool:
    """Whether HTTP can carry these headers."""
    return not any(_NOT_A_VALUE.search(value) for _, value in headers)


# What is sent.


def _address(url: str) -> tuple[httpcore.URL, str]:
    """A URL in httpcore's form, and its host and port for people."""
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
    """The call that a redirect asks for; None if the response is not a redirect that we follow. Reading calls are never
    redirected from https to http, and none of our headers are sent to another origin. All other calls stay on their
    origin, and follow only redirects which mean that nothing has been done yet, as servers send them about a slash at
    the end of a path."""
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
    """A header that was read as Latin-1, decoded as UTF-8 if it is UTF-8."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _headers(request: Request, size: int) -> list[tuple[bytes, bytes]]:
    # The library accepts only ASCII strings.
    headers = [(name.encode(), value.encode()) for name, value in request.headers if name not in _SET_HERE]
    given = {name for name, _ in headers}
    headers += [pair for pair in _OURS if pair[0] not in given]
    headers.append((b"accept-encoding", ACCEPTED.encode()))
    parts = urlsplit(request.url)
    if parts.username is not None and b"authorization" not in given:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers.append((b"authorization", b"Basic " + base64.b64encode(login.encode())))
    if size or request.method in ("POST", "PUT", "PATCH"):
        headers.append((b"content-length", b"%d" % size))
    return headers


async def _size(chunks: Iterable[bytes]) -> int:
    """The length of a body in bytes. If its chunks have to be made for this, the loop gets its turn in between."""
    if isinstance(chunks, Pieces) and chunks.size is not None:
        return chunks.size
    size = portion = 0
    for chunk in chunks:
        size += len(chunk)
        portion += len(chunk) + _CHUNK
        if portion >= _PIECE:
            await asyncio.sleep(0)
            portion = 0
    return size


async def _joined(chunks: Iterable[bytes], limit: asyncio.Timeout) -> AsyncIterator[bytes]:
    """The chunks, joined to pieces that are worth a system call each. When all have been sent, the time limit for the
    answer starts."""
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
    """The decompressed body, for as long as it arrives at a minimum speed."""
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
                    raise ValueError("far too large for the bytes sent")
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
    """Pass the body on in pieces, as JSON Lines whatever its form. An extra newline does no harm: it makes the next
    file's first row start on a new line."""
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
            # What is too long to hold in memory is kept as it is.
            document = document and len(piece) <= MOST_BYTES
            if not document:
                await keep(bytes(piece))
                piece.clear()
    if document or (document is None and lenient.is_document(piece)):
        await keep(await asyncio.to_thread(_lines_of, piece))
    else:
        await keep(bytes(piece))
    await keep(b"\n")


def _lines_of(document: bytearray) -> bytes:
    try:
        return b"\n".join(lenient.lines_of(document))
    except ValueError:
        return bytes(document)
