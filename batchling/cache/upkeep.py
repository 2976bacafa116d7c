"""Inspects a cache folder and cleans it up while other processes use it.

Nothing is removed that is planned or running, or whose driver is alive: a record is removed while we hold its drive
lock and the lock of the folder. A process that waits for a removed batch finds no record and sends its requests again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import Timeout

from batchling.cache.files import FileStore
from batchling.cache.folder import Folder
from batchling.cache.layout import LEFT_BEHIND, Layout
from batchling.cache.locks import HELD, IndexLock, file_lock
from batchling.cache.notes import Notes
from batchling.core.lifecycle import Phase, Progress, Record
from batchling.errors import CacheError


@dataclass(frozen=True, slots=True)
class Removed:
    """What was cleaned up: `records` and `results` of batches, `damaged` files that had been set aside, `leftovers` of
    killed processes, and how many `bytes` that freed. `kept` is how many batches were old enough, but in use.
    """

    records: int = 0
    results: int = 0
    damaged: int = 0
    leftovers: int = 0
    bytes: int = 0
    kept: int = 0


@dataclass(frozen=True, slots=True)
class Contents:
    """What a cache folder contains. `bytes` counts all of it, `newer` the records that only a newer batchling can
    read."""

    path: str
    bytes: int = 0
    batches: dict[Phase, int] = field(default_factory=dict)
    results: int = 0
    result_bytes: int = 0
    damaged: int = 0
    leftovers: int = 0
    newer: int = 0


class Upkeep:
    """See the module. Does not create a folder that does not exist yet. Raises `CacheError` for one that cannot be
    used."""

    def __init__(self, folder: str, now: Callable[[], float]) -> None:
        self._place = Folder(folder)
        self._folder = self._place.path
        self._layout = Layout(self._folder)
        self._store = FileStore(folder, look=True)
        self._notes = Notes(self._layout)
        self._now = now

    def close(self) -> None:
        """Release every lock."""
        self._store.close()

    def records(self) -> list[Record]:
        """All records as they are stored now."""
        return self._store.records()

    def progress(self, batch_id: str) -> Progress | None:
        """The status of a batch's job as the provider last reported it, to whichever process."""
        return self._notes.read(batch_id)

    def has_rows(self, batch_id: str) -> bool:
        """Whether the results of a batch are stored."""
        return self._store.has_rows(batch_id)

    def is_driven(self, batch_id: str) -> bool:
        """Whether a live process drives this batch. True if that cannot be determined."""
        path = self._layout.lock(batch_id)
        if not path.exists():
            return False
        try:
            with file_lock(path, timeout=0):
                return False
        except (Timeout, OSError, NotImplementedError):
            return True

    def contents(self) -> Contents:
        """Count what is there."""
        phases = Counter(record.phase for record in self.records())
        files = [(path, size) for path, _, size in self._files()]
        results = [size for path, size in files if path.parent == self._layout.results and path.suffix == ".jsonl"]
        records = sum(1 for path, _ in files if path.parent == self._layout.batches and path.suffix == ".json")
        return Contents(
            str(self._folder),
            sum(size for _, size in files),
            dict(phases),
            len(results),
            sum(results),
            sum(path.suffix == ".damaged" for path, _ in files),
            sum(path.suffix == ".tmp" for path, _ in files),
            records - phases.total(),
        )

    def prune(self, older_than: float) -> Removed:
        """Remove what ended, died or was set aside more than `older_than` seconds ago, and what killed processes left
        behind."""
        before = self._now() - older_than
        found: Counter[str] = Counter()
        for record in self.records():
            if record.phase in (Phase.ENDED, Phase.DEAD) and self._touched(record) < before:
                self._remove(record.id, before, found)
        for path, touched, size in self._files():
            if self._is_rubbish(path, touched, before) and _unlink(path):
                kind = "damaged" if path.suffix == ".damaged" else "results" if path.suffix == ".jsonl" else "leftovers"
                found[kind] += 1
                found["bytes"] += size
        return Removed(**found)

    @contextmanager
    def _locked(self) -> Iterator[Callable[[], bool]]:
        """Hold the lock of the folder; the function that is yielded returns whether it is still ours."""
        try:
            with IndexLock(self._folder).held() as lease:
                yield lease.holds
        except Timeout as fault:
            raise CacheError(str(self._folder), HELD) from fault

    def _touched(self, record: Record) -> float:
        """The latest time at which a record or its results may have been written."""
        times = [record.created_at]
        for path in (self._layout.record(record.id), self._layout.rows(record.id)):
            with suppress(OSError):
                times.append(path.stat().st_mtime)
        return max(times)

    def _remove(self, batch_id: str, before: float, found: Counter[str]) -> None:
        """Remove a batch, unless its record has moved or it is in use."""
        with self._locked() as holds:
            if self.is_driven(batch_id) or not self._store.drive(batch_id):
                found["kept"] += 1
                return
            try:
                # Read again: it may have moved before we had the locks.
                record = self._store.load(batch_id)
                if record is None or record.phase not in (Phase.ENDED, Phase.DEAD) or self._touched(record) >= before:
                    return
                results, document = self._layout.rows(batch_id), self._layout.record(batch_id)
                found["bytes"] += _size(results) + _size(document)
                if holds():
                    # The record first: without its results, it would promise what is not there.
                    found["records"] += _unlink(document)
                    found["results"] += _unlink(results)
                    _unlink(self._layout.note(batch_id))
            finally:
                self._store.release(batch_id)
            _unlink(self._layout.lock(batch_id))

    def _is_rubbish(self, path: Path, touched: float, before: float) -> bool:
        """Whether a file is no longer needed: the temporary file of a writer that was killed, a file that was set
        aside, or one that belongs to a record that is gone."""
        if path.suffix == ".damaged":
            return touched < before
        if path.parent == self._layout.programs:
            return touched < before
        if self._now() - touched < LEFT_BEHIND:
            return False
        if path.parent == self._folder:
            return path.suffix == ".tmp"
        batch_id = path.name.partition(".")[0]
        if path.suffix == ".tmp":
            return not self.is_driven(batch_id)
        if path.suffix not in (".lock", ".note", ".jsonl") or self._layout.record(batch_id).exists():
            return False
        return not self.is_driven(batch_id) and (path.suffix != ".jsonl" or touched < before)

    def _files(self) -> Iterator[tuple[Path, float, int]]:
        """Every file of ours, with its time of writing and its size."""
        for entry in self._place.files():
            with suppress(FileNotFoundError):
                stat = entry.stat(follow_symlinks=False)
                yield Path(entry.path), stat.st_mtime, stat.st_size


def _unlink(path: Path) -> bool:
    """Remove a file; false if that fails, or it is already gone."""
    try:
        path.unlink()
    except OSError:
        return False
    return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
