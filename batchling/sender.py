"""The only door to the network: sends the calls that flows ask for, and tells what became of them.

Certificates and proxies follow the environment (`SSL_CERT_FILE`, `HTTPS_PROXY`, `NO_PROXY`). Nothing here logs or
raises a body, a header or a query. Lives on the engine's loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchling.core.model import Call, Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from batchling.cache import Sink

CONNECT_SECONDS = 15.0
IDLE_SECONDS = 120.0
"""How long a connection may stay silent while it sends or receives."""

_PIECE = 262_144
"""Bytes of an upload handed over at once."""


class NetworkFault(Exception):
    """A call got no whole answer. `acted` is false when it surely never reached the server."""

    def __init__(self, what: str, *, acted: bool) -> None:
        super().__init__(what)
        self.acted = acted


class Sender:
    """One pooled HTTP client. Every method belongs to the engine's loop thread."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None

    async def send(self, call: Call, sink: Sink | None = None) -> Response:
        """One attempt at a call. A success of a `rows` call is written to `sink` and comes back without its body.

        Raises `NetworkFault` when there is no whole answer.
        """
        import httpx

        client = self._client
        if client is None:
            client = self._client = httpx.AsyncClient(
                timeout=httpx.Timeout(IDLE_SECONDS, connect=CONNECT_SECONDS, pool=None),
                limits=httpx.Limits(max_connections=32, max_keepalive_connections=8, keepalive_expiry=30),
                headers={"user-agent": "batchling"},
            )
        try:
            request = call.request
            headers, content = _message(call)
            async with client.stream(request.method, request.url, headers=headers, content=content) as answer:
                body = await _read(answer, call, sink)
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


def _message(call: Call) -> tuple[list[tuple[str, str]], bytes | AsyncIterator[bytes] | None]:
    headers = list(call.request.headers)
    if not call.chunks:
        return headers, call.request.body or None
    headers.append(("content-length", str(sum(map(len, call.chunks)))))
    return headers, _joined(call.chunks)


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


async def _read(answer: httpx.Response, call: Call, sink: Sink | None) -> bytes:
    if call.rows and sink is not None and answer.is_success:
        last = b"\n"
        async for chunk in answer.aiter_bytes():
            if chunk:
                sink.write(chunk)
                last = chunk
        if not last.endswith(b"\n"):
            sink.write(b"\n")
        return b""
    if call.peek is None:
        return await answer.aread()
    body = b""
    async for chunk in answer.aiter_bytes():
        body += chunk
        if len(body) >= call.peek:
            break
    return body[: call.peek]


def _words(fault: Exception) -> str:
    """What happened, without the URL or anything else of the call."""
    return type(fault).__name__
