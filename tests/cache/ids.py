"""Ids of batches, in the form that the engine gives them, and who holds a key."""

from __future__ import annotations

from batchling.cache import Store

B0, B1, B2, B3, B9 = (f"b{number}{'0' * 22}" for number in (0, 1, 2, 3, 9))


def holder(store: Store, key: str) -> str | None:
    """The batch that holds one key."""
    return store.lookup([key]).get(key)
