"""A store in this process's memory: used for `cache=False`. The only things on disk are answers for which there is no
room in memory, in files without a name (see `spool`)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from batchling.cache import Claim, Sink
from batchling.cache.index import Index, is_in_flight
from batchling.cache.rows import SpooledRows
from batchling.core.lifecycle import Phase, Progress, Record
from batchling.core.model import Target
from batchling.core.seal import Seal


class MemoryStore:
    """Records in a dictionary, rows in spools; lost when the process ends. It belongs to one scope, so nothing is
    locked."""

    def __init__(self) -> None:
        self._index = Index()
        self._records: dict[str, Record] = {}
        self._rows = SpooledRows()
        self.seal: Seal = Seal(secrets.token_bytes(32))

    def lookup(self, keys: Iterable[str]) -> dict[str, str]:
        return self._index.holders(keys)

    def claim(self, draft: Record) -> Claim:
        mine, theirs = self._index.divide(draft.members)
        if not mine:
            return Claim(None, theirs)
        record = replace(draft, members=mine)
        self.save(record)
        return Claim(record, theirs)

    def load(self, batch_id: str) -> Record | None:
        return self._records.get(batch_id)

    def save(self, record: Record) -> None:
        self._records[record.id] = record
        self._index.take_in(record)
        if record.phase is Phase.DEAD:
            self._rows.drop(record.id)

    def jobs(self) -> frozenset[str]:
        return frozenset(record.job.id for record in tuple(self._records.values()) if record.job is not None)

    def in_flight(self, target: Target, but: str = "") -> frozenset[str]:
        records = tuple(self._records.values())
        return frozenset(record.id for record in records if is_in_flight(record, target) and record.id != but)

    def note(self, batch_id: str, progress: Progress) -> None:
        pass  # nobody else sees it

    def drive(self, batch_id: str) -> bool:
        return True

    def release(self, batch_id: str) -> None:
        pass

    def sink(self, batch_id: str) -> AbstractContextManager[Sink]:
        return self._rows.sink(batch_id)

    def has_rows(self, batch_id: str) -> bool:
        return self._rows.exist(batch_id)

    def keeps(self, batch_id: str) -> bool:
        return self.has_rows(batch_id)  # nobody else needs them

    def rows(self, batch_id: str) -> Iterator[bytes]:
        return self._rows.read(batch_id)

    def find_rows(self, batch_id: str, keys: Iterable[str], key_of: Callable[[bytes], str]) -> Sequence[bytes]:
        return self._rows.find(batch_id, keys, key_of)

    def drop_rows(self, batch_id: str) -> None:
        self._rows.drop(batch_id)

    def after_fork(self) -> None:
        pass

    def stop_waiting(self) -> None:
        pass

    def close(self) -> None:
        self._rows.close()
