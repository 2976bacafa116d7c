"""The only door to the network: sends the calls that flows ask for, and tells what became of them.

Certificates and proxies follow the environment (`SSL_CERT_FILE`, `HTTPS_PROXY`, `NO_PROXY`). What a provider sends is
data: its size is bounded, and a redirect to another host gets no header of ours. Nothing here logs or raises a body,
a header or a query. Lives on the engine's loop.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from batchling.core.model import Call, Headers, Request, Response, header

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    import httpx

CONNECT_SECONDS = 15.0
IDLE_SECONDS = 120.0
"""How long a connection may stay silent while it sends or receives."""

MOST_BYTES = 64 * 1024 * 1024
"""Of an answer that is held in memory: a list of jobs is far below."""
MOST_ROW_BYTES = 64 * 1024 * 1024 * 1024
"""Of a file of result rows, which goes to the disk: 50,000 images are below."""

_REDIRECTS = 5
_PIECE = 262_144
"""Bytes handed over at once, in both directions."""

_NOT_A_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]|^[ \t]|[ \t]\Z")

Keep = Callable[[bytes], Awaitable[None]]
"""Takes a piece of a result file."""


class NetworkFault(Exception):
    """A call got no whole answer. `acted` is false when it surely never reached the server."""

    def __init__(self, what: str, *, acted: bool) -> None:
        super().__init__(what)
        self.acted = acted


class Sender:
    """One pooled HTTP client. Every method belongs to the engine's loop thread."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None

    async def send(self, call: Call, keep: Keep | None = None) -> Response:
        """One attempt at a call, never repeated here. A success of a `rows` call goes to `keep`, piece by piece, and
        comes back without its body; of an `unpack` call the rows go there.

        Raises `NetworkFault` when there is no whole answer.
        """
        request = call.request
        for _ in range(_REDIRECTS):
            response = await self._exchange(request, call, keep)
            place = _redirected(request, response)
            if place is None:
                if call.unpack is not None and keep is not None and response.ok:
                    await keep(_unpacked(call.unpack, response))
                return response
            request = place
        raise NetworkFault("too many redirects", acted=True)

    async def _exchange(self, request: Request, call: Call, keep: Keep | None) -> Response:
        import httpx

        client = self._client
        if client is None:
            client = self._client = httpx.AsyncClient(
                verify=_certificates(*map(os.environ.get, ("SSL_CERT_FILE", "SSL_CERT_DIR"))),
                timeout=httpx.Timeout(IDLE_SECONDS, connect=CONNECT_SECONDS, pool=None),
                limits=httpx.Limits(max_connections=32, max_keepalive_connections=8, keepalive_expiry=30),
                headers={"user-agent": "batchling"},
            )
        headers, content = _message(request, call.chunks)
        try:
            async with client.stream(request.method, request.url, headers=headers, content=content) as answer:
                body = await _read(answer, call, keep)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol, httpx.ProxyError) as fault:
            raise NetworkFault(_words(fault), acted=False) from fault
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as fault:
            raise NetworkFault(_words(fault), acted=True) from fault
        received = tuple((name.lower(), value) for name, value in answer.headers.multi_items())
        return Response(answer.status_code, received, body)

    async def close(self) -> None:
        """Close the pool. Idempotent."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()


def sendable(headers: Headers) -> bool:
    """Whether HTTP can carry these headers."""
    return not any(_NOT_A_VALUE.search(value) for _, value in headers)


@lru_cache(maxsize=4)
def _certificates(*environment: str | None) -> ssl.SSLContext:
    """Whom we trust, as the environment says; reading it takes longer than all else that a scope does."""
    import httpx

    return httpx.create_ssl_context()


def _redirected(request: Request, response: Response) -> Request | None:
    """The call that a redirect asks for; None when the response is none that we follow. Only reading calls are
    redirected, none from https to http, and to another origin none of our headers goes along."""
    location = header(response.headers, "location")
    if request.method != "GET" or response.status not in (301, 302, 303, 307, 308) or not location:
        return None
    try:
        url = urljoin(request.url, location)
        here, there = urlsplit(request.url), urlsplit(url)
        origins = [(parts.scheme, parts.hostname, parts.port) for parts in (here, there)]
    except ValueError:
        return None
    if there.scheme not in ("http", "https") or (here.scheme == "https" and there.scheme == "http"):
        return None
    return Request("GET", url, request.headers if origins[0] == origins[1] else ())


def _message(
    request: Request, chunks: tuple[bytes, ...]
) -> tuple[list[tuple[bytes, bytes]], bytes | AsyncIterator[bytes] | None]:
    # The library takes texts of ASCII only, and quotes them when it does not.
    headers = [(name.encode(), value.encode()) for name, value in request.headers]
    if not chunks:
        return headers, request.body or None
    headers.append((b"content-length", b"%d" % sum(map(len, chunks))))
    return headers, _joined(chunks)


async def _joined(chunks: tuple[bytes, ...]) -> AsyncIterator[bytes]:
    """The chunks in pieces worth a system call each."""
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


async def _read(answer: httpx.Response, call: Call, keep: Keep | None) -> bytes:
    if call.rows and keep is not None and answer.is_success:
        await _keep_rows(answer, keep)
        return b""
    body = bytearray()
    async for chunk in answer.aiter_bytes():
        body += chunk
        if call.peek is not None and len(body) >= call.peek:
            return bytes(body[: call.peek])
        if len(body) > MOST_BYTES:
            raise NetworkFault(f"an answer of more than {MOST_BYTES:,} bytes", acted=True)
    return bytes(body)


def _unpacked(unpack: Callable[[bytes], bytes], response: Response) -> bytes:
    try:
        return unpack(response.body) + b"\n"
    except (ValueError, RecursionError) as fault:
        raise NetworkFault("results that cannot be read", acted=True) from fault


async def _keep_rows(answer: httpx.Response, keep: Keep) -> None:
    """Pass the body on in pieces. A newline more does no harm: the next file's first row begins a line then."""
    piece = bytearray()
    size = 0
    async for chunk in answer.aiter_bytes():
        piece += chunk
        size += len(chunk)
        if size > MOST_ROW_BYTES:
            raise NetworkFault(f"a result file of more than {MOST_ROW_BYTES:,} bytes", acted=True)
        if len(piece) >= _PIECE:
            await keep(bytes(piece))
            piece.clear()
    await keep(bytes(piece) + b"\n")


def _words(fault: Exception) -> str:
    """What happened, without the URL or anything else of the call."""
    return type(fault).__name__
