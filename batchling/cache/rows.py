"""The result rows of ended batches: one JSONL file each, or a spool. Split only at the newline byte: other line
separators may occur inside a JSON string."""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from batchling.cache import Sink
from batchling.cache.durable import flush, new_file, sync_folder
from batchling.cache.folder import open_ours
from batchling.cache.layout import TEMPORARY, Layout, set_aside
from batchling.cache.spool import Spool

_REMEMBERED = 64
"""Number of files whose offsets are kept."""

_LONGEST = 1024 * 1024 * 1024
"""The most bytes of a line; anything longer is not a row."""

_BLANK = b" \t\r\n"

Offsets = dict[str, tuple[tuple[int, int], ...]]
"""Where the lines of each key begin, and how long they are."""


class RowFiles:
    """A file for each batch."""

    def __init__(self, layout: Layout) -> None:
        self._path = layout.rows
        self._offsets = _Offsets()

    def exist(self, batch_id: str) -> bool:
        return self._path(batch_id).is_file()

    def read(self, batch_id: str) -> Iterator[bytes]:
        """The lines of a file, without their newline; empty ones are left out."""
        with open_ours(self._path(batch_id)) as file:
            yield from _rows(file)

    def find(self, batch_id: str, keys: Iterable[str], key_of: Callable[[bytes], str]) -> Sequence[bytes]:
        """All lines of these keys. The whole file is read once; after that, the offsets are remembered."""
        with open_ours(self._path(batch_id)) as file:
            stat = os.fstat(file.fileno())
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            return _pick(file, self._offsets.of(batch_id, stamp, file, key_of), keys)

    def drop(self, batch_id: str) -> None:
        """Set aside the file of a batch."""
        path = self._path(batch_id)
        with suppress(FileNotFoundError):
            path.replace(set_aside(path))

    def close(self) -> None:
        """Nothing is open between two calls."""

    @contextmanager
    def sink(self, batch_id: str) -> Iterator[Sink]:
        """A temporary file that `commit` turns into the file of the batch. Only the driver of a batch calls this, so a
        half-written file found here was left by a driver that was killed."""
        path = self._path(batch_id)
        for left in path.parent.glob(f"{path.name}.*.tmp"):
            if TEMPORARY.fullmatch(left.name):
                left.unlink(missing_ok=True)
        with new_file(path) as (file, mine):
            yield _FileSink(file, mine, path)


class _FileSink:
    def __init__(self, file: BinaryIO, mine: Path, path: Path) -> None:
        self._file = file
        self._mine = mine
        self._path = path

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)

    def commit(self) -> None:
        flush(self._file)
        self._mine.replace(self._path)
        sync_folder(self._path.parent)


class SpooledRows:
    """The same if answers must not be on disk, or there is no room for them: in memory as long as they are few, then in
    a file without a name in the system's temporary folder, which disappears with the process."""

    def __init__(self) -> None:
        self._spools: dict[str, Spool] = {}
        self._offsets = _Offsets()

    def exist(self, batch_id: str) -> bool:
        return batch_id in self._spools

    def read(self, batch_id: str) -> Iterator[bytes]:
        """The lines of a batch, without their newline; empty ones are left out."""
        with self._spools[batch_id].open() as file:
            yield from _rows(file)

    def find(self, batch_id: str, keys: Iterable[str], key_of: Callable[[bytes], str]) -> Sequence[bytes]:
        """All lines of these keys, in their order. The first time, everything is read; after that, the offsets are
        remembered."""
        spool = self._spools[batch_id]
        with spool.open() as file:
            return _pick(file, self._offsets.of(batch_id, (id(spool), spool.size, 0), file, key_of), keys)

    def drop(self, batch_id: str) -> None:
        """Forget the rows of a batch."""
        if (spool := self._spools.pop(batch_id, None)) is not None:
            spool.close()

    @contextmanager
    def sink(self, batch_id: str) -> Iterator[Sink]:
        """Takes the bytes that `commit` turns into the rows of the batch."""
        sink = _SpoolSink(self, batch_id)
        try:
            yield sink
        finally:
            if not sink.committed:
                sink.spool.close()

    def keep(self, batch_id: str, spool: Spool) -> None:
        """Make this spool the rows of a batch."""
        self.drop(batch_id)
        self._spools[batch_id] = spool

    def close(self) -> None:
        """Forget all rows. Idempotent."""
        for batch_id in tuple(self._spools):
            self.drop(batch_id)


class _SpoolSink:
    def __init__(self, rows: SpooledRows, batch_id: str) -> None:
        self._rows = rows
        self._batch_id = batch_id
        self.spool = Spool()
        self.committed = False

    def write(self, chunk: bytes) -> None:
        self.spool.write(chunk)

    def commit(self) -> None:
        self._rows.keep(self._batch_id, self.spool)
        self.committed = True


class _Offsets:
    """Where the lines begin, for the most recently used files. A file whose stamp has changed is read again."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[tuple[int, int, int], Offsets]] = OrderedDict()

    def of(self, batch_id: str, stamp: tuple[int, int, int], file: BinaryIO, key_of: Callable[[bytes], str]) -> Offsets:
        """The offsets of a batch's lines."""
        known = self._known.get(batch_id)
        if known is None or known[0] != stamp:
            offsets: Offsets = {}
            start = 0
            for line in _lines(file):
                if stripped := line.strip(_BLANK):
                    key = key_of(stripped)
                    offsets[key] = (*offsets.get(key, ()), (start, len(line.rstrip(b"\r\n"))))
                start += len(line)
            known = self._known[batch_id] = (stamp, offsets)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        self._known.move_to_end(batch_id)
        return known[1]


def _pick(file: BinaryIO, offsets: Offsets, keys: Iterable[str]) -> Sequence[bytes]:
    """The lines of these keys, in the order of the file."""
    found = []
    for start, length in sorted(place for key in keys for place in offsets.get(key, ())):
        file.seek(start)
        found.append(file.read(length))
    return found


def _rows(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, without their newline; empty ones are left out."""
    for line in _lines(file):
        if stripped := line.strip(_BLANK):
            yield stripped


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, split only at newline bytes. Raises `OSError` for a line that is too long to be a row."""
    while line := file.readline(_LONGEST):
        if len(line) == _LONGEST:
            raise OSError(errno.EFBIG, "a result row of more than a gigabyte")
        yield line
