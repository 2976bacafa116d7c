"""The requests of a program's last run, as footprints: one small file for each kind of call that the program makes.

A file's name is the digest of program, provider, endpoint and model.

They contain digests, never text. Nothing depends on these files: one that cannot be read or written is skipped. A file
is replaced as a whole but not flushed, since the next run writes it again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from batchling.cache.durable import replace_file
from batchling.cache.folder import Folder, open_ours
from batchling.cache.layout import PROGRAMS, Layout
from batchling.core.fingerprint import digest
from batchling.core.footprint import Footprint
from batchling.errors import CacheError

MOST_FILES = 256
"""Number of files that are kept, the newest ones."""
MOST_BYTES = 1_000_000
"""The most bytes of a file that are read."""


class _Document(msgspec.Struct):
    """Footprints as a table, since most of them have the same paths. A later batchling may write another `version`."""

    version: int
    paths: list[str]
    rows: list[list[str | None]]


class Footprints:
    """The footprints of one `program` in a cache folder. As thread-safe as files are; never raises."""

    def __init__(self, folder: str, program: str) -> None:
        self._place = Folder(folder)
        self._layout = Layout(self._place.path)
        self._program = program

    def _path(self, queue: tuple[str, str, str]) -> Path:
        return self._layout.requests(digest(self._program, *queue))

    def read(self, queue: tuple[str, str, str]) -> list[Footprint]:
        """The footprints of the last run's calls of one queue; empty if there are none that can be read."""
        try:
            with open_ours(self._path(queue)) as file:
                found = msgspec.json.decode(file.read(MOST_BYTES), type=_Document)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return []
        if found.version != 1:
            return []
        rows = [dict(zip(found.paths, row, strict=False)) for row in found.rows]
        return [{path: value for path, value in row.items() if value is not None} for row in rows]

    def write(self, queue: tuple[str, str, str], footprints: Sequence[Footprint]) -> None:
        """Replace the footprints of a queue."""
        paths = list(dict.fromkeys(path for each in footprints for path in each))
        rows: list[list[str | None]] = [[each.get(path) for path in paths] for each in footprints]
        with suppress(OSError, CacheError):
            self._place.prepare(PROGRAMS)
            replace_file(self._path(queue), msgspec.json.encode(_Document(1, paths, rows)), durable=False)
            self._forget_the_oldest()

    def _forget_the_oldest(self) -> None:
        names = [entry.path for entry in self._place.files(PROGRAMS)]
        if len(names) > MOST_FILES:
            found = []
            for name in names:
                with suppress(FileNotFoundError):
                    found.append((os.stat(name).st_mtime_ns, name))
            for _, name in sorted(found)[: len(names) - MOST_FILES]:
                with suppress(FileNotFoundError):
                    os.unlink(name)
