"""The pools of connections that our calls use, one for each account and way. Lives on the engine's loop."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpcore

from batchling.core.way import Proxy, Way
from batchling.engine.wire import SOCKS, Network, NetworkFault
from batchling.environment.ways import trust, way_to

MOST_WAYS = 8
"""Pools that are kept open: a program that makes a new client for each call may have just as many ways."""

LOGIN_WANTED = 407
"""The status with which a proxy, and only a proxy, asks for a login."""

_LOGGERS = ("connection", "http11", "http2", "proxy", "socks")
"""httpcore's loggers: at DEBUG they log response headers, which contain links that give anybody access to results."""
_silent: ContextVar[bool] = ContextVar("batchling_silent", default=False)

_CONNECTIONS = {"max_connections": 32, "max_keepalive_connections": 8, "keepalive_expiry": 30.0}
"""Limits for one way."""
_PROXY_REFUSES = frozenset({401, 403, LOGIN_WANTED})
"""Statuses with which a proxy refuses by its rules: waiting does not help."""


@contextmanager
def _silence() -> Iterator[None]:
    """Mark what httpcore does during the block as done for us."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


def _is_of_the_program(_: logging.LogRecord) -> bool:
    return not _silent.get()


for _logger in _LOGGERS:
    logging.getLogger(f"httpcore.{_logger}").addFilter(_is_of_the_program)


@dataclass(slots=True, eq=False)
class _Lane:
    """One pool, and how many calls are using it."""

    pool: httpcore.AsyncConnectionPool
    network: Network
    calls: int = 0


class Pools:
    """See the module docstring. A forked child makes its own: it must not write to its parent's connections."""

    def __init__(self) -> None:
        self._lanes: OrderedDict[tuple[str, Way], _Lane] = OrderedDict()

    def __len__(self) -> int:
        return len(self._lanes)

    @asynccontextmanager
    async def on(self, way: Way, account: str = "") -> AsyncIterator[httpcore.AsyncConnectionPool]:
        """The pool of an account and a complete way, for one call, about which httpcore's loggers stay silent. Raises
        `NetworkFault` for a proxy that cannot be used."""
        place = (account, way)
        lane = self._lanes.get(place)
        if lane is None:
            network = Network(proxied=way.proxy is not None)
            lane = self._lanes[place] = _Lane(_pool(way, network), network)
        self._lanes.move_to_end(place)
        lane.calls += 1
        with _silence():
            try:
                yield lane.pool
            finally:
                lane.calls -= 1
                await lane.network.drop()
                await self._close_idle()

    async def _close_idle(self) -> None:
        """If there are too many pools, close the least recently used ones that are not in use."""
        idle = [place for place, lane in self._lanes.items() if not lane.calls]
        for place in idle[: max(0, len(self._lanes) - MOST_WAYS)]:
            await self._lanes.pop(place).pool.aclose()

    async def close(self) -> None:
        """Close all. Idempotent."""
        lanes, self._lanes = self._lanes, OrderedDict()
        with _silence():
            for lane in lanes.values():
                await lane.pool.aclose()


def whole(way: Way | None, url: str, home: str = "") -> Way:
    """The complete way to a URL, with everything filled in that it leaves to the environment; None means the
    environment's way.

    `home` is a URL of the host for which the client used this way. If the client followed the environment there, it
    does so for other hosts too, where NO_PROXY may differ: providers keep files on other hosts. Raises `NetworkFault`.
    """
    if way is None:
        try:
            return way_to(url)
        except ValueError:
            why = "the proxy's address cannot be read: check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY"
            raise NetworkFault(why, acted=False, final=True) from None
    proxy = way.proxy
    if home and not way.uds and urlsplit(home).netloc != urlsplit(url).netloc:
        with suppress(ValueError):
            if _place(way_to(home).proxy) == _place(proxy):
                proxy = way_to(url).proxy
    # Reading the environment's trusted certificates takes a while, and plain http does not need them.
    tls = way.tls or (trust() if urlsplit(url).scheme == "https" else None)
    if tls is way.tls and proxy is way.proxy:
        return way
    return Way(tls, proxy, way.uds, way.local_address, way.socket_options)


def _place(proxy: Proxy | None) -> str:
    return "" if proxy is None else proxy.url.rstrip("/")


def _pool(way: Way, network: Network) -> httpcore.AsyncConnectionPool:
    proxy = way.proxy
    shared: dict[str, Any] = {**_CONNECTIONS, "ssl_context": way.tls, "network_backend": network}
    if proxy is None:
        return httpcore.AsyncConnectionPool(
            uds=way.uds, local_address=way.local_address, socket_options=way.socket_options, **shared
        )
    scheme = urlsplit(proxy.url).scheme
    if scheme in ("http", "https"):
        tls = (proxy.tls or trust()) if scheme == "https" else None
        return httpcore.AsyncHTTPProxy(proxy.url, proxy_headers=list(proxy.headers), proxy_ssl_context=tls, **shared)
    if scheme not in ("socks5", "socks5h"):
        raise NetworkFault(f"{_name(proxy)} is of a kind that batchling does not support", acted=False, final=True)
    if not SOCKS:
        raise NetworkFault(f"{_name(proxy)} speaks SOCKS: pip install socksio", acted=False, final=True)
    # In both cases, httpcore lets the proxy resolve names.
    return httpcore.AsyncSOCKSProxy(proxy.url.replace("socks5h:", "socks5:", 1), proxy_auth=proxy.auth, **shared)


def refused_by_proxy(proxy: Proxy, reported: str, host: str) -> NetworkFault:
    """The fault for a proxy that does not connect. `reported` is a status and a phrase, or httpcore's text on SOCKS."""
    status = reported[:3]
    if status == str(LOGIN_WANTED):
        return NetworkFault(f"{_name(proxy)} requires a login (407)", acted=False, final=True)
    if status.isdecimal():
        final = int(status) in _PROXY_REFUSES
        return NetworkFault(f"{_name(proxy)} does not connect to {host} ({status})", acted=False, final=final)
    if "could not connect" in reported:
        return NetworkFault(f"{_name(proxy)} does not connect to {host}", acted=False)
    return NetworkFault(f"{_name(proxy)} does not accept the login, or requires one", acted=False, final=True)


def _name(proxy: Proxy) -> str:
    return f"the proxy at {urlsplit(proxy.url).netloc.rpartition('@')[2]}"
