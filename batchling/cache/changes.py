"""The log of changed records, so that nobody has to look through all of them to find what another process wrote.

    <id> <time>     the record of this batch was changed
    * <time>        anything may have changed before this

A line is appended after the change that it reports. Its writer may be killed in between; an older batchling writes no
lines, and neither does a person who removes or restores files. So the folder of the records serves as a flag. Whoever
has logged a change sets the folder's modification time to the random time of the line, which is long past. Any later
change of its entries, by whomever, sets it to the present. As long as it is the time of the last line, the log explains
all that has happened in the folder, whatever the resolution of the file system's clock. If it is not, records are
looked through as if there were no log: a lost, torn or restored log costs time, never an answer.

Every version creates records under the index lock, which is held while the flag is set. So what the flag may miss are
other changes that are made during the few system calls before that. They never take a key, and whoever needs the record
of a batch loads it first.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

from batchling.cache.durable import new_file, replace_file
from batchling.cache.folder import open_log, open_ours, read_all
from batchling.cache.layout import Layout
from batchling.cache.locks import Lease

MOST_BYTES = 1 << 20
"""Size at which the log is shortened to its last `_KEPT_BYTES`. Who has not read them by then looks at everything."""
_KEPT_BYTES = 1 << 18
_ABSURD = 1 << 26
_TAIL = 128
"""Bytes that contain the last line."""
_LINE = re.compile(rb"([0-9a-f]{24}|\*) ([0-9]{10})")
_ANYTHING = "*"
_TRIES = 3


class Position(NamedTuple):
    """How far the log has been read: `last` is the line that ends at `offset`. Since lines are random, another log
    does not have it there."""

    offset: int
    last: bytes

    @property
    def start(self) -> int:
        """Where that line was appended, with the newline before it."""
        return self.offset - len(self.last) - 1


@dataclass(frozen=True, slots=True)
class _Unread:
    """The part of the log after a position. `ids` is None if anything may have changed; `time` is that of its last
    line, None if there is no log that can be used."""

    ids: frozenset[str] | None = None
    end: Position | None = None
    time: int | None = None


class Changes:
    """The log of one cache folder, and how far its process has read it. Never raises `OSError`."""

    def __init__(self, layout: Layout) -> None:
        # Text, since making paths of these costs more than using them.
        self._path = str(layout.changes)
        self._folder = str(layout.batches)
        self._probe = layout.record("0" * 24)
        self._position: Position | None = None

    def news(self, lease: Lease | None) -> tuple[Position | None, frozenset[str] | None]:
        """The ids of the batches whose records may have changed since the position that was last `reached`, None if
        anything may have, and the position that is reached once they are read. `lease`: the index lock, if it is held.
        """
        for _ in range(_TRIES):  # a change may be under way
            unread = self._unread()
            if self._explains(unread.time):
                return unread.end, unread.ids
            if lease is not None:
                return self._begin_anew(), None
        return self._position, None

    def reached(self, position: Position | None) -> None:
        """Everything that is logged up to this position has been read."""
        self._position = position

    @contextmanager
    def change(self, batch_id: str, lease: Lease | None) -> Iterator[None]:
        """The record of a batch changes in the block. `lease`: the index lock, if it is held; without it, all processes
        will have to look through the records once."""
        with self._opened(shorten=lease is not None) as log:
            explained = lease is not None and self._explains(_last_time(log))
            yield
            time, end = _append(log, batch_id)
            if lease is None or not explained or time is None:
                return
            if lease.holds():
                with suppress(OSError):
                    self._set_flag(time)
            if not lease.holds():  # suspended in between: somebody else may have gone on
                _append(log, _ANYTHING)
            elif end is not None and self._position is not None and self._position.offset == end.start:
                self._position = end

    def _begin_anew(self) -> Position | None:
        """Let the log explain what happens from now on. The caller holds the index lock, and then looks through all
        records. Returns the position reached by that; None if the log cannot be used here."""
        with suppress(OSError), self._opened() as log:
            time, end = _append(log, _ANYTHING)
            if time is not None:
                # Not on every file system does the time of a folder show changes: try that with another time.
                self._set_flag(time - 2)
                with new_file(self._probe):
                    pass
                if not self._explains(time - 2):
                    self._set_flag(time)
                    return end
        return None

    def _explains(self, time: int | None) -> bool:
        """Whether nothing has changed in the folder since it was given this time."""
        try:
            return time is not None and os.stat(self._folder).st_mtime_ns == time * 10**9
        except OSError:
            return False

    def _set_flag(self, time: int) -> None:
        os.utime(self._folder, (time, time))

    @contextmanager
    def _opened(self, *, shorten: bool = False) -> Iterator[FileIO | None]:
        """The log, opened for appending; None if that fails. Whoever holds the index lock may `shorten` it."""
        with ExitStack() as stack:
            log = None
            with suppress(OSError):
                log = stack.enter_context(open_log(self._path))
                if shorten and log.seek(0, os.SEEK_END) > MOST_BYTES:
                    log.seek(-_KEPT_BYTES, os.SEEK_END)
                    replace_file(Path(self._path), log.read(_KEPT_BYTES).partition(b"\n")[2], durable=False)
                    log = stack.enter_context(open_log(self._path))
            yield log

    def _unread(self) -> _Unread:
        position = self._position
        try:
            with open_ours(self._path) as log:
                start = position.offset - len(position.last) if position is not None else 0
                content = _rest(log, start, self._path)
                if position is not None and not content.startswith(position.last):
                    start = 0
                    content = _rest(log, start, self._path)
        except OSError:
            return _Unread()
        whole = content[: content.rfind(b"\n") + 1]
        last = _last(whole)
        if (match := _LINE.fullmatch(last)) is None:
            return _Unread()
        ids = None
        if position is not None and (at := whole.rfind(position.last)) >= 0:
            ids = _ids(whole[at + len(position.last) :])
        return _Unread(ids, Position(start + len(whole), last + b"\n"), int(match[2]))


def _append(log: FileIO | None, batch_id: str) -> tuple[int | None, Position | None]:
    """Append a line, in one write. Returns its time and where it ends; None and None if that fails."""
    # Even seconds are exact on every file system, and the present is never among them.
    time = 2 * (500_000_000 + secrets.randbelow(1 << 28))
    # It starts with a newline, so that an incomplete line before it damages only itself.
    line = f"\n{batch_id} {time}\n".encode()
    with suppress(OSError):
        if log is not None and log.write(line) == len(line):
            return time, Position(log.tell(), line[1:])
    return None, None


def _last_time(log: FileIO | None) -> int | None:
    """The time of the last line; None if there is no such line."""
    with suppress(OSError):
        if log is not None:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL))
            match = _LINE.fullmatch(_last(log.read(_TAIL)))
            return int(match[2]) if match is not None else None
    return None


def _last(content: bytes) -> bytes:
    """The last line that is complete."""
    return content[: content.rfind(b"\n") + 1].rstrip(b"\n").rpartition(b"\n")[2]


def _rest(log: BinaryIO, start: int, path: str) -> bytes:
    log.seek(start)
    return read_all(log, path, _ABSURD)


def _ids(lines: bytes) -> frozenset[str] | None:
    """The batches in these lines; None if they do not tell all."""
    found = set()
    for line in filter(None, lines.split(b"\n")):
        match = _LINE.fullmatch(line)
        if match is None or match[1] == b"*":
            return None
        found.add(match[1].decode())
    return frozenset(found)
