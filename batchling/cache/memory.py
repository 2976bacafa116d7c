"""The store's contract in this process's memory: what `cache=False` uses. Touches no disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from batchling.cache import Claim, Sink
from batchling.cache.index import Index
from batchling.core.lifecycle import Phase, Record


class MemoryStore:
    """Records and rows in dictionaries; gone with the process. One scope's own, so nothing to lock."""

    def __init__(self) -> None:
        self._index = Index()
        self._records: dict[str, Record] = {}
        self._rows: dict[str, bytes] = {}

    def lookup(self, key: str) -> str | None:
        return self._index.holder(key)

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
            self._rows.pop(record.id, None)

    def drive(self, batch_id: str) -> bool:
        return True

    def release(self, batch_id: str) -> None:
        pass

    @contextmanager
    def sink(self, batch_id: str) -> Iterator[Sink]:
        yield _MemorySink(self._rows, batch_id)

    def has_rows(self, batch_id: str) -> bool:
        return batch_id in self._rows

    def rows(self, batch_id: str) -> Iterator[bytes]:
        return (line for line in self._rows[batch_id].split(b"\n") if line.strip())

    def find_rows(self, batch_id: str, keys: Iterable[str], key_of: Callable[[bytes], str]) -> Sequence[bytes]:
        wanted = frozenset(keys)
        return [line for line in self.rows(batch_id) if key_of(line) in wanted]

    def after_fork(self) -> None:
        pass

    def close(self) -> None:
        pass


class _MemorySink:
    def __init__(self, rows: dict[str, bytes], batch_id: str) -> None:
        self._rows = rows
        self._batch_id = batch_id
        self._chunks: list[bytes] = []

    def write(self, chunk: bytes) -> None:
        self._chunks.append(chunk)

    def commit(self) -> None:
        self._rows[self._batch_id] = b"".join(self._chunks)
