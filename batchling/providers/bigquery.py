"""What BigQuery's import of JSON, through which Vertex AI reads rows, makes of a body: a column of each key.

Facts: BigQuery's reference on loading JSON, and public issues. That Vertex's importer is of this kind is UNSURE, and so
is all that follows from it. One row that it cannot take may fail the whole job.
"""

from __future__ import annotations

import re

from batchling.core.fingerprint import digest
from batchling.core.model import JSON

MOST_LEVELS = 15
"""Records within records, the body itself being the first."""

_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}")


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
            if inner is None:  # "Only optional fields can be set to NULL. Field: enum"
                raise NotTabular("null in a list")
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
