"""Bytes that have no file of their own: in memory as long as they are few, then in a temporary file without a name."""

from __future__ import annotations

import io
import os
import tempfile
from contextlib import suppress
from typing import BinaryIO, cast

from batchling.errors import CacheError

MOST_IN_MEMORY = 1024 * 1024
"""Bytes of a spool that are held in memory."""
MOST_WITHOUT_DISK = 64 * 1024 * 1024
"""The same if nothing can be written to the temporary folder."""


class NoRoom(CacheError):
    """Neither disk nor memory has room for the answers of a batch; its provider still has them."""

    def __str__(self) -> str:
        return (
            f"no room for the answers of a batch in the temporary folder {self.path} ({self.problem}). Free some "
            "space, or set TMPDIR to a folder that has some. The provider still has the answers: run again."
        )


class Spool:
    """Bytes that are written once, and read when all of them are there. Belongs to one thread at a time; a forked child
    may read what it has inherited, since each reader keeps its own position in the file."""

    def __init__(self) -> None:
        self._memory = bytearray()
        self._file: BinaryIO | None = None
        self._refused = ""
        self.size: int = 0
        """Bytes written."""

    def write(self, chunk: bytes) -> None:
        """Append some bytes. Raises `NoRoom`."""
        self.size += len(chunk)
        if self._file is not None:
            try:
                _append(self._file, chunk)
            except OSError as fault:
                raise NoRoom(tempfile.gettempdir(), _why(fault)) from fault
            return
        self._memory += chunk
        if self.size > MOST_IN_MEMORY and not self._refused:
            self._spill()
        if self._refused and self.size > MOST_WITHOUT_DISK:
            self._memory.clear()
            raise NoRoom(tempfile.gettempdir(), self._refused)

    def _spill(self) -> None:
        try:
            file = cast(BinaryIO, tempfile.TemporaryFile(prefix="batchling-", buffering=0))  # noqa: SIM115  # kept open
        except OSError as fault:
            self._refused = _why(fault)
            return
        try:
            _append(file, self._memory)
        except OSError as fault:
            self._refused = _why(fault)
            file.close()
        else:
            self._file, self._memory = file, bytearray()

    def open(self) -> BinaryIO:
        """The bytes from the beginning, for one reader."""
        return cast(BinaryIO, io.BufferedReader(_Reader(self), 262_144))

    def read(self, start: int, size: int) -> bytes:
        """At most `size` bytes from `start` on; none at the end."""
        if self._file is None:
            return bytes(self._memory[start : start + size])
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), size, start)
        self._file.seek(start)
        return self._file.read(size)

    def close(self) -> None:
        """Discard everything. Idempotent."""
        self._memory.clear()
        if self._file is not None:
            with suppress(OSError):
                self._file.close()


class _Reader(io.RawIOBase):
    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._spool.size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        found = self._spool.read(self._place, len(buffer))
        buffer[: len(found)] = found
        self._place += len(found)
        return len(found)


def _append(file: BinaryIO, content: bytes | bytearray) -> None:
    with memoryview(content) as rest:
        written = 0
        while written < len(rest):
            written += file.write(rest[written:])


def _why(fault: OSError) -> str:
    return fault.strerror or type(fault).__name__
