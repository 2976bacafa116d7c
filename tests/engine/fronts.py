"""What stands between a program and its provider: TLS, proxies, Unix sockets. Real ones, on loopback."""

from __future__ import annotations

import asyncio
import base64
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import trustme

from batchling.testing import ProviderServer

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


def port_of(server: ProviderServer) -> int:
    return int(server.url.rpartition(":")[2])


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, first: bytes = b"") -> None:
    """Pass everything on to a port, and back."""
    there, back = await asyncio.open_connection("127.0.0.1", port)
    back.write(first)

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                sink.write(data)
        finally:
            sink.close()

    await asyncio.gather(pump(reader, back), pump(there, writer), return_exceptions=True)


class Front:
    """A listening server in a thread of its own."""

    def __init__(self, handle: Handle, context: ssl.SSLContext | None = None, path: str | None = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

        async def open_() -> asyncio.Server:
            if path is not None:
                return await asyncio.start_unix_server(handle, path)
            return await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)

        self._server = self._run(open_())
        self.port: int = 0 if path is not None else self._server.sockets[0].getsockname()[1]

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(5)

    def hang_up(self) -> None:
        """Break all connections off."""

        async def cancel() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._run(cancel())

    def close(self) -> None:
        async def stop() -> None:
            self._server.close()

        self._run(stop())
        self.hang_up()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextmanager
def listening(handle: Handle, context: ssl.SSLContext | None = None, path: str | None = None) -> Iterator[Front]:
    front = Front(handle, context, path)
    try:
        yield front
    finally:
        front.close()


def server_context(authority: trustme.CA, clients: trustme.CA | None = None) -> ssl.SSLContext:
    """With a certificate of an authority; `clients` is whose certificates the other side must show."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        clients.configure_trust(context)
    return context


def client_context(authority: trustme.CA) -> ssl.SSLContext:
    """What a program gives its client as verify=."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


@contextmanager
def tls(server: ProviderServer, context: ssl.SSLContext) -> Iterator[str]:
    """The embedded server behind TLS."""
    with listening(lambda reader, writer: pipe(reader, writer, port_of(server)), context) as front:
        yield f"https://127.0.0.1:{front.port}"


@dataclass
class ProxyServer:
    """An HTTP proxy in front of one port, whatever host it is asked for: CONNECT and absolute URLs."""

    port: int
    login: str = ""
    status: int = 200
    asked: list[str] = field(default_factory=list)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            writer.close()
            return
        line = head.partition(b"\r\n")[0].decode()
        self.asked.append(line)
        right = b"basic " + base64.b64encode(self.login.encode()).lower()
        if self.login and right not in head.lower():
            self.status = 407
        if self.status != 200:
            writer.write(b"HTTP/1.1 %d No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % self.status)
            writer.close()
        elif line.startswith("CONNECT "):
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            await pipe(reader, writer, self.port)
        else:
            await pipe(reader, writer, self.port, head)


@dataclass
class SocksServer:
    """A SOCKS5 proxy in front of one port, whatever host it is asked for."""

    port: int
    login: tuple[bytes, bytes] | None = None
    asked: list[bytes] = field(default_factory=list)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, count = await reader.readexactly(2)
        offered = await reader.readexactly(count)
        method = 0 if self.login is None else 2
        if method not in offered:
            writer.write(b"\x05\xff")
            writer.close()
            return
        writer.write(bytes((5, method)))
        if self.login is not None:
            _, size = await reader.readexactly(2)
            user = await reader.readexactly(size)
            password = await reader.readexactly((await reader.readexactly(1))[0])
            right = (user, password) == self.login
            writer.write(b"\x01\x00" if right else b"\x01\x01")
            if not right:
                writer.close()
                return
        _, _, _, kind = await reader.readexactly(4)
        self.asked.append(await reader.readexactly(4 if kind == 1 else (await reader.readexactly(1))[0]))
        await reader.readexactly(2)
        writer.write(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
        await pipe(reader, writer, self.port)
