"""Which live batch holds a key: the in-memory index over all records of a store."""

from __future__ import annotations

from collections.abc import Iterable

from batchling.core.lifecycle import Phase, Record
from batchling.core.model import Target


class Index:
    """Maps each held key to the id of its batch. Changed in the disk thread, read in the loop thread: each operation on
    the dictionary is atomic, and the decision is made by a claim under the store's lock anyway."""

    def __init__(self) -> None:
        self._holders: dict[str, str] = {}

    def divide(self, keys: Iterable[str]) -> tuple[tuple[str, ...], dict[str, str]]:
        """The keys that nobody holds, in order, and the batch that holds each of the others."""
        mine: list[str] = []
        theirs: dict[str, str] = {}
        for key in keys:
            if (holder := self._holders.get(key)) is None:
                mine.append(key)
            else:
                theirs[key] = holder
        return tuple(mine), theirs

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
    asked = (target.provider, target.base_url, target.account, target.model)
    of = record.target
    there = record.phase is Phase.RUNNING or (record.phase is Phase.PLANNED and record.left_at is not None)
    return there and (of.provider, of.base_url, of.account, of.model) == asked
