"""The hook of aiohttp. It decides about a call when the call requests a connection, in `BaseConnector.connect`.

By then the request is final: session headers, base URL, parameters, cookies and JSON are merged, and the program's
middlewares have run. An answered call gets a connection without a network (`batchling.hooks.wireless`), so the library
itself writes the request, parses our answer, and builds its response. A call that is let through simply continues.

aiohttp's limit on the total time covers all of this, so `ClientSession._request` is patched as well: it lifts the limit
from a call that a scope may take. If the call is let through, the limit is set again, to the time that is left. The
hook converts and queries; it holds no policy.
"""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from collections.abc import Callable
from contextvars import ContextVar
from functools import lru_cache
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from batchling.core.model import Request, Response
from batchling.core.way import Proxy, Way
from batchling.hooks.answers import wire
from batchling.hooks.interception import gate_for, offer, refuse, shared_headers
from batchling.hooks.patching import Patch
from batchling.hooks.waiting import wait_async
from batchling.hooks.wireless import connection
from batchling.system.gate import Gate, RealTime, current, ourselves
from batchling.system.pending import Pending

_YEARS = 3e8
"""Seconds; longer than any call takes. As the limit of a call, this very object shows that its own one was lifted."""

OWN_CONNECTOR = "the program's own connector"

_CONNECTING = ("_create_connection", "_create_direct_connection", "_create_proxy_connection", "_wrap_create_connection")
"""The methods that a connector overrides if it reaches servers in its own way."""


class _Lift:
    """One call's limit on its total time, in seconds, lifted until the call is let through; None or 0: no limit."""

    __slots__ = ("_since", "_total", "reached", "waited")

    def __init__(self, total: float | None) -> None:
        self.waited = 0.0
        """Seconds spent waiting for a batch, which do not count."""
        self.reached = False
        """Whether the call has reached a connector that we have patched."""
        self._total = total
        self._since = time.monotonic()

    def set_again(self, timer: Any) -> Callable[[], object]:
        """Have aiohttp's timer end the call when its remaining time is up; return a function that undoes this."""
        if not self._total:
            return lambda: None
        left = self._total - (time.monotonic() - self._since - self.waited)
        end = asyncio.get_running_loop().call_later(max(left, 0.0), timer.timeout)
        return end.cancel


_lifted: ContextVar[_Lift | None] = ContextVar("batchling_lifted", default=None)


def patches(aiohttp: ModuleType) -> list[Patch]:
    """What to patch in aiohttp."""

    async def request(wrapped: Any, session: Any, args: Any, kwargs: Any) -> Any:
        call = _wanted(session, *args, **kwargs)
        if call is None:
            try:
                return await wrapped(*args, **kwargs)
            finally:
                del args, kwargs
        limits = _limits(aiohttp, session, kwargs)
        lift, enclosing = _Lift(limits.total), _lifted.get()
        gate, method, url = call
        # Thousands of calls wait here: the fewer objects each of them has, the better.
        del session, call
        _lifted.set(lift)
        try:
            kwargs["timeout"] = _without_total(limits)
            try:
                answering = wrapped(*args, **kwargs)
            finally:
                del wrapped, args, kwargs
            answer = await answering
        finally:
            _lifted.set(enclosing)
        if not lift.reached:
            refuse(gate, method, url, OWN_CONNECTOR)
        return answer

    async def connect(wrapped: Any, connector: Any, args: Any, kwargs: Any) -> Any:
        native, traces, limits = _asked(*args, **kwargs)
        del args, kwargs
        lift = _lifted.get()
        if lift is not None and limits.total is not _YEARS:  # it belongs to an enclosing call
            lift = None
        if lift is not None:
            lift.reached = True
        future = _ask(aiohttp, connector, native, limited=lift is None and bool(limits.total))
        if future is not None:
            since = time.monotonic()
            try:
                return connection(aiohttp, native, wire(await wait_async(future)))
            except RealTime:
                if lift is not None:
                    lift.waited += time.monotonic() - since
        if lift is None:
            return await wrapped(native, traces, limits)
        undo = lift.set_again(native._timer)
        try:
            made = await wrapped(native, traces, limits)
        except BaseException:
            undo()
            raise
        made.add_callback(undo)
        return made

    return [
        Patch(aiohttp.ClientSession, "_request", request),
        Patch(aiohttp.BaseConnector, "connect", connect),
    ]


def to_request(native: Any, body: bytes) -> Request:
    """Convert a finished ClientRequest and its body to our `Request`."""
    return Request(native.method.upper(), str(native.url), shared_headers(native.headers.items()), body)


_ways: WeakKeyDictionary[Any, dict[object, Way | str]] = WeakKeyDictionary()
"""The ways of each connector seen so far: one for each setting of TLS."""


def way_of(aiohttp: Any, connector: Any, native: Any) -> Way | str:
    """How a connector reaches a server, or why batchling cannot reach it the same way."""
    if native.proxy is not None:
        return _way_of(aiohttp, connector, native)
    known = _ways.setdefault(connector, {})
    setting = (native.ssl, native.is_ssl(), getattr(native, "server_hostname", None))
    if (way := known.get(setting)) is None:
        way = known[setting] = _way_of(aiohttp, connector, native)
    return way


def _way_of(aiohttp: Any, connector: Any, native: Any) -> Way | str:
    if isinstance(connector, aiohttp.UnixConnector):
        return Way(uds=connector.path)
    if not isinstance(connector, aiohttp.TCPConnector) or _connects_itself(aiohttp, connector):
        return OWN_CONNECTOR
    if connector._get_fingerprint(native) is not None:
        return "a certificate pinned by its fingerprint"
    if getattr(native, "server_hostname", None) is not None:
        return "a custom server name (SNI)"
    local = getattr(connector, "_local_addr_infos", None)
    return Way(
        connector._get_ssl_context(native),
        None if native.proxy is None else _proxy(native),
        local_address=local[0][-1][0] if local else None,
    )


def _connects_itself(aiohttp: Any, connector: Any) -> bool:
    kind = type(connector)
    library = aiohttp.TCPConnector
    resolver = getattr(connector, "_resolver", None)
    return (
        any(getattr(kind, name, None) is not getattr(library, name, None) for name in _CONNECTING)
        or getattr(connector, "_socket_factory", None) is not None
        or (resolver is not None and not type(resolver).__module__.startswith("aiohttp."))
    )


def _proxy(native: Any) -> Proxy:
    headers = [(name.lower().encode(), value.encode()) for name, value in (native.proxy_headers or {}).items()]
    if native.proxy_auth is not None:
        headers.append((b"proxy-authorization", native.proxy_auth.encode().encode()))
    elif native.proxy.user is not None:
        login = f"{native.proxy.user}:{native.proxy.password or ''}"
        headers.append((b"proxy-authorization", b"Basic " + b64encode(login.encode())))
    return Proxy(str(native.proxy.origin()), tuple(headers))


def _wanted(session: Any, method: str, str_or_url: Any, **_: Any) -> tuple[Gate, str, str] | None:
    """The scope that may take this call, with the method and the URL as far as they are known before the request is
    finished. None for every other call, and for invalid arguments, which aiohttp itself rejects."""
    gate = current()
    if gate is None or ourselves.get():
        return None
    try:
        method, url = method.upper(), str(session._build_url(str_or_url))
    except Exception:
        return None
    return (gate, method, url) if gate.wants(method, url) else None


def _ask(aiohttp: Any, connector: Any, native: Any, *, limited: bool) -> Pending[Response] | None:
    """The future answer of a request, or None if it goes real time. `limited`: its total time limit still applies."""
    url = str(native.url)
    gate = gate_for(native.method, url)
    if gate is None:
        return None
    if (known := gate.reason_against(native.method, url)) is not None:
        refuse(gate, native.method, url, known)
        return None
    body = _body(aiohttp, native)
    way = way_of(aiohttp, connector, native)
    if limited:
        why = "aiohttp's time limit could not be lifted: a middleware or another library is in between"
    elif isinstance(body, bytes) and isinstance(way, Way):
        return offer(gate, to_request(native, body), way)
    else:
        why = body if isinstance(body, str) else str(way)
    refuse(gate, native.method, url, why)
    return None


def _body(aiohttp: Any, native: Any) -> bytes | str:
    """The body of a request, or why it cannot be read without consuming it."""
    if "content-encoding" in native.headers:
        return "compressed body"
    if "expect" in native.headers:
        return "Expect: 100-continue"
    body = getattr(native, "body", b"")
    if isinstance(body, aiohttp.MultipartWriter):
        return "multipart"
    # BytesPayload and its subclasses hold their bytes in `_value`; before 3.13, plain bytes were kept as they were.
    held = body if isinstance(body, bytes) else getattr(body, "_value", None)
    return bytes(held) if isinstance(held, bytes | bytearray | memoryview) else "streaming upload"


def _asked(req: Any, traces: Any, timeout: Any) -> tuple[Any, Any, Any]:
    """The arguments of `BaseConnector.connect`."""
    return req, traces, timeout


def _limits(aiohttp: Any, session: Any, kwargs: dict[str, Any]) -> Any:
    """The limits that apply to a call, determined as aiohttp does it."""
    limits = kwargs.get("timeout", sentinel := aiohttp.helpers.sentinel)
    if limits is sentinel:
        return session._timeout
    return limits if isinstance(limits, aiohttp.ClientTimeout) else aiohttp.ClientTimeout(total=limits)


@lru_cache(maxsize=64)
def _without_total(limits: Any) -> Any:
    others = {name: getattr(limits, name) for name in ("connect", "sock_read", "sock_connect", "ceil_threshold")}
    return type(limits)(total=_YEARS, **others)
