"""How large a request is, as far as its cost depends on that."""

from __future__ import annotations

from dataclasses import dataclass

METHOD = "UTF-8 bytes of the request's text / 4"
"""How input tokens are estimated: about right for English, code and Chinese alike, and never exact."""


@dataclass(frozen=True, slots=True)
class Size:
    """Of one request. `output` is at most so many tokens, None without a bound; `media` says that it holds pictures,
    sound or files, which `input` does not count; `caches` that it wants its prompt cached, `long` that for an hour."""

    input: int
    output: int | None
    media: bool = False
    caches: bool = False
    long: bool = False
