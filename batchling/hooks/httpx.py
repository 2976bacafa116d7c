"""The hook of httpx and httpx2, sync and async; the library is an argument.

It decides about a call in the library's own network transport, `HTTPTransport.handle_request`. By then all of the
program's transports have run, with their retries, tokens, rewriting and caches, and they see our answer. In-process
transports (`MockTransport`, `ASGITransport`, `WSGITransport`) never get there. `Client._transport_for_url` is patched
as well, for URLs that a scope wants and the program's own transports: if such a call reaches none of our hooks, it is
reported. Timeouts apply further down, so an answered call has none. The hook converts and queries; it holds no policy.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from types import MethodType, ModuleType, SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from batchling.core.model import Headers, Request, Response
from batchling.core.way import Proxy, Way
from batchling.hooks.answers import headers_of, reason_of, status_of
from batchling.hooks.interception import OWN_TRANSPORT, REPLACED, Mark, gate_for, marked, offer, refuse
from batchling.hooks.patching import Patch, is_of
from batchling.hooks.waiting import wait, wait_async
from batchling.system.gate import RealTime, current, ourselves

_CORES = ("httpcore", "httpcore2")
"""The packages that httpx and httpx2 use for sending."""


def patches(library: ModuleType) -> list[Patch]:
    """What to patch in `library`, which is httpx or has the same API."""

    def handle(wrapped: Any, transport: Any, args: Any, kwargs: Any) -> Any:
        native = args[0] if args else kwargs["request"]
        if (future := _ask(library, transport, native, wrapped)) is not None:
            try:
                answer = wait(future)
            except RealTime:
                pass
            else:
                if type(wrapped) is MethodType:
                    return to_native(library, answer)
                return networks[0].beneath(answering(library.HTTPTransport, library, answer))(native)
        return wrapped(*args, **kwargs)

    async def handle_async(wrapped: Any, transport: Any, args: Any, kwargs: Any) -> Any:
        native = args[0] if args else kwargs["request"]
        del args, kwargs  # thousands of calls wait here: the fewer objects each of them has, the better
        if (future := _ask(library, transport, native, wrapped)) is not None:
            try:
                answer = await wait_async(future)
            except RealTime:
                pass
            else:
                if type(wrapped) is MethodType:
                    return to_native(library, answer)
                return await networks[1].beneath(answering(library.AsyncHTTPTransport, library, answer))(native)
        return await wrapped(native)

    networks = [
        Patch(library.HTTPTransport, "handle_request", handle),
        Patch(library.AsyncHTTPTransport, "handle_async_request", handle_async),
    ]
    follow = _following(library, networks)
    return [
        *networks,
        Patch(library.Client, "_transport_for_url", follow, vital=False),
        Patch(library.AsyncClient, "_transport_for_url", follow, vital=False),
    ]


def to_request(native: Any, url: str) -> Request:
    """Convert the library's request, whose body is held as bytes, to our `Request`; `url` is its URL as text. The
    length is left out: it would make the headers of each call others."""
    raw = tuple([pair for pair in native.headers.raw if pair[0] != b"Content-Length"])
    try:
        headers = _decoded(raw, "ascii")
    except UnicodeDecodeError:
        headers = _decoded(raw, native.headers.encoding)
    return Request(native.method.upper(), url, headers, native.read())


@lru_cache(maxsize=256)
def _decoded(raw: tuple[tuple[bytes, bytes], ...], encoding: str) -> Headers:
    return tuple([(name.lower().decode(encoding), value.decode(encoding)) for name, value in raw])


def to_native(library: Any, response: Response) -> Any:
    """The library's response, unread and open, as its own transports return it."""
    status = status_of(response)
    return library.Response(
        status,
        headers=headers_of(response),
        stream=library.ByteStream(response.body),
        extensions={"http_version": b"HTTP/1.1", "reason_phrase": reason_of(status).encode()},
    )


class _AnsweringPool:
    """The part of an httpcore pool that the library's network transports need. It holds one answer."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def handle_request(self, _: object) -> Any:
        return self._answer

    async def handle_async_request(self, _: object) -> Any:
        return self._answer


def answering(kind: Any, library: Any, response: Response) -> Any:
    """A network transport without a network, for one answer. A tracer that wrapped the library's transport before us
    still sees the call and the answer."""
    native = to_native(library, response)
    transport = kind.__new__(kind)
    transport._pool = _AnsweringPool(
        SimpleNamespace(
            status=native.status_code, headers=native.headers.raw, stream=native.stream, extensions=native.extensions
        )
    )
    return transport


_ways: WeakKeyDictionary[Any, Way] = WeakKeyDictionary()
"""The way of each pool seen so far: thousands of waiting calls share the same one."""


def way_of(transport: Any) -> Way | None:
    """How one of the library's network transports reaches a server; None if that cannot be seen."""
    pool: Any = getattr(transport, "_pool", None)
    if not hasattr(pool, "_ssl_context"):
        return None
    if (way := _ways.get(pool)) is None:
        options = getattr(pool, "_socket_options", None)
        way = _ways[pool] = Way(
            pool._ssl_context,
            _proxy(pool),
            getattr(pool, "_uds", None),
            getattr(pool, "_local_address", None),
            tuple(map(tuple, options)) if options else (),
        )
    return way


def _proxy(pool: Any) -> Proxy | None:
    url = getattr(pool, "_proxy_url", None)
    if url is None:
        return None
    host = f"[{url.host.decode()}]" if b":" in url.host else url.host.decode()
    port = f":{url.port}" if url.port else ""
    return Proxy(
        f"{url.scheme.decode()}://{host}{port}",
        tuple((name.lower(), value) for name, value in getattr(pool, "_proxy_headers", ())),
        getattr(pool, "_proxy_auth", None),
        getattr(pool, "_proxy_ssl_context", None),
    )


def _unreadable(library: Any, native: Any) -> str | None:
    """Why the body cannot be read without consuming it; None if it can."""
    if isinstance(native.stream, library.ByteStream):
        return None
    is_form = native.headers.get("content-type", "").startswith("multipart/")
    return "multipart" if is_form else "streaming upload"


def _unsendable(native: Any, request: Request) -> str | None:
    """Why batchling cannot send this request itself; None if it can."""
    for name, value in request.headers:
        if name == "content-encoding":
            return "compressed body"
        if name == "content-type" and value.startswith("multipart/"):
            return "multipart"
    return "a custom server name (SNI)" if "sni_hostname" in native.extensions else None


def _is_replaced(library: Any, transport: Any, wrapped: Any) -> bool:
    """Whether the layer below is not the network: in a test with a mock, no batch may be submitted."""
    if not is_of((library.__name__,), wrapped):
        return True
    kind = type(getattr(transport, "_pool", None))
    return kind.__module__ in _CORES and not is_of(_CORES, getattr(kind, wrapped.__name__, None))


def _ask(library: Any, transport: Any, native: Any, wrapped: Any) -> Any:
    """The future answer of a request, or None if it goes real time."""
    url = str(native.url)
    gate = gate_for(native.method, url)
    if gate is None:
        return None
    reason = REPLACED if _is_replaced(library, transport, wrapped) else gate.reason_against(native.method, url)
    reason = reason or _unreadable(library, native)
    if reason is None:
        request = to_request(native, url)
        if (reason := _unsendable(native, request)) is None:
            return offer(gate, request, way_of(transport))
    refuse(gate, native.method, url, reason)
    return None


def _following(library: Any, ours: list[Patch]) -> Any:
    """The wrapper of `_transport_for_url`. It returns the program's own object, except if the URL is wanted and the
    transport may lead anywhere: the program's own, or any at all once another library has replaced one of `ours`."""
    in_process = (library.MockTransport, library.ASGITransport, library.WSGITransport)
    networks = (library.HTTPTransport, library.AsyncHTTPTransport)
    own: WeakKeyDictionary[type, bool] = WeakKeyDictionary()
    ends_here: WeakSet[Any] = WeakSet()
    """Transports that have led to a hook before. If one answers without a hook, from a cache for example, that is its
    own business."""
    follower, async_follower = _followers(library, ends_here)

    def is_own(kind: type) -> bool:
        """Whether the program's own code affects how this kind of transport handles a request."""
        if (known := own.get(kind)) is None:
            names = ("handle_request", "handle_async_request")
            owner = next((each for each in kind.__mro__ if any(name in each.__dict__ for name in names)), None)
            known = own[kind] = owner not in networks
        return known

    def transport_for_url(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        transport = wrapped(*args, **kwargs)
        kind = type(transport)
        if (
            # The usual case first: this is part of the price of every call of the program.
            ((kind in networks or not is_own(kind)) and ours[0].is_outermost() and ours[1].is_outermost())
            or isinstance(transport, in_process)
            or _is_test_client(transport)
        ):
            return transport
        gate = current()
        if gate is None or ourselves.get() or not gate.wants("POST", str(args[0] if args else kwargs["url"])):
            return transport
        return (async_follower if isinstance(client, library.AsyncClient) else follower)(transport)

    return transport_for_url


def _is_test_client(transport: Any) -> bool:
    return type(transport).__module__.startswith("starlette.")


def _followers(library: Any, ends_here: WeakSet[Any]) -> tuple[type, type]:
    """Our two transports, which wrap one of the program's for one request."""

    class Follower:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self.__dict__["_inner"], name)

        def _mark(self, native: Any) -> Mark:
            return Mark(native.method, str(native.url), None if _unreadable(library, native) else native.read())

        def _look_back(self, mark: Mark) -> None:
            with suppress(TypeError):  # a transport that is not hashable
                if mark.reached:
                    ends_here.add(self._inner)
                elif self._inner in ends_here:
                    return
            if not mark.reached and (gate := gate_for(mark.method, mark.url)) is not None:
                gate.bypass(mark.method, mark.url, OWN_TRANSPORT)

    class SyncFollower(Follower, library.BaseTransport):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            mark = self._mark(request)
            token = marked.set(mark)
            try:
                answer = self._inner.handle_request(request)
            finally:
                marked.reset(token)
            self._look_back(mark)
            return answer

        def close(self) -> None:
            self._inner.close()

    class AsyncFollower(Follower, library.AsyncBaseTransport):  # type: ignore[misc]
        async def handle_async_request(self, request: Any) -> Any:
            mark = self._mark(request)
            token = marked.set(mark)
            try:
                answer = await self._inner.handle_async_request(request)
            finally:
                marked.reset(token)
            self._look_back(mark)
            return answer

        async def aclose(self) -> None:
            await self._inner.aclose()

    return SyncFollower, AsyncFollower
