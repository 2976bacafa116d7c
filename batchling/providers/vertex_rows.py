"""Vertex AI's rows: what its importer makes of those that go in, and what those that come out say.

Facts: Vertex's batch guides, BigQuery's reference on loading JSON, saved rows of public samples, and public issues.
The importer makes columns of a table of each key. All that is said of it is UNSURE, and one row that it cannot take
may fail the whole job.
"""

from __future__ import annotations

import re
from http import HTTPStatus

import msgspec

from batchling.core.fingerprint import digest
from batchling.core.model import JSON, Response, Row
from batchling.providers import google
from batchling.providers.base import JSON_TYPE, read_object, read_text
from batchling.providers.claude import STATUS_OF_TYPE

MOST_LEVELS = 15
"""Records within records, the body itself being the first."""

_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}")

_STATUS_OF_PHRASE = {status.phrase.lower(): status.value for status in HTTPStatus if status >= 400}


class NotTabular(ValueError):
    """The importer cannot take this body; the text says why, in a few words."""


def shape(body: dict[str, JSON]) -> str:
    """A short digest of the body's columns and their types; only bodies of one shape may share a job.

    Raises `NotTabular` for a body that no job can take.
    """
    columns: dict[str, str] = {}
    _enter(columns, "", body, 1)
    return digest(*(f"{path} {kind}" for path, kind in sorted(columns.items())))[:16]


def _enter(columns: dict[str, str], path: str, value: JSON, level: int) -> None:
    """Take note of a value and of what is in it; `level` is that of a record in this place."""
    if value is None:
        return
    _note(columns, path, _kind(value))
    if isinstance(value, dict):
        _check(value, level)
        for name, inner in value.items():
            _enter(columns, f"{path}.{name}", inner, level + 1)
    elif isinstance(value, list):
        for inner in value:
            if isinstance(inner, list):
                raise NotTabular("a list of lists")
            _enter(columns, f"{path}[]", inner, level)


def _check(record: dict[str, JSON], level: int) -> None:
    if level > MOST_LEVELS:
        raise NotTabular(f"nesting deeper than {MOST_LEVELS}")
    if not record:
        raise NotTabular("an empty object")
    for name in record:
        if name.startswith("$"):
            raise NotTabular(f"key {name:.40} begins with $")
        if not _COLUMN.fullmatch(name):
            raise NotTabular(f"key {name!r:.40} is no legal column name")
    if len({name.lower() for name in record}) < len(record):
        raise NotTabular("keys that differ in upper and lower case only")


def _note(columns: dict[str, str], path: str, kind: str) -> None:
    known = columns.setdefault(path, kind)
    if known == kind:
        return
    if {known, kind} != {"integer", "float"}:
        raise NotTabular(f"key {path.lstrip('.'):.60} has several types")
    columns[path] = "float"


def _kind(value: JSON) -> str:
    if isinstance(value, bool):
        return "boolean"
    return {dict: "record", list: "list", str: "string", int: "integer", float: "float"}[type(value)]


def read_row(line: bytes) -> Row:
    """What one result line says. Raises `ValueError` when it says nothing that can be read."""
    try:
        said = msgspec.json.decode(line, type=_Line)
        answer = msgspec.json.decode(said.response, type=_Answer) if bytes(said.response)[:1] == b"{" else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        raise ValueError("not a result line") from fault
    if not said.custom_id.startswith("r"):
        raise ValueError("not a result line")
    key = said.custom_id[1:]
    if answer is not None and answer.type == "error":
        kind = read_text(read_object(answer.error).get("type")) or ""
        return Row(key, Response(STATUS_OF_TYPE.get(kind, 500), (JSON_TYPE,), bytes(said.response)))
    if answer is not None and bytes(said.response).strip(b"{} \t\r"):
        return Row(key, Response(200, (JSON_TYPE,), bytes(said.response)))
    text = read_text(said.status) or (msgspec.json.encode(said.status).decode() if said.status else "")
    return _failed(key, text)


def _failed(key: str, text: str) -> Row:
    """What a row without an answer says: a few words and, in most, the body of the real-time answer."""
    raw = text[text.find("{") : text.rfind("}") + 1] if "{" in text else ""
    try:
        said = read_object(msgspec.json.decode(raw))
    except (msgspec.MsgspecError, RecursionError):
        said = {}
    error = read_object(said.get("error"))
    code = error.get("code")
    words = re.split("[:{]", text, maxsplit=1)[0].strip().lower()
    status = STATUS_OF_TYPE.get(read_text(error.get("type")) or "", _STATUS_OF_PHRASE.get(words, 500))
    if isinstance(code, int) and (1 <= code <= 16 or 400 <= code <= 599):
        status = google.http_status(code)
    if status == 499 or not text or words.startswith("cancel"):
        return Row(key, None, "cancelled" if text else "no answer")
    body = raw.encode() if error else google.error_body(status, text)
    return Row(key, Response(status, (JSON_TYPE,), body))


class _Line(msgspec.Struct):
    custom_id: str
    status: JSON = None
    response: msgspec.Raw = msgspec.Raw()


class _Answer(msgspec.Struct):
    type: JSON = None
    error: JSON = None
