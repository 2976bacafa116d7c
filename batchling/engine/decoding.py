"""Decompresses bodies, in pieces of bounded size however large they turn out to be."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

ACCEPTED = "gzip, deflate"
"""What our calls state that they can read."""

_MOST_LAYERS = 2
"""Content codings of one answer: a file store may compress what is already compressed."""
_PIECE = 262_144
_GZIP = 16 + zlib.MAX_WBITS
_GZIP_MAGIC = b"\x1f\x8b"


class Decoder(Protocol):
    """Reverses a content coding."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decode these bytes. Raises `ValueError` if they are damaged."""

    def end(self) -> None:
        """To be called after the last bytes. Raises `ValueError` if some are missing."""


def decoder(encodings: str | None) -> Decoder:
    """The decoder for the value of a Content-Encoding header. Raises `ValueError` for too many codings. A coding that
    we did not ask for is left undecoded. Whatever begins like gzip is treated as gzip, since files that are stored
    compressed are sent without the header."""
    chain: list[Decoder] = []
    for name in reversed((encodings or "").lower().split(",")):
        if (name := name.strip()) in ("gzip", "x-gzip", "deflate"):
            chain.append(_Inflater(gzip=name != "deflate"))
        elif name not in ("", "identity"):
            break
    if len(chain) > _MOST_LAYERS:
        raise ValueError("compressed too many times")
    return _Chain([*chain, _Sniffed()])


class _Chain:
    def __init__(self, links: list[Decoder]) -> None:
        self._links = links

    def feed(self, data: bytes) -> Iterator[bytes]:
        return self._through(data, 0)

    def _through(self, data: bytes, link: int) -> Iterator[bytes]:
        if link == len(self._links):
            yield data
            return
        for piece in self._links[link].feed(data):
            yield from self._through(piece, link + 1)

    def end(self) -> None:
        for link in self._links:
            link.end()


class _Sniffed:
    def __init__(self) -> None:
        self._head = b""
        self._inner: Decoder | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._inner is None:
            data = self._head + data
            if data == _GZIP_MAGIC[: len(data)] and len(data) < len(_GZIP_MAGIC):
                self._head = data
                return
            self._inner = _Inflater(gzip=True) if data.startswith(_GZIP_MAGIC) else _Chain([])
        yield from self._inner.feed(data)

    def end(self) -> None:
        if self._inner is not None:
            self._inner.end()


class _Inflater:
    """gzip, even with several members; or deflate, with or without zlib's frame, since servers send both."""

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._zlib = zlib.decompressobj(_GZIP if gzip else zlib.MAX_WBITS)
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        if not data:
            return
        while True:
            if self._zlib.eof:
                if not self._gzip or not data or not data.startswith(_GZIP_MAGIC[: len(data)]):
                    return  # padding, if anything
                self._zlib = zlib.decompressobj(_GZIP)
            try:
                piece = self._inflate(data)
            except zlib.error as fault:
                raise ValueError("damaged") from fault
            if piece:
                yield piece
            if self._zlib.eof:
                data = self._zlib.unused_data
                continue
            data = self._zlib.unconsumed_tail
            if not data and len(piece) < _PIECE:
                return

    def _inflate(self, data: bytes) -> bytes:
        first, self._begun = not self._begun, True
        try:
            return self._zlib.decompress(data, _PIECE)
        except zlib.error:
            if self._gzip or not first:
                raise
            self._zlib = zlib.decompressobj(-zlib.MAX_WBITS)
            return self._zlib.decompress(data, _PIECE)

    def end(self) -> None:
        if self._begun and not self._zlib.eof:
            raise ValueError("cut off")
