"""Reads the result lines of a batch: whose they are, and who has a good answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from batchling.core.model import Response, Row
from batchling.providers.base import Provider

Rows = dict[str, Row]


@dataclass(frozen=True, slots=True)
class Sorted:
    """What result lines say: the rows of the wanted keys, the members with a good answer, how many have any."""

    rows: Rows
    good: frozenset[str]
    lines: int


def sort_rows(
    provider: Provider,
    lines: Iterable[bytes],
    members: frozenset[str],
    wanted: frozenset[str],
    count: Callable[[Response], None] = lambda _: None,
) -> Sorted:
    """Read result lines. Lines in any order, of strangers, twice or unreadable are passed over; a success wins over a
    failure. `count` is called with the good answer of each member once, whoever waits for it."""
    rows: Rows = {}
    good: set[str] = set()
    seen: set[str] = set()
    for line in lines:
        try:
            row = provider.row(line)
        except ValueError:
            continue
        if row.key not in members:
            continue
        seen.add(row.key)
        if row.key in good:
            continue
        if row.response is not None and row.response.ok:
            good.add(row.key)
            count(row.response)
        if row.key in wanted:
            rows[row.key] = row
    return Sorted(rows, frozenset(good), len(seen))
