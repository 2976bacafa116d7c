"""What a request looked like, as digests of its fields: enough to detect which field has changed in a second run.

A footprint maps paths to digests, never to text. It descends two levels into lists of messages, and splits texts into a
few pieces (lines, or words if there is only one line), so that a changed date in a long prompt is found as such.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from batchling.core.model import JSON, Target

Footprint = Mapping[str, str]
"""Digests by path, in the order of the request. `|` separates a path from the number of a piece of text."""

ACCOUNT, BASE_URL, OPTIONS = "@account", "@base_url", "@options"
"""Parts of a request's identity besides its body."""

MOST_ELEMENTS = 8
"""Elements of a list that are examined one by one; the rest counts as a single one."""
MOST_PIECES = 16
MOST_PATHS = 64
_SHORT = 80
"""Bytes of a piece that may be a date, a number or an id; a longer piece is content."""
_LONG = "+"
"""Suffix of the digest of a value that is not short."""

_LONGEST_NAME = 40

MOST_FIELDS = 2
MOST_DIFFERENCES = 4
"""How many fields, and pieces of fields, may differ in a request that is still recognised from the last run."""

_encode = msgspec.json.Encoder(order="sorted").encode


def footprint(target: Target, body: Mapping[str, JSON], ignored: Sequence[str] = ()) -> Footprint:
    """The footprint of a request; `ignored` are the target's options that only repeat the body."""
    options = [pair for pair in target.options if pair[0] not in ignored]
    parts: list[tuple[str, JSON]] = [(BASE_URL, target.base_url), (ACCOUNT, target.account), (OPTIONS, options)]
    found = {path: _digest(value) for path, value in parts}
    for name in sorted(body):
        for path, value in _walk(_name(name), body[name], 2):
            if len(found) >= MOST_PATHS:
                break
            found[path] = _digest(value)
    return found


def _walk(path: str, value: JSON, depth: int) -> Iterator[tuple[str, JSON]]:
    if isinstance(value, str):
        yield from _pieces(path, value)
    elif isinstance(value, dict) and depth:
        for name in sorted(value):
            yield from _walk(f"{path}.{_name(name)}", value[name], depth - 1)
    elif isinstance(value, list) and depth:
        for index, element in enumerate(value[:MOST_ELEMENTS]):
            # A message and its parts are one level each.
            yield from _walk(f"{path}[{index}]", element, depth - 1 if isinstance(element, list) else depth)
        if len(value) > MOST_ELEMENTS:
            yield f"{path}[{MOST_ELEMENTS}:]", value[MOST_ELEMENTS:]
    else:
        yield path, value


def _name(key: str) -> str:
    """The name of a field, or a digest of what does not look like a name, since it may be a user's text."""
    return key if len(key) <= _LONGEST_NAME and key.isidentifier() else f"#{_digest(key)}"


def _pieces(path: str, text: str) -> Iterator[tuple[str, str]]:
    parts = text.splitlines() if "\n" in text else text.split(" ")
    if len(parts) < 2:
        yield path, text
        return
    size = -(-len(parts) // MOST_PIECES)
    for number, start in enumerate(range(0, len(parts), size)):
        yield f"{path}|{number}", " ".join(parts[start : start + size])


def _digest(value: JSON) -> str:
    written = value.encode(errors="replace") if isinstance(value, str) else _encode(value)
    return sha256(written).hexdigest()[:8] + (_LONG if len(written) > _SHORT else "")


def field_of(path: str) -> str:
    """The field that a path of a footprint refers to."""
    return path.partition("|")[0]


@dataclass(frozen=True, slots=True)
class Likeness:
    """A request equals the one at `index` of an earlier run, except for `fields`, which are new."""

    index: int
    fields: tuple[str, ...]


class Memory:
    """The footprints of an earlier run, to be compared with a request."""

    def __init__(self, footprints: Sequence[Footprint]) -> None:
        self._known = footprints
        self._pairs = [frozenset(each.items()) for each in footprints]
        values: dict[str, set[str | None]] = {}
        for path in {path for each in footprints for path in each}:
            values[path] = {each.get(path) for each in footprints}
        self._varying = frozenset(path for path, found in values.items() if len(found) > 1)

    def __len__(self) -> int:
        return len(self._known)

    def likeness(self, asked: Footprint) -> Likeness | None:
        """The request of the earlier run that this one equals except for a field or two; None if it is the same, or
        new."""
        pairs = frozenset(asked.items())
        other = [len(known - pairs) for known in self._pairs]
        # At least `least` paths differ, whatever else the request contains.
        if not other or (least := min(other)) > MOST_DIFFERENCES:
            return None
        index = other.index(least)
        differences = _differences(asked, self._known[index])
        if not differences or len(differences) > MOST_DIFFERENCES:
            return None
        fields = tuple(dict.fromkeys(map(field_of, differences)))
        if len(fields) > MOST_FIELDS or not self._is_the_same(asked, index, differences):
            return None
        return Likeness(index, fields)

    def _is_the_same(self, asked: Footprint, index: int, differences: Sequence[str]) -> bool:
        """Whether it is an earlier question again: it must agree in something that distinguished the earlier questions,
        or in its whole prompt, and what is new must not be what the earlier questions were about."""
        known = self._known[index]
        agrees = any(path in self._varying and path not in differences for path in known)
        if not agrees and not all(map(_is_parameter, differences)):
            return False
        for path in differences:
            long = any(each.get(path, "").endswith(_LONG) for each in (asked, known))
            if path in self._varying and long:
                return False
        # If earlier requests differed from each other in these paths alone, the difference makes another question.
        return not any(
            others and set(others) <= set(differences) for others in (_differences(known, each) for each in self._known)
        )


def _is_parameter(path: str) -> bool:
    return path.startswith("@") or not ("[" in path or "|" in path or path in _PROMPTS)


_PROMPTS = frozenset({"input", "inputs", "instructions", "prompt", "query", "system"})
"""Top-level fields that may be a whole prompt."""


def _differences(one: Footprint, other: Footprint) -> list[str]:
    found = [path for path, value in one.items() if other.get(path) != value]
    return found + [path for path in other if path not in one]


class Comparison:
    """Compares the calls of a run that are not in the cache with an earlier run, until it is clear that they are the
    same except for one field."""

    ENOUGH = 3
    """Calls that must be found similar, with the same fields changed."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._met: dict[tuple[str, ...], set[int]] = {}
        self._calls: Counter[tuple[str, ...]] = Counter()

    def add(self, asked: Footprint) -> tuple[str, ...]:
        """Add one call. Returns the fields that are new in this run once that is clear: at least half of the earlier
        run's questions have come again with them changed."""
        if (like := self._memory.likeness(asked)) is None:
            return ()
        met = self._met.setdefault(like.fields, set())
        met.add(like.index)
        self._calls[like.fields] += 1
        enough = self._calls[like.fields] >= self.ENOUGH and 2 * len(met) >= len(self._memory)
        return like.fields if enough else ()
