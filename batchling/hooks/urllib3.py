"""The hook of urllib3, 1.26 and 2, and so of requests.

It decides about a call where the pool makes it on a connection, in `HTTPConnectionPool._make_request`. Adapters,
sessions, redirects and retries are above that, and see our answer as one from the network. An answered call is made on
a connection without a network (`batchling.hooks.wireless`), so the library itself handles the response, its cookies and
its end. urllib3 opens a tunnel through a proxy earlier; that is postponed until the call is let through. The hook
converts and queries; it holds no policy.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from functools import lru_cache
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from batchling.core.model import Request, Response
from batchling.core.way import Proxy, Way
from batchling.hooks.answers import wire
from batchling.hooks.interception import REPLACED, gate_for, offer, refuse, shared_headers
from batchling.hooks.patching import Patch
from batchling.hooks.waiting import wait
from batchling.hooks.wireless import AnsweringSocket
from batchling.system.forks import hold_across_forks
from batchling.system.gate import Gate, RealTime, current, ourselves
from batchling.system.pending import Pending

_TALKING = ("connect", "request", "getresponse")
"""The methods that a connection overrides if it does not talk to a server, or does so in its own way."""

_reasons: WeakKeyDictionary[type, str] = WeakKeyDictionary()

_TUNNEL = "_batchling_tunnel"
"""The attribute of a connection whose tunnel has not been opened yet."""

_wanted: ContextVar[bool] = ContextVar("batchling_wanted", default=False)
"""Whether the call that a pool is about to make may be answered here, without a tunnel."""


def patches(connectionpool: ModuleType) -> list[Patch]:
    """What to patch in `urllib3.connectionpool`."""
    pools: Any = connectionpool

    def urlopen(wrapped: Any, pool: Any, args: Any, kwargs: Any) -> Any:
        gate = current()
        wanted = gate is not None and not ourselves.get() and _wants(gate, pool, *args, **kwargs)
        token = _wanted.set(wanted)
        try:
            return wrapped(*args, **kwargs)
        finally:
            _wanted.reset(token)
            del args, kwargs

    def prepare_proxy(wrapped: Any, pool: Any, args: Any, kwargs: Any) -> Any:
        conn = args[0] if args else kwargs["conn"]
        if not _wanted.get():
            return wrapped(*args, **kwargs)
        conn.__dict__[_TUNNEL] = lambda: wrapped(conn)
        return None

    def make_request(wrapped: Any, pool: Any, args: Any, kwargs: Any) -> Any:
        conn, *others = args or [kwargs.pop("conn")]
        tunnel = conn.__dict__.pop(_TUNNEL, None)
        try:
            future = _ask(pool, conn, *others, **kwargs)
            if future is not None:
                try:
                    answer = wire(wait(future))
                except RealTime:
                    pass
                else:
                    # The pool's own connection stays as it is, and returns to the pool when the answer ends.
                    made = pools.HTTPConnection(pool.host, pool.port)
                    made.sock = AnsweringSocket(answer)
                    made.is_verified = True
                    return wrapped(made, *others, **kwargs)
            if tunnel is not None:
                _open_tunnel(pool, conn, tunnel)
            return wrapped(conn, *others, **kwargs)
        finally:
            del args, kwargs, others

    return [
        Patch(pools.HTTPConnectionPool, "_make_request", make_request),
        Patch(pools.HTTPConnectionPool, "urlopen", urlopen, vital=False),
        Patch(pools.HTTPSConnectionPool, "_prepare_proxy", prepare_proxy, vital=False),
    ]


def to_request(method: str, url: str, headers: Any, body: bytes | str | None) -> Request:
    """Convert the arguments of a pool to our `Request`; `url` is absolute."""
    pairs = shared_headers([(_text(name), _text(value)) for name, value in (headers or {}).items()])
    return Request(method.upper(), url, pairs, body.encode() if isinstance(body, str) else bytes(body or b""))


def way_of(pool: Any) -> Way | str:
    """How a pool reaches its server, or why batchling cannot reach it the same way."""
    options: Mapping[str, Any] = getattr(pool, "conn_kw", {})
    if not type(pool).__module__.startswith("urllib3."):
        return "the program's own connections"
    if getattr(pool, "assert_fingerprint", None):
        return "a certificate pinned by its fingerprint"
    if getattr(pool, "assert_hostname", None) or options.get("server_hostname"):
        return "a custom server name (SNI)"
    source = options.get("source_address")
    return Way(
        _tls(pool, options) if pool.scheme == "https" else None,
        _proxy(pool, options.get("_socks_options")),
        local_address=source[0] if source else None,
        socket_options=tuple(map(tuple, options.get("socket_options") or ())),
    )


def _tls(pool: Any, options: Mapping[str, Any]) -> ssl.SSLContext:
    if isinstance(given := options.get("ssl_context"), ssl.SSLContext):
        return given
    with _making:  # threads with a session each come here at once, and each would make its own
        return _context(
            pool.ca_certs,
            pool.ca_cert_dir,
            pool.cert_file,
            pool.key_file,
            getattr(pool, "key_password", None),
            trusts=pool.cert_reqs not in ("CERT_NONE", "NONE", ssl.CERT_NONE) or pool.cert_reqs is None,
            names=getattr(pool, "assert_hostname", None) is not False,
        )


_making = threading.Lock()
hold_across_forks(_making)


@lru_cache(maxsize=16)
def _context(
    ca_file: str | None,
    ca_folder: str | None,
    certificate: str | None,
    key: str | None,
    password: str | None,
    *,
    trusts: bool,
    names: bool,
) -> ssl.SSLContext:
    """One context for all pools with these settings: reading a bundle takes longer than a call."""
    context = ssl.create_default_context(cafile=ca_file, capath=ca_folder)
    context.check_hostname = trusts and names
    if not trusts:
        context.verify_mode = ssl.CERT_NONE
    if certificate:
        context.load_cert_chain(certificate, key, password)
    return context


def _proxy(pool: Any, socks: Mapping[str, Any] | None) -> Proxy | None:
    if socks is not None:
        login = (socks["username"].encode(), (socks["password"] or "").encode()) if socks.get("username") else None
        return Proxy(f"socks5h://{_host(socks['proxy_host'])}:{socks['proxy_port']}", auth=login)
    url = getattr(pool, "proxy", None)
    if url is None:
        return None
    headers: Iterable[tuple[Any, Any]] = (getattr(pool, "proxy_headers", None) or {}).items()
    pairs = tuple((_text(name).lower().encode(), _text(value).encode("latin-1")) for name, value in headers)
    settings = getattr(pool, "proxy_config", None)
    port = f":{url.port}" if url.port else ""
    return Proxy(f"{url.scheme}://{_host(url.host)}{port}", pairs, tls=getattr(settings, "ssl_context", None))


def _ask(
    pool: Any, conn: Any, method: str, url: str, timeout: Any = None, body: Any = None, headers: Any = None, **_: Any
) -> Pending[Response] | None:
    """The future answer of a request, or None if it goes real time."""
    url = _absolute(pool, url)
    gate = gate_for(method.upper(), url)
    if gate is None:
        return None
    reason = _replaced(conn) or gate.reason_against(method.upper(), url) or _unreadable(headers, body)
    way: Way | str = reason or way_of(pool)
    if isinstance(way, Way):
        return offer(gate, to_request(method, url, headers, body), way)
    refuse(gate, method, url, way)
    return None


def _wants(gate: Gate, pool: Any, method: str, url: str, *_: Any, **__: Any) -> bool:
    return gate.wants(method.upper(), _absolute(pool, url))


def _replaced(conn: Any) -> str:
    """Why no other connection can replace this one; empty if it is one of the library's."""
    kind = type(conn)
    if (known := _reasons.get(kind)) is None:
        known = _reasons[kind] = "" if all(_is_native(kind, name) for name in _TALKING) else REPLACED
    return known


def _is_native(kind: type, name: str) -> bool:
    # Judged by the class that defines the method, since tracing libraries replace it in http.client itself.
    owner = next((each for each in kind.__mro__ if name in each.__dict__), None)
    return owner is None or owner.__module__.partition(".")[0] in ("urllib3", "http")


def _unreadable(headers: Any, body: Any) -> str:
    """Why the request cannot be read without consuming it; empty if it can."""
    if not isinstance(body, bytes | bytearray | str | None):
        return "streaming upload"
    names = {_text(name).lower(): value for name, value in (headers or {}).items()}
    if _text(names.get("content-type", "")).startswith("multipart/"):
        return "multipart"
    return "compressed body" if "content-encoding" in names else ""


def _open_tunnel(pool: Any, conn: Any, tunnel: Any) -> None:
    """Open the postponed tunnel through a proxy; a failure raises the same errors as in urllib3."""
    try:
        tunnel()
    except OSError as fault:
        pool._raise_timeout(err=fault, url=pool.proxy.url, timeout_value=conn.timeout)
        raise


def _absolute(pool: Any, url: str) -> str:
    if not url.startswith("/"):  # a call through a plain proxy
        return url
    usual = {"http": 80, "https": 443}.get(pool.scheme)
    port = "" if pool.port in (None, usual) else f":{pool.port}"
    return f"{pool.scheme}://{_host(pool.host)}{port}{url}"


def _host(name: str) -> str:
    return f"[{name}]" if ":" in name and not name.startswith("[") else name


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
