"""The result rows of ended batches, one JSONL file each. Split at the newline byte only: other line
separators may stand inside a JSON string."""

from __future__ import annotations

import os
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from batchling.cache import Sink

_REMEMBERED = 64
"""Of how many files the offsets are kept."""

Offsets = dict[str, tuple[int, int]]


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
            for line in file:  # a binary file is split on b"\n" alone
                if stripped := line.strip(b" \t\r\n"):
                    yield stripped

    def find(self, batch_id: str, keys: Iterable[str], key_of: Callable[[bytes], str]) -> Sequence[bytes]:
        """The lines of these keys. The file is read through once; then offsets are remembered."""
        with self._path(batch_id).open("rb") as file:
            offsets = self._known_offsets(batch_id, file, key_of)
            found = []
            for place in sorted(offsets[key] for key in keys if key in offsets):
                file.seek(place[0])
                found.append(file.read(place[1]))
            return found

    def _known_offsets(self, batch_id: str, file: BinaryIO, key_of: Callable[[bytes], str]) -> Offsets:
        stat = os.fstat(file.fileno())
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        known = self._offsets.get(batch_id)
        if known is None or known[0] != stamp:
            offsets: Offsets = {}
            start = 0
            for line in file:
                if stripped := line.strip(b" \t\r\n"):
                    offsets[key_of(stripped)] = (start, len(line.rstrip(b"\r\n")))
                start += len(line)
            known = self._offsets[batch_id] = (stamp, offsets)
            while len(self._offsets) > _REMEMBERED:
                self._offsets.popitem(last=False)
        self._offsets.move_to_end(batch_id)
        return known[1]

    @contextmanager
    def sink(self, batch_id: str) -> Iterator[Sink]:
        """A temporary file that `commit` makes the file of the batch."""
        path = self._path(batch_id)
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


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
