"""The result rows of ended batches: one JSONL file each, or in memory. Split at the newline byte only: other line
separators may stand inside a JSON string."""

from __future__ import annotations

import errno
import os
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from batchling.cache import Sink
from batchling.cache.durable import sync_folder

_REMEMBERED = 64
"""Of how many files the offsets are kept."""

_LONGEST = 1024 * 1024 * 1024
"""Bytes of a line at most; more is not a row."""

_BLANK = b" \t\r\n"

Offsets = dict[str, tuple[tuple[int, int], ...]]
"""Where the lines of a key begin, and how long they are."""


class RowFiles:
    """`folder/<batch id>.jsonl`; the caller checks the id."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._offsets: OrderedDict[str, tuple[tuple[int, int, int], Offsets]] = OrderedDict()

    def _path(self, batch_id: str) -> Path:
        return self.folder / f"{batch_id}.jsonl"

    def exist(self, batch_id: str) -> bool:
        return self._path(batch_id).is_file()

    def read(self, batch_id: str) -> Iterator[bytes]:
        """The lines of a file, without their newline; empty ones are left out."""
        with self._path(batch_id).open("rb") as file:
            for line in _lines(file):
                if stripped := line.strip(_BLANK):
                    yield stripped

    def find(self, batch_id: str, keys: Iterable[str], key_of: Callable[[bytes], str]) -> Sequence[bytes]:
        """All lines of these keys. The file is read through once; then offsets are remembered."""
        with self._path(batch_id).open("rb") as file:
            offsets = self._known_offsets(batch_id, file, key_of)
            found = []
            for start, length in sorted(place for key in keys for place in offsets.get(key, ())):
                file.seek(start)
                found.append(file.read(length))
            return found

    def _known_offsets(self, batch_id: str, file: BinaryIO, key_of: Callable[[bytes], str]) -> Offsets:
        stat = os.fstat(file.fileno())
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        known = self._offsets.get(batch_id)
        if known is None or known[0] != stamp:
            offsets: Offsets = {}
            start = 0
            for line in _lines(file):
                if stripped := line.strip(_BLANK):
                    key = key_of(stripped)
                    offsets[key] = (*offsets.get(key, ()), (start, len(line.rstrip(b"\r\n"))))
                start += len(line)
            known = self._offsets[batch_id] = (stamp, offsets)
            while len(self._offsets) > _REMEMBERED:
                self._offsets.popitem(last=False)
        self._offsets.move_to_end(batch_id)
        return known[1]

    def drop(self, batch_id: str) -> None:
        """Set the file of a batch aside."""
        path = self._path(batch_id)
        with suppress(FileNotFoundError):
            path.replace(path.with_suffix(".jsonl.damaged"))

    @contextmanager
    def sink(self, batch_id: str) -> Iterator[Sink]:
        """A temporary file that `commit` makes the file of the batch. Only its driver asks for one: what lies there
        half-written is of a driver that was killed."""
        path = self._path(batch_id)
        for left in self.folder.glob(f"{path.name}.*.tmp"):
            left.unlink(missing_ok=True)
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
        file = os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        try:
            os.fchmod(file.fileno(), 0o600)
            yield _FileSink(file, temporary, path)
        finally:
            # What is kept is on the disk since `commit`; that the rest cannot be flushed is no fault.
            with suppress(OSError):
                file.close()
            with suppress(OSError):
                temporary.unlink()


class _FileSink:
    def __init__(self, file: BinaryIO, temporary: Path, path: Path) -> None:
        self._file = file
        self._temporary = temporary
        self._path = path

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)

    def commit(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._temporary.replace(self._path)
        sync_folder(self._path.parent)


class MemoryRows:
    """The same in memory, for whoever wants no answer on the disk."""

    def __init__(self) -> None:
        self._rows: dict[str, bytes] = {}

    def exist(self, batch_id: str) -> bool:
        return batch_id in self._rows

    def read(self, batch_id: str) -> Iterator[bytes]:
        """The lines of a batch, without their newline; empty ones are left out."""
        for line in self._rows[batch_id].split(b"\n"):
            if stripped := line.strip(_BLANK):
                yield stripped

    def find(self, batch_id: str, keys: Iterable[str], key_of: Callable[[bytes], str]) -> Sequence[bytes]:
        """All lines of these keys."""
        wanted = frozenset(keys)
        return [line for line in self.read(batch_id) if key_of(line) in wanted]

    def drop(self, batch_id: str) -> None:
        """Forget the rows of a batch."""
        self._rows.pop(batch_id, None)

    @contextmanager
    def sink(self, batch_id: str) -> Iterator[Sink]:
        """Takes what `commit` makes the rows of the batch."""
        yield _MemorySink(self._rows, batch_id)


class _MemorySink:
    def __init__(self, rows: dict[str, bytes], batch_id: str) -> None:
        self._rows = rows
        self._batch_id = batch_id
        self._chunks: list[bytes] = []

    def write(self, chunk: bytes) -> None:
        self._chunks.append(chunk)

    def commit(self) -> None:
        self._rows[self._batch_id] = b"".join(self._chunks)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, split at newline bytes alone. Raises `OSError` for one that is no row by its length."""
    while line := file.readline(_LONGEST):
        if len(line) == _LONGEST:
            raise OSError(errno.EFBIG, "a result row of over a gigabyte")
        yield line
