"""Files as long as the disk works, memory for what it refuses: a broken cache never breaks a run.

What is kept only in memory is lost when the process ends, as with `cache=False`; a warning says so, once for each kind
of problem. A batch that was claimed on disk stays claimed there, so that no other process pays for its requests.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from batchling.cache import Claim, Sink
from batchling.cache.files import FileStore
from batchling.cache.memory import MemoryStore
from batchling.core.lifecycle import Phase, Progress, Record
from batchling.core.model import Target
from batchling.core.seal import Seal
from batchling.errors import CacheError

_log = logging.getLogger(__name__)


class FallbackStore:
    """A `FileStore` with a `MemoryStore` behind it. `load` and `rows` still raise `CacheError`: if the disk cannot be
    read now, that must not be taken to mean that there is nothing on it. So does a sink; the next one keeps the rows in
    memory."""

    def __init__(self, files: FileStore) -> None:
        self._files = files
        self._memory = MemoryStore()
        self._rows_in_memory: set[str] = set()
        self._logged: set[str] = set()

    @property
    def seal(self) -> Seal:
        try:
            return self._files.seal
        except CacheError as fault:
            self._tell(fault, "these requests go on uncached")
            return self._memory.seal

    def lookup(self, keys: Iterable[str]) -> dict[str, str]:
        keys = tuple(keys)
        return self._files.lookup(keys) | self._memory.lookup(keys)

    def claim(self, draft: Record) -> Claim:
        held = self._memory.lookup(draft.members)
        rest = tuple(key for key in draft.members if key not in held)
        if not rest:
            return Claim(None, held)
        try:
            claim = self._files.claim(replace(draft, members=rest))
        except CacheError as fault:
            self._tell(fault, "these requests go on uncached")
            known = self._files.lookup(rest)
            mine = tuple(key for key in rest if key not in known)
            claim = Claim(self._memory.claim(replace(draft, members=mine)).record if mine else None, known)
        return Claim(claim.record, {**held, **claim.theirs})

    def load(self, batch_id: str) -> Record | None:
        return self._memory.load(batch_id) or self._files.load(batch_id)

    def save(self, record: Record) -> None:
        if self._memory.load(record.id) is None:
            try:
                self._files.save(record)
                return
            except CacheError as fault:
                self._tell(fault, "what becomes of its batch is kept in memory; a later run will find out by itself")
        self._memory.save(record)

    def jobs(self) -> frozenset[str]:
        try:
            return self._memory.jobs() | self._files.jobs()
        except CacheError as fault:
            self._tell(fault, "other processes' jobs cannot be seen")
            return self._memory.jobs()

    def in_flight(self, target: Target, but: str = "") -> frozenset[str]:
        found = self._memory.in_flight(target, but)
        try:
            return found | self._files.in_flight(target, but)
        except CacheError as fault:
            self._tell(fault, "other processes' batches cannot be seen")
            return found

    def note(self, batch_id: str, progress: Progress) -> None:
        if self._memory.load(batch_id) is None:
            self._files.note(batch_id, progress)

    def drive(self, batch_id: str) -> bool:
        if self._memory.load(batch_id) is not None:
            return True
        try:
            return self._files.drive(batch_id)
        except CacheError as fault:
            record = self._files.load(batch_id)
            if record is None or record.phase not in (Phase.RUNNING, Phase.ENDED):
                self._tell(fault, "batches that may be under way are left to other processes")
                return False
            # Its job exists: polling it costs nothing, even if that fails.
            self._tell(fault, "jobs are watched without a lock, and their answers are kept in memory")
            self._memory.save(record)
            return True

    def release(self, batch_id: str) -> None:
        self._files.release(batch_id)

    @contextmanager
    def sink(self, batch_id: str) -> Iterator[Sink]:
        if batch_id not in self._rows_in_memory and self._memory.load(batch_id) is None:
            try:
                with self._files.sink(batch_id) as sink:
                    yield sink
                return
            except CacheError as fault:
                # The download starts again, and then goes to where there is room.
                self._tell(fault, "answers are kept in memory")
                self._rows_in_memory.add(batch_id)
                raise
        self._rows_in_memory.add(batch_id)
        with self._memory.sink(batch_id) as sink:
            yield sink

    def has_rows(self, batch_id: str) -> bool:
        try:
            return self._rows_of(batch_id).has_rows(batch_id)
        except CacheError as fault:
            self._read_no_more(batch_id, fault)
            return False

    def keeps(self, batch_id: str) -> bool:
        in_memory = batch_id in self._rows_in_memory or self._memory.load(batch_id) is not None
        return not in_memory and self._files.keeps(batch_id)

    def rows(self, batch_id: str) -> Iterator[bytes]:
        try:
            yield from self._rows_of(batch_id).rows(batch_id)
        except CacheError as fault:
            self._read_no_more(batch_id, fault)
            raise

    def find_rows(self, batch_id: str, keys: Iterable[str], key_of: Callable[[bytes], str]) -> Sequence[bytes]:
        try:
            return self._rows_of(batch_id).find_rows(batch_id, keys, key_of)
        except CacheError as fault:
            self._read_no_more(batch_id, fault)
            return ()

    def drop_rows(self, batch_id: str) -> None:
        try:
            self._rows_of(batch_id).drop_rows(batch_id)
        except CacheError as fault:
            self._read_no_more(batch_id, fault)

    def after_fork(self) -> None:
        self._files.after_fork()

    def stop_waiting(self) -> None:
        self._files.stop_waiting()

    def close(self) -> None:
        self._files.close()
        self._memory.close()

    def _read_no_more(self, batch_id: str, fault: CacheError) -> None:
        self._tell(fault, "answers are downloaded again and kept in memory")
        self._rows_in_memory.add(batch_id)

    def _rows_of(self, batch_id: str) -> FileStore | MemoryStore:
        return self._memory if batch_id in self._rows_in_memory else self._files

    def _tell(self, fault: CacheError, instead: str) -> None:
        if fault.problem not in self._logged:
            self._logged.add(fault.problem)
            _log.warning("%s Until then, %s.", fault, instead)
