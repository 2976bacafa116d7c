"""Reads JSON as leniently as Python's `json`, which the SDKs use for reading answers: NaN, lone surrogates, control
characters in strings, invalid UTF-8. The bytes of what is passed on are not changed.
"""

from __future__ import annotations

import json
import re

import msgspec

from batchling.core.model import JSON

NOT_JSON = "not JSON that can be read"

_BOM = b"\xef\xbb\xbf"
_SPACE = re.compile(r"[ \t\r\n\ufeff]*")
_HEAD = 4_096
_WRAPPERS = ("data", "results", "responses", "outputs", "rows")
"""Field names under which an object may hold the rows of a whole file."""
_DOCUMENT = re.compile(
    rb"(\xef\xbb\xbf)?\s*(\["
    rb"|\{[ \t\r]*\n"
    rb'|\{\s*("\w+"\s*:\s*("[^"\\]*"|[\w.+-]+)\s*,\s*)*"(' + "|".join(_WRAPPERS).encode() + rb')"\s*:\s*\[)'
)
_LONGEST_NUMBER = 4_000
"""Digits above which Python refuses to convert a text to an int."""


def _whole(digits: str) -> JSON:
    return int(digits) if len(digits) <= _LONGEST_NUMBER else float(digits)


_decoder = json.JSONDecoder(strict=False, parse_int=_whole)


def fields(raw: bytes) -> dict[str, bytes]:
    """The values of a JSON object, each as its own bytes. Raises `ValueError` for anything else."""
    try:
        return {name: bytes(value) for name, value in msgspec.json.decode(raw, type=dict[str, msgspec.Raw]).items()}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    text = _text(raw)
    found: dict[str, bytes] = {}
    at = _past(text, 0, "{")
    while text[at : at + 1] != "}":
        name, at = _value(text, at)
        at = _past(text, at, ":")
        value_at = at
        _, at = _value(text, at)
        found[str(name)] = _bytes(text[value_at:at])
        at = _space(text, at)
        if text[at : at + 1] != "}":
            at = _past(text, at, ",")
    if _space(text, at + 1) != len(text):
        raise ValueError(NOT_JSON)
    return found


def elements(raw: bytes) -> list[bytes]:
    """The elements of a JSON array, each as its own bytes on one line: in JSON, line breaks occur only between tokens.
    Raises `ValueError` for anything else."""
    try:
        return [_line(bytes(one)) for one in msgspec.json.decode(raw, type=list[msgspec.Raw])]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    text = _text(raw)
    found, at = _elements(text, 0)
    if _space(text, at) != len(text):
        raise ValueError(NOT_JSON)
    return found


def is_document(head: bytes | bytearray) -> bool:
    """Whether a file that begins like this is not JSON Lines but one array, an object around an array, or objects that
    span several lines."""
    return _DOCUMENT.match(head[:_HEAD]) is not None


def lines_of(document: bytes | bytearray) -> list[bytes]:
    """The rows of such a file, each on its own line. Raises `ValueError` for what is not JSON."""
    text = _text(document)
    rows: list[bytes] = []
    at = _space(text, 0)
    while at < len(text):
        if text[at] == "[":
            inner, at = _elements(text, at)
            rows += inner
        else:
            start = at
            _, at = _value(text, at)
            rows.append(_line(_bytes(text[start:at])))
        at = _space(text, at)
    if len(rows) == 1 and rows[0].startswith(b"{"):
        held = fields(rows[0])
        for name in _WRAPPERS:
            if held.get(name, b"").startswith(b"["):
                return elements(held[name])
    return rows


def value(raw: bytes | None) -> JSON:
    """The decoded value of a JSON text; None without a text. Raises `ValueError` if it is not JSON."""
    if not raw:
        return None
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    text = _text(raw)
    found, at = _value(text, _space(text, 0))
    if _space(text, at) != len(text):
        raise ValueError(NOT_JSON)
    return found


def _text(raw: bytes | bytearray) -> str:
    """The text of these bytes, which can be converted back to the same bytes."""
    return raw.removeprefix(_BOM).decode(errors="surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _line(row: bytes) -> bytes:
    return row.replace(b"\r", b" ").replace(b"\n", b" ")


def _elements(text: str, at: int) -> tuple[list[bytes], int]:
    """The elements of the array that begins at this place, and where it ends."""
    found = []
    at = _past(text, at, "[")
    while text[at : at + 1] != "]":
        start = at
        _, at = _value(text, at)
        found.append(_line(_bytes(text[start:at])))
        at = _space(text, at)
        if text[at : at + 1] != "]":
            at = _past(text, at, ",")
    return found, at + 1


def _value(text: str, at: int) -> tuple[JSON, int]:
    try:
        return _decoder.raw_decode(text, at)
    except (ValueError, RecursionError, OverflowError):
        raise ValueError(NOT_JSON) from None  # json's own error contains the text


def _past(text: str, at: int, mark: str) -> int:
    """The place after this mark and the space around it."""
    at = _space(text, at)
    if text[at : at + 1] != mark:
        raise ValueError(NOT_JSON)
    return _space(text, at + 1)


def _space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
