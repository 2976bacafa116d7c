"""Marks that request caching of a part of the prompt, as accepted by Anthropic and other providers of Claude."""

from __future__ import annotations

from collections.abc import Iterator

from batchling.core.model import JSON

MARK = b'"cache_control"'
"""A body without these bytes has no mark."""


def has_short_cache_mark(body: dict[str, JSON]) -> bool:
    """Whether one of the marks lasts only five minutes, less than a batch may take: such a prompt is written to the
    cache again and again, and is read from it only by luck."""
    return any(
        isinstance(mark := part.get("cache_control"), dict)
        and mark.get("type") == "ephemeral"
        and mark.get("ttl", "5m") == "5m"
        for part in _parts(body)
    )


def _parts(body: dict[str, JSON]) -> Iterator[dict[str, JSON]]:
    """The parts of a body that may carry a mark, in Anthropic's format and in that of chat completions."""
    waiting: list[JSON] = [body, body.get("system"), body.get("tools"), body.get("messages")]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            yield value
            waiting.append(value.get("content"))
