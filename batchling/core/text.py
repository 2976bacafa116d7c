"""Text from providers and programs, made safe to show."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

MOST_SHOWN = 200
"""Characters of a provider's text in events, records and notes."""


_WORD = re.compile(r"[A-Za-z0-9_.,+-]{0,20}")


def described(value: object) -> str:
    """A value that was given as an option or typed, as a message may quote it: a number, or a single short word.
    Anything else may contain a credential, so only its type is given (and the length of a text)."""
    if isinstance(value, bool | int | float | None) and len(text := repr(value)) <= MOST_SHOWN:
        return text
    if isinstance(value, str) and _WORD.fullmatch(value):
        return repr(value)
    return f"a {type(value).__name__}" if not isinstance(value, str) else f"a text of {len(value):,} characters"


def web_address(text: object) -> SplitResult | None:
    """The parts of an absolute http or https URL with a host and, if any, a valid port; None for anything else."""
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
    """At most `most` characters of a text, on one line. None of them moves the cursor, rings the bell, or reverses the
    direction of the text."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:most])
