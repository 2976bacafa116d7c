"""Which live batch holds a key: the in-memory index over all records of a store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from batchling.core.lifecycle import Phase, Record
from batchling.core.model import Target


class Index:
    """Maps each held key to the id of its batch. Belongs to the store's one thread; a claim decides under the store's
    lock."""

    def __init__(self) -> None:
        self._holders: dict[str, str] = {}

    def holders(self, keys: Iterable[str]) -> dict[str, str]:
        """The batch that holds each of these keys, for those that have one."""
        keys = tuple(keys)
        # Most keys are new to the cache: this is many times as fast as to look up each of them.
        held = self._holders.keys() & keys
        return {key: self._holders[key] for key in keys if key in held} if held else {}

    def divide(self, keys: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
        """The keys that nobody holds, in order, and the batch that holds each of the others."""
        theirs = self.holders(keys)
        return tuple(key for key in keys if key not in theirs) if theirs else tuple(keys), theirs

    def take_in(self, record: Record) -> None:
        """Update what a record holds now; keys that it no longer holds are free."""
        held = record.holds
        if len(held) < len(record.members):
            for key in record.members:
                if self._holders.get(key) == record.id:
                    del self._holders[key]
        self._holders.update(dict.fromkeys(held, record.id))

    def forget(self, batch_id: str, keys: Iterable[str]) -> None:
        """Free the keys of a record that is gone."""
        for key in keys:
            if self._holders.get(key) == batch_id:
                del self._holders[key]


def is_in_flight(record: Record, target: Target) -> bool:
    """Whether a batch of this account and model may be under way at the provider."""
    of = record.target
    there = record.phase is Phase.RUNNING or (record.phase is Phase.PLANNED and record.left_at is not None)
    return there and of.account_key == target.account_key and of.model == target.model
