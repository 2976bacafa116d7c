"""Reads the result lines of a batch: which members they belong to, and which members have a good answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from batchling.core.model import Response, Row
from batchling.providers.base import Provider
from batchling.providers.foreign import foreign_format

Rows = dict[str, Row]


@dataclass(frozen=True, slots=True)
class Sorted:
    """The contents of result lines: the rows of the wanted keys, the members with a good answer, the members with any
    line, how many lines are not ours, how many cannot be read, and whose format they have, if it is a known one."""

    rows: Rows
    good: frozenset[str]
    seen: frozenset[str]
    others: int = 0
    unreadable: int = 0
    foreign: str = ""

    @property
    def lines(self) -> int:
        """How many members have a line."""
        return len(self.seen)


def sort_rows(
    provider: Provider,
    lines: Iterable[bytes],
    members: frozenset[str],
    wanted: frozenset[str],
    count: Callable[[Response], None] = lambda _: None,
) -> Sorted:
    """Read result lines, in any order. Lines that are not ours, repeated or unreadable are skipped; a success wins over
    a failure. `count` is called once with the good answer of each member, wanted or not."""
    rows: Rows = {}
    good: set[str] = set()
    seen: set[str] = set()
    others = unreadable = 0
    foreign = ""
    for line in lines:
        try:
            row = provider.row(line)
        except ValueError:
            named = foreign_format(line)
            unreadable += not named
            others += bool(named)
            foreign = foreign or named or ""
            continue
        if row.key not in members:
            others += 1
            continue
        seen.add(row.key)
        if row.key in good:
            continue
        if row.response is not None and row.response.ok:
            good.add(row.key)
            count(row.response)
        if row.key in wanted:
            rows[row.key] = row
    return Sorted(rows, frozenset(good), frozenset(seen), others, unreadable, foreign)
