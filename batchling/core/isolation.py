"""The search for the row that makes a provider refuse, or fail, a whole batch. Decides; never submits.

Providers name that row in a separate field, in words, by a number that may count from 0 or from 1, or not at all
(shared reports of 2026: Mistral, OpenRouter, Together, Vertex). A named row is put into its own batch, which proves
whether it is the one; if no row is named, it is found by halving the batch.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

MOST_REFUSED = 128
"""Refused parts of one batch, with none accepted, after which the refusal is assumed to concern every row."""

# Patterns are compiled when they are first used: few batches are refused.
_WORD = r"[\w.:-]+"
_FROM_ZERO = r"""(?ix)
    (?<![A-Za-z]) (?:requests?|rows?|items?|lines?|records?|entries) \W{0,3} [\[,.] \s? (\d{1,9}) \b  # requests[1]
    | "(?:line|row|request|item|record|index|entry|position)" \s? : \s? (\d{1,9}) \b
    | \b index \W{1,3} (\d{1,9}) \b"""
_FROM_ONE = r"""(?ix)
    (?<![A-Za-z"]) (?:line|row|request|item|record|entry|position) s? [^\w\[]{1,4}  # Request at line 2, row no. 2
    (?: (?:number|no|at|line) \W{1,3} ){0,2} (\d{1,9}) \b"""


@dataclass(slots=True)
class _State:
    """What the parts of one search share; `misled` counts how often a text named rows that were good."""

    repeats: int = 0
    refused: int = 0
    accepted: bool = False
    misled: int = 0
    by_jobs: bool = False


class Search:
    """One part of a search, and what it shares with the others. `suspected`: a text named its keys."""

    def __init__(self, shared: _State | None = None, *, suspected: bool = False) -> None:
        self._shared = shared or _State()
        self._suspected = suspected

    @property
    def repeats(self) -> int:
        """How often the whole batch was tried again."""
        return self._shared.repeats

    @property
    def by_jobs(self) -> bool:
        """Whether parts are refused only after their job has been created."""
        return self._shared.by_jobs

    def accept(self) -> None:
        """Record that the provider has accepted this part. If a text named it, the text was wrong."""
        self._shared.accepted = True
        self._shared.misled += self._suspected

    def split(self, keys: Keys, suspects: Sequence[Collection[str]], repeats: int, *, by_jobs: bool) -> Parts:
        """The batches to submit instead of this failed part; none if its keys themselves are to blame. First it is
        tried again whole, up to `repeats` times. Then the `suspects` are used, the likeliest first, each after the ones
        before it turned out wrong, and after the last of them, halves."""
        shared = self._shared
        shared.refused += 1
        shared.by_jobs = by_jobs
        if shared.repeats < repeats:
            shared.repeats += 1
            return ((keys, self),)
        if len(keys) < 2 or self._gives_up():
            return ()
        for named in suspects[shared.misled :]:
            apart = tuple(key for key in keys if key in named)
            if 0 < len(apart) < len(keys):
                rest = tuple(key for key in keys if key not in named)
                return ((apart, Search(shared, suspected=True)), (rest, Search(shared)))
        middle = (len(keys) + 1) // 2
        return ((keys[:middle], Search(shared)), (keys[middle:], Search(shared)))

    def go_on(self, keys: Keys) -> Parts:
        """The same for the remaining keys, once others are known for certain to be to blame."""
        self._shared.refused += 1
        return () if self._gives_up() or not keys else ((keys, self),)

    def _gives_up(self) -> bool:
        return self._shared.refused >= MOST_REFUSED and not self._shared.accepted


Keys = tuple[str, ...]
Parts = tuple[tuple[Keys, Search], ...]


def named(text: str, keys: Collection[str]) -> frozenset[str]:
    """The keys that occur in a text."""
    return frozenset(re.findall(_WORD, text)).intersection(keys)


def suspects(text: str, keys: Sequence[str]) -> tuple[frozenset[str], frozenset[str]]:
    """The keys that a text names by a number: first as such texts usually count, then as they may count instead. This
    only shows where to look first; it proves nothing."""
    zero = {int(next(filter(None, groups))) for groups in re.findall(_FROM_ZERO, text)}
    one = {int(number) for number in re.findall(_FROM_ONE, text)}

    def at(places: set[int]) -> frozenset[str]:
        return frozenset(keys[place] for place in places if 0 <= place < len(keys))

    down = {number - 1 for number in zero}, {number - 1 for number in one}
    return at(zero | down[1]), at(down[0] | one)


def unnamed(text: str, keys: Collection[str]) -> str:
    """A text without these keys, so that no caller sees another's key."""
    return re.sub(_WORD, lambda word: "(another request)" if word[0] in keys else word[0], text)
