"""Reads the tokens of an answer from its own usage: the only reader of them, for costs and for telemetry."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from batchling.money import prices

if TYPE_CHECKING:
    from genai_prices.types import Usage


MOST = 10**9
"""The most tokens that one answer can have used, with a margin."""


class Answer(msgspec.Struct):
    """The parts of an answer that are read; the rest is skipped without decoding it."""

    model: Any = None
    modelVersion: Any = None  # noqa: N815  # Gemini's name
    usage: Any = None
    usageMetadata: Any = None  # noqa: N815
    usage_info: Any = None

    @property
    def name(self) -> str:
        """The model that answered; empty when the answer does not name it."""
        name = self.modelVersion or self.model
        return name if isinstance(name, str) else ""


class Tokens(NamedTuple):
    """Tokens of one answer. Those read from the cache and written to it are part of the input."""

    input: int
    cached: int
    written: int
    output: int


def read(provider: str, endpoint: str, answer: Answer) -> Usage:
    """The usage of an answer, by genai-prices' name for its provider. Raises `ValueError` when it is not reported."""
    reader = prices.reader(provider, endpoint)
    if reader is None:
        raise ValueError("no price list")
    return reader(_readable(answer))


def tokens(usage: Usage, most: float = MOST) -> Tokens:
    """The counts of a usage that are shown to people. Raises `ValueError` for numbers above `most`, which no answer can
    have used."""
    names = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
    found = Tokens(*(int(usage.reported_value(name)) for name in names))
    if not all(0 <= count <= most for count in found):
        raise ValueError("not a token count")
    return found


Number = int | float


def shape_of(answer: Answer) -> tuple[Hashable, list[Number]] | None:
    """The shape of an answer's usage, which is all but its numbers, and the numbers. Answers of the same shape are read
    alike, and their numbers may be added up first. None for one with a number that no usage has."""
    numbers: list[Number] = []
    parts = (answer.usage, answer.usageMetadata, answer.usage_info)
    try:
        return (answer.name, *(_shape(part, numbers) for part in parts)), numbers
    except (_Odd, RecursionError):
        return None


def answer_of(shape: Any, numbers: Iterable[Number]) -> Answer:
    """An answer of this shape, with these numbers."""
    rest = iter(numbers)
    name, *parts = shape
    return Answer(name, None, *(_filled(part, rest) for part in parts))


_NUMBER = "number"
"""Stands for a number in a shape."""


class _Odd(Exception):
    """A number that is not added up."""


def _shape(value: Any, numbers: list[Number], *, seconds: bool = False) -> Hashable:
    kind = type(value)
    if kind is int or kind is float:
        # A fraction of a token is rounded for each answer, so a sum of fractions would be another number.
        if not 0 <= value <= MOST or (value != int(value) and not seconds):
            raise _Odd
        numbers.append(value)
        return _NUMBER
    if kind is dict:
        # Groq reports times, too (`queue_time`).
        return dict, tuple(
            [(name, _shape(each, numbers, seconds=name.endswith("_time"))) for name, each in value.items()]
        )
    if kind is list:
        return list, tuple([_shape(each, numbers) for each in value])
    return None, value


def _filled(shape: Any, numbers: Iterator[Number]) -> Any:
    if shape == _NUMBER:
        return next(numbers)
    kind, content = shape
    if kind is dict:
        return {name: _filled(each, numbers) for name, each in content}
    if kind is list:
        return [_filled(each, numbers) for each in content]
    return content


def _readable(answer: Answer) -> dict[str, Any]:
    usage = answer.usage
    if (
        isinstance(usage, dict)
        and "total_tokens" in usage
        and len(usage.keys() & {"prompt_tokens", "input_tokens"}) == 0
    ):
        # Voyage reports only the total, and all of it is input.
        usage = {**usage, "prompt_tokens": usage["total_tokens"]}
    return {
        "model": answer.model,
        "modelVersion": answer.modelVersion,
        "usage": usage,
        "usageMetadata": answer.usageMetadata,
        "usage_info": answer.usage_info,
    }
