"""How large a request is, as far as that affects its cost."""

from __future__ import annotations

from dataclasses import dataclass

METHOD = "UTF-8 bytes of the request's text / 4"
"""How input tokens are estimated: roughly right for English, code and Chinese alike, never exact."""


@dataclass(frozen=True, slots=True)
class Size:
    """The size of one request. `output` is the maximum number of tokens, None if there is no limit. `media`: it
    contains images, audio or files, which `input` does not count. `caches`: it asks for its prompt to be cached;
    `long`: for an hour."""

    input: int
    output: int | None
    media: bool = False
    caches: bool = False
    long: bool = False
