"""Text of providers and programs, made fit to be shown."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

MOST_SHOWN = 200
"""Characters of a provider's text in events, records and notes."""


_WORD = re.compile(r"[A-Za-z0-9_.,+-]{0,20}")


def described(value: object) -> str:
    """A value that somebody gave as an option or typed, as a message may quote it: a number, or a single short word.
    Whatever else it is may hold a credential, and is named by its type alone."""
    if isinstance(value, bool | int | float | None) and len(text := repr(value)) <= MOST_SHOWN:
        return text
    if isinstance(value, str) and _WORD.fullmatch(value):
        return repr(value)
    return f"a {type(value).__name__}" if not isinstance(value, str) else f"a text of {len(value):,} characters"


def web_address(text: object) -> SplitResult | None:
    """The parts of an absolute http or https URL with a host, and a port that there may be; None for anything else."""
    if not isinstance(text, str) or not text.isprintable() or " " in text:
        return None
    try:
        parts = urlsplit(text)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass
    return None


def printable(text: str, most: int | None = None) -> str:
    """At most `most` characters of a text, on one line, none of which moves a cursor, rings, or turns the writing."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:most])
