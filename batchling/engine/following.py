"""Batches that somebody else submitted, an earlier run or another process: what the store has of them.

Returns what there is, and answers nobody. Belongs to the engine's loop thread.
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
    """What a batch is at this moment: an outcome for some of the keys, or its record when there is more to come."""

    outcome: Outcome | None = None
    keys: tuple[str, ...] = ()
    record: Record | None = None


async def look(disk: Disk, provider: Provider, batch_id: str, keys: tuple[str, ...]) -> Look:
    """What is stored of these keys; those that the batch does not hold (any more); or else its record. Raises
    `CacheError`."""
    store = disk.store
    if stored := await _stored(disk, provider, batch_id, keys):
        return stored
    record = await disk(store.load, batch_id)
    held = frozenset(record.holds) if record is not None else frozenset()
    if lost := tuple(key for key in keys if key not in held):
        return Look(Outcome(blameless=True), lost)
    assert record is not None
    if record.phase is Phase.ENDED and await disk(store.has_rows, batch_id):
        # Its driver may have stored them since we looked.
        if stored := await _stored(disk, provider, batch_id, keys):
            return stored
        # Rows that the record promises are not in the file: the provider has them still.
        _log.warning("batchling: batch %s: stored results are damaged and are downloaded again", batch_id)
        await disk(store.drop_rows, batch_id)
    return Look(record=record)


async def _stored(disk: Disk, provider: Provider, batch_id: str, keys: tuple[str, ...]) -> Look | None:
    """The good rows of these keys that are stored; None when there is none."""
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
