"""The hook of httpx and of httpx2, sync and async: the library is an argument.

`Client._transport_for_url` is patched to return our transport around the real one. There the request is final
(`auth=` flows and request hooks have run), every transport of the user is below us, and the client itself sets
`request`, `elapsed`, cookies and response hooks on our answer. Timeouts live in the real transport, so an
answered call has none. Converts and asks; holds no policy.
"""

from __future__ import annotations

from http import HTTPStatus
from types import ModuleType
from typing import Any

from batchling.core.model import Request, Response
from batchling.hooks.gate import RealTime, decided, gate_for
from batchling.hooks.patching import Patch
from batchling.hooks.waiting import wait, wait_async


def patches(library: ModuleType) -> list[Patch]:
    """What to patch in `library`, which is httpx or speaks its API."""
    sync_transport, async_transport = _transports(library)

    def wrap(kind: type) -> Any:
        def transport_for_url(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
            return kind(wrapped(*args, **kwargs))

        return transport_for_url

    return [
        Patch(library.Client, "_transport_for_url", wrap(sync_transport)),
        Patch(library.AsyncClient, "_transport_for_url", wrap(async_transport)),
    ]


def to_request(native: Any, url: str) -> Request:
    """Ours from the library's request, whose body is held as bytes; `url` is its URL as text."""
    encoding = native.headers.encoding
    headers = tuple((name.lower().decode(encoding), value.decode(encoding)) for name, value in native.headers.raw)
    return Request(native.method.upper(), url, headers, native.read())


def to_native(library: Any, response: Response) -> Any:
    """The library's response, unread and open, as its own transports return one."""
    headers = [*response.headers, ("content-length", str(len(response.body)))]
    return library.Response(
        response.status,
        headers=headers,
        stream=library.ByteStream(response.body),
        extensions={"http_version": b"HTTP/1.1", "reason_phrase": _reason(response.status)},
    )


def _reason(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""


def _unreadable(library: Any, native: Any) -> str | None:
    """Why the body cannot be looked at without using it up; None when it can."""
    if native.headers.get("content-type", "").startswith("multipart/"):
        return "multipart"
    return None if isinstance(native.stream, library.ByteStream) else "streaming upload"


def _ask(library: Any, native: Any) -> Any:
    """The future answer of a request; False when no scope wants it, None when a scope lets it pass."""
    url = str(native.url)
    gate = gate_for(native.method, url)
    if gate is None:
        return False
    if reason := _unreadable(library, native):
        gate.bypass(native.method, url, reason)
        return None
    return gate.submit(to_request(native, url))


def _transports(library: Any) -> tuple[type, type]:
    """Our two transport classes for a library; each wraps the transport that the client chose for one request."""

    class BatchingTransport(library.BaseTransport):  # type: ignore[misc]
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def handle_request(self, request: Any) -> Any:
            future = _ask(library, request)
            if future is False:
                return self._inner.handle_request(request)
            if future is not None:
                try:
                    return to_native(library, wait(future))
                except RealTime:
                    pass
            token = decided.set(True)
            try:
                return self._inner.handle_request(request)
            finally:
                decided.reset(token)

        def close(self) -> None:
            self._inner.close()

    class AsyncBatchingTransport(library.AsyncBaseTransport):  # type: ignore[misc]
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        async def handle_async_request(self, request: Any) -> Any:
            future = _ask(library, request)
            if future is False:
                return await self._inner.handle_async_request(request)
            if future is not None:
                try:
                    return to_native(library, await wait_async(future))
                except RealTime:
                    pass
            token = decided.set(True)
            try:
                return await self._inner.handle_async_request(request)
            finally:
                decided.reset(token)

        async def aclose(self) -> None:
            await self._inner.aclose()

    return BatchingTransport, AsyncBatchingTransport
