"""Which items are submitted together, and when. Time is an argument: seconds of a clock that only goes forward."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from batchling.core.model import Item, Target

ROW_OVERHEAD = 200
"""Bytes that a provider's row adds to a request body, estimated generously."""


class Window:
    """The items of one queue that have not been submitted yet.

    It is due when it holds `size` items, or `seconds` after the first. Not thread-safe: the engine's loop thread owns
    it.
    """

    def __init__(self, size: int, seconds: float) -> None:
        self._size = size
        self._seconds = seconds
        self._items: dict[str, tuple[Target, Item]] = {}
        self._first = 0.0

    def __len__(self) -> int:
        return len(self._items)

    def add(self, target: Target, item: Item, now: float) -> None:
        """Add an item, whose key must be new here."""
        if not self._items:
            self._first = now
        self._items[item.key] = (target, item)

    def remove(self, key: str) -> bool:
        """Remove an item; false if it is not here."""
        return self._items.pop(key, None) is not None

    def waiting(self) -> tuple[str, ...]:
        """The keys of the items, in order of arrival."""
        return tuple(self._items)

    @property
    def full(self) -> bool:
        return len(self._items) >= self._size

    @property
    def leaves_at(self) -> float | None:
        """When the first item will have waited long enough; None if the window is empty."""
        return self._first + self._seconds if self._items else None

    def due(self, now: float) -> bool:
        """Whether the items must be submitted now."""
        return bool(self._items) and (self.full or now >= self._first + self._seconds)

    def take(self) -> dict[Target, list[Item]]:
        """Empty the window and return its items in order of arrival, grouped by what may share a batch."""
        groups: dict[Target, list[Item]] = {}
        for target, item in self._items.values():
            groups.setdefault(target, []).append(item)
        self._items = {}
        return groups


def split(
    items: Iterable[Item],
    *,
    rows: int,
    size: int,
    inputs: int | None = None,
    weight: Callable[[Item], int] = lambda _: 0,
) -> Iterator[list[Item]]:
    """Split items into batches of at most `rows` rows, `size` bytes and `inputs` inputs (`weight` returns the number of
    an item's inputs), in order. An item that is too large gets its own batch."""
    batch: list[Item] = []
    total = taken = 0
    for item in items:
        length = len(item.request.body) + ROW_OVERHEAD
        weighs = weight(item) if inputs is not None else 0
        full = len(batch) >= rows or total + length > size or (inputs is not None and taken + weighs > inputs)
        if batch and full:
            yield batch
            batch, total, taken = [], 0, 0
        batch.append(item)
        total += length
        taken += weighs
    if batch:
        yield batch
