"""What the store has of batches that an earlier run or another process submitted.

Only reads: answers no caller. Belongs to the engine's loop thread.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from batchling.core.lifecycle import Phase, Record
from batchling.engine.batch import Outcome
from batchling.engine.disk import Disk
from batchling.engine.results import Rows, sort_rows
from batchling.providers.base import Provider

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Look:
    """The current state of a batch: an outcome for some of the keys, or its record if results are still to come."""

    outcome: Outcome | None = None
    keys: tuple[str, ...] = ()
    record: Record | None = None


async def look(disk: Disk, provider: Provider, batch_id: str, keys: tuple[str, ...]) -> Look:
    """Returns the stored answers to these keys, if there are any; otherwise, the keys that the batch does not hold (any
    more), with an outcome that lets them be submitted again; otherwise, its record. Raises `CacheError`."""
    store = disk.store
    if stored := await _stored(disk, provider, batch_id, keys):
        return stored
    record = await disk(store.load, batch_id)
    held = frozenset(record.holds) if record is not None else frozenset()
    if lost := tuple(key for key in keys if key not in held):
        return Look(Outcome(blameless=True), lost)
    assert record is not None
    if record.phase is Phase.ENDED and await disk(store.has_rows, batch_id):
        # Its driver may have stored the rows since we looked.
        if stored := await _stored(disk, provider, batch_id, keys):
            return stored
        # Rows that the record promises are not in the file: download them again.
        _log.warning("batchling: batch %s: stored results are damaged; downloading them again", batch_id)
        await disk(store.drop_rows, batch_id)
    return Look(record=record)


async def _stored(disk: Disk, provider: Provider, batch_id: str, keys: tuple[str, ...]) -> Look | None:
    """The stored successful rows of these keys; None if there are none."""
    store = disk.store

    def read() -> Rows:
        if not store.has_rows(batch_id):
            return {}
        lines = store.find_rows(batch_id, keys, lambda line: _key_of(provider, line))
        found = sort_rows(provider, lines, frozenset(keys), frozenset(keys))
        return {key: found.rows[key] for key in found.good}

    good = await disk(read)
    return Look(Outcome(good), tuple(good)) if good else None


def _key_of(provider: Provider, line: bytes) -> str:
    try:
        return provider.row(line).key
    except ValueError:
        return ""
