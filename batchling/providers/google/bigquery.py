"""How BigQuery's JSON import, through which Vertex AI reads rows, treats a body: each key becomes a column.

Facts: BigQuery's reference on loading JSON, and public issues. That Vertex's importer works this way is UNSURE, and so
is everything that follows from it. One row that it cannot import may fail the whole job.
"""

from __future__ import annotations

import re

from batchling.core.fingerprint import digest
from batchling.core.model import JSON

MOST_LEVELS = 15
"""How deep records may be nested, counting the body itself as the first."""

_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}")


class NotTabular(ValueError):
    """The importer cannot import this body; the text briefly says why."""


def shape(body: dict[str, JSON]) -> str:
    """A short digest of the body's columns and their types; only bodies of the same shape may share a job.

    Raises `NotTabular` for a body that no job can import.
    """
    columns: dict[str, str] = {}
    _enter(columns, "", body, 1)
    return digest(*(f"{path} {kind}" for path, kind in sorted(columns.items())))[:16]


def _enter(columns: dict[str, str], path: str, value: JSON, level: int) -> None:
    """Record the column of a value and those of its contents; `level` is the level that a record here would have."""
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
            raise NotTabular(f"key {name!r:.40} is not a legal column name")
    if len({name.lower() for name in record}) < len(record):
        raise NotTabular("keys that differ only in upper and lower case")


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
