"""Makes connections, and explains in plain words why one could not be made. Lives on the engine's loop.

This is the layer below httpcore's pools: problems while connecting are raised here as `NetworkFault`, with the host and
port and nothing else about the call. Everything that a connection needs is imported with this module, since our threads
must not import anything: a program's SDK that looks into `sys.modules` would find a partial module.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401  # asyncio uses it to resolve names
import encodings.idna  # `getaddrinfo` uses it to encode names, and it imports the next one
import encodings.punycode  # noqa: F401
import os
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any

import anyio._backends._asyncio  # anyio imports it when a loop first needs it
import anyio.streams.tls  # noqa: F401
import httpcore

from batchling.core.text import printable

with suppress(ImportError):
    # httpcore uses it at each of its locks, if the program has it.
    import_module("sniffio")

try:
    import httpcore._async.socks_proxy
except ImportError:
    SOCKS = False
else:
    SOCKS = True
    """Whether the package that httpcore needs for SOCKS is installed."""

__all__ = ["SOCKS", "Network", "NetworkFault"]

SOCKS_SECONDS = 15.0
"""Seconds that a SOCKS proxy may take for each of its answers."""

_NO_ISSUER = frozenset({2, 18, 19, 20, 21})
"""OpenSSL's codes for a certificate whose issuer is not trusted, as opposed to a certificate that is not valid."""
_REFUSED_OURS = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED", "HANDSHAKE_FAILURE")
"""Parts of the alerts with which a server rejects a client's certificate, or the lack of one. With TLS 1.3, they arrive
when the handshake seems to be over; no server has read a request by then."""


class NetworkFault(Exception):
    """A call got no complete answer. The text says why, for people: hosts and ports, nothing else about the call.

    `acted` is false if the call certainly never reached the server. `final`: waiting will not help, because a
    certificate, TLS or a login at a proxy was refused.
    """

    def __init__(self, what: str, *, acted: bool, final: bool = False) -> None:
        super().__init__(what)
        self.acted = acted
        self.final = final


class Network(httpcore.AnyIOBackend):
    """Makes the connections of one pool. `proxied`: they go to a proxy."""

    def __init__(self, *, proxied: bool) -> None:
        self._proxied = proxied
        self.fresh: dict[object, httpcore.AsyncNetworkStream] = {}
        """Connections on which no call has begun yet, by the task that makes them."""

    async def drop(self) -> None:
        """Close what this task has connected but not used: httpcore leaves it open if a SOCKS proxy refuses."""
        if (stream := self.fresh.pop(asyncio.current_task(), None)) is not None:
            await stream.aclose()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection, not encrypted yet. Raises `NetworkFault`."""
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        who = f"the proxy at {place}" if self._proxied else place
        try:
            inner = await super().connect_tcp(host, port, timeout, local_address, socket_options)
        except (httpcore.ConnectError, httpcore.ConnectTimeout, OSError) as fault:
            raise NetworkFault(_not_connected(fault, who, host), acted=False) from fault
        except ValueError as fault:  # not a name that can be looked up
            raise NetworkFault(f"{host!a:.100} is not a host name", acted=False, final=True) from fault
        stream = self.fresh[asyncio.current_task()] = _Stream(inner, host, who, self.fresh)
        return stream

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """A connection to a Unix socket on this machine. Raises `NetworkFault`."""
        try:
            inner = await super().connect_unix_socket(path, timeout, socket_options)
        except (httpcore.ConnectError, httpcore.ConnectTimeout, OSError) as fault:
            raise NetworkFault(_not_connected(fault, "the client's Unix socket", ""), acted=False) from fault
        return _Stream(inner, "the Unix socket", "the Unix socket", {})


class _Stream(httpcore.AsyncNetworkStream):
    """A stream of httpcore's that explains in words why TLS failed. `peer` is what it is connected to."""

    def __init__(
        self,
        stream: httpcore.AsyncNetworkStream,
        host: str,
        peer: str,
        fresh: dict[object, httpcore.AsyncNetworkStream],
    ) -> None:
        self._stream = stream
        self._host = host
        self._peer = peer
        self._fresh = fresh

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if timeout is None:  # httpcore passes none while it speaks SOCKS
            try:
                return await self._stream.read(max_bytes, SOCKS_SECONDS)
            except (httpcore.NetworkError, httpcore.TimeoutException, OSError) as fault:
                raise NetworkFault(f"{self._peer} does not answer", acted=False) from fault
        try:
            return await self._stream.read(max_bytes, timeout)
        except (httpcore.ReadError, OSError) as fault:  # OpenSSL's errors arrive unchanged
            for cause in _behind(fault):
                if isinstance(cause, ssl.SSLError) and any(part in (cause.reason or "") for part in _REFUSED_OURS):
                    raise NetworkFault(_refused(self._host, cause), acted=False, final=True) from fault
            raise httpcore.ReadError from fault

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if timeout is not None:
            self._fresh.pop(asyncio.current_task(), None)
        try:
            await self._stream.write(buffer, timeout)
        except OSError as fault:
            raise httpcore.WriteError from fault

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        host = server_hostname or self._host
        try:
            self._fresh.pop(asyncio.current_task(), None)
            inner = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except (httpcore.NetworkError, httpcore.TimeoutException, OSError, ValueError) as fault:
            raise _no_tls(fault, host) from fault
        return _Stream(inner, host, self._peer, self._fresh)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _not_connected(fault: Exception, who: str, host: str) -> str:
    causes = tuple(_behind(fault))
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return f"the name {host} does not resolve"
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return f"{who} refuses the connection"
    if any(isinstance(cause, TimeoutError | httpcore.TimeoutException) for cause in causes):
        return f"{who} does not answer"
    codes = [cause.errno for cause in causes if isinstance(cause, OSError) and cause.errno]
    return f"{who} cannot be reached{f' ({os.strerror(codes[0])})' if codes else ''}"


def _no_tls(fault: Exception, host: str) -> NetworkFault:
    for cause in _behind(fault):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return NetworkFault(_not_trusted(host, cause), acted=False, final=True)
    for cause in _behind(fault):
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError | ssl.SSLSyscallError):
            return NetworkFault(_refused(host, cause), acted=False, final=True)
        if isinstance(cause, TimeoutError | httpcore.TimeoutException):
            return NetworkFault(f"{host} does not answer the TLS handshake", acted=False)
    return NetworkFault(f"{host} closed the connection when TLS began", acted=False)


def _not_trusted(host: str, fault: ssl.SSLCertVerificationError) -> str:
    """What is wrong with a server's certificate, and what to do."""
    reported = getattr(fault, "verify_message", "") or "refused by the operating system"
    why = printable(reported, 120).rstrip(".")
    if getattr(fault, "verify_code", 20) in _NO_ISSUER:
        advice = "set SSL_CERT_FILE to your company's CA bundle, or pass verify= to the client"
        return f"the certificate of {host} is not trusted ({why}): {advice}"
    return f"the certificate of {host} is not valid ({why})"


def _refused(host: str, fault: ssl.SSLError) -> str:
    reason = (fault.reason or "no reason given").replace("_", " ").lower()
    if "certificate" in reason and "alert" in reason:
        return f"{host} does not accept the client's certificate, or requires one ({reason})"
    return f"TLS with {host} failed ({reason})"


def _behind(fault: BaseException) -> Iterator[BaseException]:
    """A fault and those that led to it, including those in groups. Libraries raise theirs `from None`."""
    left: list[BaseException] = [fault]
    seen: set[int] = set()
    while left:
        each = left.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        left += each.exceptions if isinstance(each, BaseExceptionGroup) else ()
        left += (other for other in (*each.args, each.__cause__, each.__context__) if isinstance(other, BaseException))
