"""The search for the row for which a provider refuses, or fails, a whole batch. Decides; never submits.

Providers name that row in a field of its own, in words, by a number that may count from 0 or from 1, or not at all
(shared reports of 2026: Mistral, OpenRouter, Together, Vertex). What they name is put into a batch of its own, which
proves it; where nobody is named, halves find it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

MOST_REFUSED = 128
"""Refused parts of one batch, with none accepted, after which the refusal is taken to concern every row."""

_WORD = re.compile(r"[\w.:-]+")
_INDEX = re.compile(
    r"""(?<![A-Za-z]) (?:  # requests[1], "requests", 1; line 2, "line": 2, row #2, request number 2, Request at line 2
        (?:requests|rows|items|lines|records|entries) \W{0,3} [\[,.] \s? (\d{1,9}) \b
      | (?:line|row|request|item|record|index|entry|position) s? \W{1,4}
        (?: (?:number|no|at|line|index) \W{1,3} ){0,2} (\d{1,9}) \b
    )""",
    re.IGNORECASE | re.VERBOSE,
)


@dataclass(slots=True)
class _State:
    """What the parts of one search share."""

    repeats: int = 0
    refused: int = 0
    accepted: bool = False
    misled: bool = False
    by_jobs: bool = False


class Search:
    """One part of a search, and what it shares with the others; `suspected` says that a text named its keys."""

    def __init__(self, shared: _State | None = None, *, suspected: bool = False) -> None:
        self._shared = shared or _State()
        self._suspected = suspected

    @property
    def repeats(self) -> int:
        """How often the whole batch was tried again."""
        return self._shared.repeats

    @property
    def by_jobs(self) -> bool:
        """Whether parts are refused after their job exists."""
        return self._shared.by_jobs

    def accept(self) -> None:
        """The provider has taken this part; if a text named it, the text was wrong."""
        self._shared.accepted = True
        self._shared.misled |= self._suspected

    def split(self, keys: Keys, suspects: Collection[str], repeats: int, *, by_jobs: bool) -> Parts:
        """The batches that are to be submitted instead of this part, which came to nothing; none when the refusal is
        its keys' own. Whole, it is tried again up to `repeats` times first."""
        shared = self._shared
        shared.refused += 1
        shared.by_jobs = by_jobs
        if shared.repeats < repeats:
            shared.repeats += 1
            return ((keys, self),)
        if len(keys) < 2 or self._gives_up():
            return ()
        named = frozenset(suspects).intersection(keys)
        if named and len(named) < len(keys) and not shared.misled:
            apart = tuple(key for key in keys if key in named)
            rest = tuple(key for key in keys if key not in named)
            return ((apart, Search(shared, suspected=True)), (rest, Search(shared)))
        middle = (len(keys) + 1) // 2
        return ((keys[:middle], Search(shared)), (keys[middle:], Search(shared)))

    def go_on(self, keys: Keys) -> Parts:
        """The same for the keys that are left when others were to blame for certain."""
        self._shared.refused += 1
        return () if self._gives_up() or not keys else ((keys, self),)

    def _gives_up(self) -> bool:
        return self._shared.refused >= MOST_REFUSED and not self._shared.accepted


Keys = tuple[str, ...]
Parts = tuple[tuple[Keys, Search], ...]


def suspects(text: str, keys: Sequence[str]) -> frozenset[str]:
    """The keys that a refusal names, itself or by a number. A number is taken to count from 1 and from 0: it says where
    to look first, and proves nothing."""
    found = frozenset(_WORD.findall(text)).intersection(keys)
    if found:
        return found
    numbers = {int(first or second) for first, second in _INDEX.findall(text)}
    return frozenset(keys[place] for number in numbers for place in (number - 1, number) if 0 <= place < len(keys))


def unnamed(text: str, keys: Collection[str]) -> str:
    """A text without these keys: nobody is told those of others."""
    return _WORD.sub(lambda word: "(another request)" if word[0] in keys else word[0], text)
