"""Connections without a network: the library writes its request to them and reads our answer, as from a socket.

So in each of its releases, the library's own code parses the answer, keeps cookies, feeds its streams, reports progress
and detects the end of the body.
"""

from __future__ import annotations

import asyncio
import re
from io import BytesIO
from typing import Any

_PIECE = 65_536
"""Bytes of an answer that are delivered at once; between two pieces, the library may pause reading."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class AnsweringSocket:
    """The part of a socket that http.client needs. It accepts any request and holds one answer."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, *_: object, **__: object) -> BytesIO:
        return BytesIO(self._answer)

    def sendall(self, _: object) -> None:
        pass

    def settimeout(self, _: object) -> None:
        pass

    def shutdown(self, _: object) -> None:
        pass

    def close(self) -> None:
        pass


def connection(aiohttp: Any, native: Any, answer: bytes) -> Any:
    """An aiohttp connection for one request, with this answer."""
    loop = asyncio.get_running_loop()
    protocol = aiohttp.client_proto.ResponseHandler(loop)
    protocol.connection_made(_AnsweringTransport(loop, protocol, answer))
    # Never reused for another request.
    protocol.force_close()
    return aiohttp.connector.Connection(_Nobody(), native.connection_key, protocol, loop)


class _Nobody:
    """Stands in for the connector: no real connector counts these connections."""

    force_close = False

    def _release(self, key: object, protocol: Any, *, should_close: bool = False) -> None:
        protocol.close()


class _AnsweringTransport(asyncio.Transport):
    """Takes in a whole request, then delivers the answer in pieces, pausing on demand."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Any, answer: bytes) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._rest = memoryview(answer)
        self._head = b""
        self._missing: int | None = None
        """Bytes of the request still to come; None before the end of its headers, -1 if it is chunked."""
        self._paused = False
        self._closing = False

    def write(self, data: Any) -> None:
        if self._missing is None:
            self._head += bytes(data)
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            found = _LENGTH.search(head + b"\r\n")
            self._missing = int(found[1]) if found else -1 if b"chunked" in head.lower() else 0
        if self._missing == -1:
            self._head = self._head[-4:] + bytes(data)[-5:]
            over = self._head.endswith(b"0\r\n\r\n")
        else:
            self._missing -= len(data)
            over = self._missing <= 0
        if over:
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        while self._rest and not self._paused and not self._closing:
            piece, self._rest = self._rest[:_PIECE], self._rest[_PIECE:]
            self._protocol.data_received(bytes(piece))

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._loop.call_soon(self._deliver)

    def is_reading(self) -> bool:
        return not self._paused

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    abort = close
