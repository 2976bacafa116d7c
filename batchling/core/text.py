"""Text of providers and programs, made fit to be shown."""

from __future__ import annotations

MOST_SHOWN = 200
"""Characters of a provider's text in events, records and notes."""


def printable(text: str, most: int | None = None) -> str:
    """At most `most` characters of a text, on one line, none of which moves a cursor, rings, or turns the writing."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:most])
