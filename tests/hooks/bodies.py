"""Every way in which a body can be read, by library: each style takes a URL and gives the bytes that it has read."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
from collections.abc import Callable
from typing import Any

Style = Callable[[str], bytes]

SMALL = (0, 1, 1000, 128 * 1024 + 1)
LARGE = (1_000_000, 20_000_000)

SLOW_ON_LARGE = ("(1)", "(7)")
"""Marks of styles that take a call for each byte or two."""


def body_of(size: int) -> bytes:
    """Bytes of this size: JSON in lines, but for the empty body."""
    if size < 3:
        return b"10"[:size]
    lines = (size - 4) // 1000
    return b"[" + (b'"' + b"a" * 996 + b'",\n') * lines + b" " * (size - 1000 * lines - 3) + b"1]"


def suits(style: str, size: int) -> bool:
    """Whether a style can read a body of this size, in reasonable time."""
    if "json" in style:
        return size > 0
    return size <= 1000 or not any(mark in style for mark in SLOW_ON_LARGE)


def _again(value: Any, body: bytes) -> bytes:
    """The bytes that were decoded, when they were."""
    return body if json.loads(body) == value else b"another value"


def _looped(read: Callable[[], bytes]) -> bytes:
    pieces = []
    while piece := read():
        pieces.append(bytes(piece))
    return b"".join(pieces)


def httpx_styles(library: Any) -> dict[str, Style]:
    """Of httpx or httpx2, sync and async."""

    def streamed(read: Callable[[Any], bytes]) -> Style:
        def style(url: str) -> bytes:
            with library.Client(verify=False) as client, client.stream("POST", url, json={}) as got:
                return read(got)

        return style

    def whole(read: Callable[[Any], bytes]) -> Style:
        def style(url: str) -> bytes:
            with library.Client(verify=False) as client:
                return read(client.post(url, json={}))

        return style

    def awaited(name: str, join: Callable[[list[Any]], bytes], *sizes: int | None) -> Style:
        async def program(url: str) -> bytes:
            async with library.AsyncClient(verify=False) as client, client.stream("POST", url, json={}) as got:
                if name == "aread":
                    return bytes(await got.aread())
                return join([piece async for piece in getattr(got, name)(*sizes)])

        return lambda url: asyncio.run(program(url))

    def text(pieces: list[str]) -> bytes:
        return "".join(pieces).encode()

    def lines(pieces: list[str]) -> bytes:
        return "\n".join(pieces).encode()

    styles: dict[str, Style] = {
        "content": whole(lambda got: bytes(got.content)),
        "text": whole(lambda got: got.text.encode()),
        "json": whole(lambda got: _again(got.json(), got.content)),
        "read": streamed(lambda got: bytes(got.read())),
        "iter_lines": streamed(lambda got: lines(list(got.iter_lines()))),
        "aread": awaited("aread", b"".join),
        "aiter_lines": awaited("aiter_lines", lines),
    }
    for size in (None, 1, 1024):
        styles[f"iter_bytes({size})"] = streamed(lambda got, size=size: b"".join(got.iter_bytes(size)))
        styles[f"iter_raw({size})"] = streamed(lambda got, size=size: b"".join(got.iter_raw(size)))
        styles[f"iter_text({size})"] = streamed(lambda got, size=size: text(list(got.iter_text(size))))
        styles[f"aiter_bytes({size})"] = awaited("aiter_bytes", b"".join, size)
        styles[f"aiter_raw({size})"] = awaited("aiter_raw", b"".join, size)
        styles[f"aiter_text({size})"] = awaited("aiter_text", text, size)
    return styles


async def _released(library: Any, url: str) -> bytes:
    async with library.ClientSession() as session:
        got = await session.post(url, json={})
        size = int(got.headers["content-length"])
        got.release()
        again = await session.post(url, json={})
        body: bytes = await again.read()
        return body if len(body) == size else b"another body"


def aiohttp_styles(library: Any) -> dict[str, Style]:
    """Of a response of aiohttp, and of its `content`."""

    def style(read: Callable[[Any], Any]) -> Style:
        async def program(url: str) -> bytes:
            async with library.ClientSession() as session, session.post(url, json={}) as got:
                found: bytes = await read(got)
                return found

        return lambda url: asyncio.run(program(url))

    async def text(got: Any) -> bytes:
        return str(await got.text()).encode()

    async def decoded(got: Any) -> bytes:
        return _again(await got.json(), await got.read())

    def looped(name: str, *size: int) -> Style:
        async def read(got: Any) -> bytes:
            pieces = []
            while piece := await getattr(got.content, name)(*size):
                pieces.append(piece)
            return b"".join(pieces)

        return style(read)

    def iterated(name: str, *size: int) -> Style:
        async def read(got: Any) -> bytes:
            pieces = [piece async for piece in getattr(got.content, name)(*size)]
            return b"".join(piece[0] if isinstance(piece, tuple) else piece for piece in pieces)

        return style(read)

    async def exactly(got: Any) -> bytes:
        return bytes(await got.content.readexactly(int(got.headers["content-length"])))

    async def until_eof(got: Any) -> bytes:
        pieces = []
        while not got.content.at_eof():
            pieces.append(await got.content.readany())
        return b"".join(pieces)

    async def lines(got: Any) -> bytes:
        return b"".join([line async for line in got.content])

    return {
        "read": style(lambda got: got.read()),
        "text": style(text),
        "json": style(decoded),
        "content.read": style(lambda got: got.content.read()),
        "content.read(1)": looped("read", 1),
        "content.read(1000)": looped("read", 1000),
        "readany": looped("readany"),
        "readline": looped("readline"),
        "readexactly": style(exactly),
        "iter_chunked(7)": iterated("iter_chunked", 7),
        "iter_chunked(1000)": iterated("iter_chunked", 1000),
        "iter_any": iterated("iter_any"),
        "iter_chunks": iterated("iter_chunks"),
        "lines": style(lines),
        "at_eof": style(until_eof),
        "released unread": lambda url: asyncio.run(_released(library, url)),
    }


def requests_styles(library: Any) -> dict[str, Style]:
    """Of a response of requests, and of its `raw`; at the end of the body the latter is closed, as with the network."""

    def style(read: Callable[[Any], bytes], *, closes: bool = True) -> Style:
        def ask(url: str) -> bytes:
            with library.Session() as session:
                got = session.post(url, json={}, stream=True)
                body = read(got)
                return body if not closes or got.raw.closed or not body else b"left open"

        return ask

    def lines(got: Any, **size: Any) -> bytes:
        return b"\n".join(got.iter_lines(**size))

    def into(got: Any) -> bytes:
        room = bytearray(4096)
        return _looped(lambda: room[: got.raw.readinto(room)])

    def copied(got: Any) -> bytes:
        kept = io.BytesIO()
        shutil.copyfileobj(got.raw, kept)
        return kept.getvalue()

    styles = {
        "content": style(lambda got: bytes(got.content)),
        "text": style(lambda got: got.text.encode()),
        "json": style(lambda got: _again(got.json(), got.content)),
        "iter_content(None)": style(lambda got: b"".join(got.iter_content(None))),
        "iter_content(1)": style(lambda got: b"".join(got.iter_content(1))),
        "iter_content(1024)": style(lambda got: b"".join(got.iter_content(1024))),
        "iter_lines": style(lines),
        "iter_lines(None)": style(lambda got: lines(got, chunk_size=None)),
        "raw.read": style(lambda got: bytes(got.raw.read())),
        "raw.read(1)": style(lambda got: _looped(lambda: got.raw.read(1))),
        "raw.read(1000)": style(lambda got: _looped(lambda: got.raw.read(1000))),
        "raw.stream(None)": style(lambda got: b"".join(got.raw.stream(None))),
        "raw.stream(7)": style(lambda got: b"".join(got.raw.stream(7))),
        "raw.stream(1000)": style(lambda got: b"".join(got.raw.stream(1000))),
        "raw.readinto": style(into),
        "raw, copied": style(copied),
    }
    import urllib3

    if hasattr(urllib3.HTTPResponse, "read1"):
        styles["raw.read1"] = style(lambda got: _looped(lambda: got.raw.read1(1000)))
    return styles


def urllib3_styles(library: Any) -> dict[str, Style]:
    """Of urllib3 without requests."""

    def style(read: Callable[[Any], bytes], **options: Any) -> Style:
        def ask(url: str) -> bytes:
            with library.PoolManager() as pool:
                headers = {"content-type": "application/json"}
                return read(pool.request("POST", url, body=b"{}", headers=headers, **options))

        return ask

    return {
        "data": style(lambda got: bytes(got.data)),
        "unread, data": style(lambda got: bytes(got.data), preload_content=False),
        "read(1000)": style(lambda got: _looped(lambda: got.read(1000)), preload_content=False),
        "stream(None)": style(lambda got: b"".join(got.stream(None)), preload_content=False),
        "stream(7)": style(lambda got: b"".join(got.stream(7)), preload_content=False),
        "lines": style(b"".join, preload_content=False),
    }


def styles() -> dict[tuple[str, str], Style]:
    """All of them, by library and name. It imports the libraries."""
    import aiohttp
    import httpx
    import httpx2
    import requests
    import urllib3

    tables = {
        "httpx": httpx_styles(httpx),
        "httpx2": httpx_styles(httpx2),
        "aiohttp": aiohttp_styles(aiohttp),
        "requests": requests_styles(requests),
        "urllib3": urllib3_styles(urllib3),
    }
    return {(library, name): style for library, table in tables.items() for name, style in table.items()}
