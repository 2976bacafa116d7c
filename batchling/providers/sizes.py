"""Estimate how many tokens a request takes before the provider has counted them. Pure.

Input is estimated; output is bounded by the request's own maximum, where it sets one.
"""

from __future__ import annotations

from batchling.core.estimate import Size
from batchling.core.kinds import kind_of
from batchling.core.model import JSON

_MEDIA = frozenset(
    {"image", "image_url", "input_image", "input_audio", "input_file", "document", "file", "inlineData", "fileData"}
    | {"inline_data", "file_data", "video_url", "audio_url", "document_url"}
)
_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")


def size_of(endpoint: str, body: dict[str, JSON]) -> Size:
    """The size of a request with this body."""
    size = 0
    media = caches = lasts = False
    stack: list[JSON] = [body]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            size += 0 if value.startswith("data:") else len(value.encode("utf-8", "replace"))
        elif isinstance(value, dict):
            kind = value.get("type")
            if (isinstance(kind, str) and kind in _MEDIA) or not _MEDIA.isdisjoint(value):
                media = True
                continue
            if isinstance(mark := value.get("cache_control"), dict):
                caches = True
                lasts = lasts or mark.get("ttl") == "1h"
            size += sum(map(len, value))
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
        elif value is not None:
            size += 4
    return Size(max(1, size // 4), _bound(endpoint, body), media, caches, lasts)


def _bound(endpoint: str, body: dict[str, JSON]) -> int | None:
    if kind_of(endpoint).is_silent:
        return 0
    config = body.get("generationConfig")
    if not isinstance(config, dict):
        config = {}
    most = [body.get(name) for name in _LIMITS] + [config.get("maxOutputTokens"), config.get("max_output_tokens")]
    bounds = [value for value in most if isinstance(value, int) and not isinstance(value, bool) and value > 0]
    if not bounds:
        return None
    choices = [body.get("n"), body.get("best_of"), config.get("candidateCount")]
    return max(bounds) * max([1, *(n for n in choices if isinstance(n, int) and not isinstance(n, bool))])
