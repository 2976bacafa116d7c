"""The tokens of an answer, by its own usage: the one reader of them, for costs and for telemetry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from batchling.money import prices

if TYPE_CHECKING:
    from genai_prices.types import Usage


_MOST = 10**9
"""Tokens that one answer can have used, and a margin."""


class Answer(msgspec.Struct):
    """What is read of an answer; the rest is skipped, undecoded."""

    model: Any = None
    modelVersion: Any = None  # noqa: N815  # Gemini's word
    usage: Any = None
    usageMetadata: Any = None  # noqa: N815
    usage_info: Any = None

    @property
    def name(self) -> str:
        """The model that answered; empty when the answer does not tell."""
        name = self.modelVersion or self.model
        return name if isinstance(name, str) else ""


class Tokens(NamedTuple):
    """Tokens of one answer. Those read from the cache and written to it are part of the input."""

    input: int
    cached: int
    written: int
    output: int


def read(provider: str, endpoint: str, answer: Answer) -> Usage:
    """The usage of an answer, by genai-prices' name of its provider. Raises `ValueError` when it is not told."""
    reader = prices.reader(provider, endpoint)
    if reader is None:
        raise ValueError("no list of prices")
    return reader(_readable(answer))


def tokens(usage: Usage) -> Tokens:
    """The counts of a usage that people are told. Raises `ValueError` for what no answer can have used."""
    names = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
    found = Tokens(*(int(usage.reported_value(name)) for name in names))
    if not all(0 <= count <= _MOST for count in found):
        raise ValueError("not a count of tokens")
    return found


def _readable(answer: Answer) -> dict[str, Any]:
    usage = answer.usage
    if (
        isinstance(usage, dict)
        and "total_tokens" in usage
        and len(usage.keys() & {"prompt_tokens", "input_tokens"}) == 0
    ):
        # Voyage counts nothing else, and all of it is input.
        usage = {**usage, "prompt_tokens": usage["total_tokens"]}
    return {
        "model": answer.model,
        "modelVersion": answer.modelVersion,
        "usage": usage,
        "usageMetadata": answer.usageMetadata,
        "usage_info": answer.usage_info,
    }
