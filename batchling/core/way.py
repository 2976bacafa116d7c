"""How a program's own client reaches a provider: its trust store, client certificate, proxy and socket.

Our own calls go the same way. It is taken from an intercepted call, kept in memory beside the credential, and never
written down: another process that collects the job goes the way that its environment describes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl


@dataclass(frozen=True, slots=True, repr=False)
class Proxy:
    """A proxy: its `url` without credentials (http, https, socks5, socks5h), the `headers` to send to it, as lower-case
    bytes, and the `auth` of a SOCKS proxy, (user, password). `tls` is for the connection to an https proxy; None means
    the environment's trust."""

    url: str
    headers: tuple[tuple[bytes, bytes], ...] = ()
    auth: tuple[bytes, bytes] | None = None
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Way:
    """The way of one client. Two are equal if they use the same objects.

    `tls` holds the certificates that the client trusts and its own certificate; None means what the environment says.
    No `proxy` means a direct connection, whatever the environment says. `uds` is the path of a Unix socket,
    `local_address` the address to connect from, `socket_options` the arguments of `socket.setsockopt`.
    """

    tls: ssl.SSLContext | None = None
    proxy: Proxy | None = None
    uds: str | None = None
    local_address: str | None = None
    socket_options: tuple[tuple[Any, ...], ...] = ()
