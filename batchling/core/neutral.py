"""The parts of a request body that cannot change an answer, and the body without them.

There are two kinds: fields that only label a request (`prompt_cache_key`, `user`, `metadata`), and ids that connect the
parts of a conversation (tool calls and their results). Labels are left out of a request's identity; ids are numbered in
order of appearance, so only what they connect matters, not how they are spelled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from batchling.core.model import JSON


@dataclass(frozen=True, slots=True)
class Neutral:
    """The parts of a body on which a provider's answers do not depend. Immutable; may be used from any thread.

    `fields` are names of top-level fields, or of fields in a top-level object (`metadata.user_id`).

    `ids` are paths to ids (`messages[].tool_calls[].id`). `name[]` stands for each object of an array, and `name[a|b]`
    for those whose `type` is `a` or `b`. An id is a string; anything else in such a place is left unchanged. All ids of
    a body share one numbering. A path leads through named fields only, so prompts, tool arguments and JSON schemas are
    never examined.

    `options` are names of a target's options that only repeat what the body already contains.
    """

    fields: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    _names: frozenset[str] = field(init=False, repr=False, compare=False)
    _steps: _Steps = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_names", frozenset(name.partition(".")[0] for name in self.fields))
        object.__setattr__(self, "_steps", _compiled(self.ids))

    def strip(self, body: dict[str, JSON]) -> dict[str, JSON]:
        """The body without its labels and with its ids numbered; the same object if it has neither. An object that
        contained only labels is left out, too."""
        if not self._names.isdisjoint(body):
            body = self._unlabelled(body)
        return _numbered(body, self._steps, {})

    def _unlabelled(self, body: dict[str, JSON]) -> dict[str, JSON]:
        kept = dict(body)
        for name in self.fields:
            outer, dot, inner = name.partition(".")
            if not dot:
                kept.pop(outer, None)
            elif isinstance(value := kept.get(outer), dict) and inner in value:
                rest = {key: each for key, each in value.items() if key != inner}
                if rest:
                    kept[outer] = rest
                else:
                    del kept[outer]
        return kept


_DOT = re.compile(r"\.(?![^[]*\])")
"""Separates the parts of a path; types may contain dots, too."""


class _Step(NamedTuple):
    """What paths lead to under a name: an id, an object, arrays whose elements have these types (empty for all)."""

    name: str
    is_id: bool
    object: _Steps
    arrays: tuple[tuple[frozenset[str], _Steps], ...]


_Steps = tuple[_Step, ...]
"""The names in an object that paths pass through."""


def _compiled(paths: Iterable[str]) -> _Steps:
    """The steps of paths that start from the same object, in their order."""
    rest: dict[str, dict[str, list[str]]] = {}
    for path in paths:
        first, *after = _DOT.split(path, maxsplit=1)
        name, bracket, types = first.partition("[")
        rest.setdefault(name, {}).setdefault(bracket + types.rstrip("]"), []).extend(after or [""])
    return tuple(
        _Step(
            name,
            "" in kinds.get("", ()),
            _compiled(path for path in kinds.get("", ()) if path),
            tuple(
                (frozenset(kind[1:].split("|")) if kind != "[" else frozenset(), _compiled(after))
                for kind, after in kinds.items()
                if kind
            ),
        )
        for name, kinds in rest.items()
    )


def _numbered(value: dict[str, JSON], steps: _Steps, numbers: dict[str, int]) -> dict[str, JSON]:
    """The object with its ids numbered in the order of the paths; the order of its keys does not matter."""
    whole = value
    for name, is_id, inner, arrays in steps:
        old = value.get(name)
        if old is None:
            continue
        new: JSON = old
        if isinstance(old, str):
            if is_id:
                # Every string here becomes a number, so no real id can be mistaken for one.
                new = str(numbers.setdefault(old, len(numbers)))
        elif isinstance(old, list):
            each = old
            for types, following in arrays:
                each = _numbered_each(each, types, following, numbers)
            new = each
        elif inner and isinstance(old, dict):
            new = _numbered(old, inner, numbers)
        if new is not old:
            whole = {**whole, name: new}
    return whole


def _numbered_each(values: list[JSON], types: frozenset[str], steps: _Steps, numbers: dict[str, int]) -> list[JSON]:
    if values and not isinstance(values[0], dict):  # thousands of texts or numbers to embed
        return values
    whole = values
    for index, value in enumerate(values):
        if isinstance(value, dict) and (not types or _type(value) in types):
            new = _numbered(value, steps, numbers)
            if new is not value:
                whole = list(values) if whole is values else whole
                whole[index] = new
    return whole


def _type(value: dict[str, JSON]) -> str:
    kind = value.get("type")
    return kind if isinstance(kind, str) else ""


NOTHING: Final = Neutral()
"""Every part of a body counts."""
