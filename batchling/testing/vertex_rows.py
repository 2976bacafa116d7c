"""The import of a job's rows at the embedded server's Vertex AI."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from batchling.testing.faults import JobFault
from batchling.testing.state import Served

_MAX_ROWS = 200_000
_MAX_BYTES = 1_000_000_000
_LEVELS = 15


def load_rows(job: Served, content: bytes | None) -> JobFault | None:
    """Give a new job its rows; returns why they cannot be read."""
    if content is None:
        return JobFault("FAILED_PRECONDITION", "Cannot read the input")
    try:
        lines = [msgspec.json.decode(line, type=dict) for line in content.split(b"\n") if line]
        job.rows = [(line["custom_id"], line["request"]) for line in lines]
        if not lines or len(lines) > _MAX_ROWS or len(content) > _MAX_BYTES:
            return JobFault("INVALID_ARGUMENT", f"between 1 and {_MAX_ROWS} rows are allowed, in 1 GB")
        columns: dict[str, str] = {}
        for line in lines:
            _import(columns, "", line, 0)
    except (msgspec.MsgspecError, KeyError, _NotImported) as fault:
        return JobFault("INVALID_ARGUMENT", f"Failed to import data. {fault}")
    return None


class _NotImported(Exception):
    """The importer cannot turn a row into columns."""


def _import(columns: dict[str, str], path: str, value: Any, level: int) -> None:
    """Turn a row into columns, as for a table in which each column has one type."""
    if value is None:
        return
    kind = "number" if type(value) in (int, float) else type(value).__name__
    if columns.setdefault(path, kind) != kind:
        raise _NotImported(f"{path} is of type {kind}, and was of type {columns[path]}")
    if isinstance(value, dict):
        if level > _LEVELS or not value:
            raise _NotImported(f"{path} is empty or nested too deep")
        for name, inner in value.items():
            if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
                raise _NotImported(f"Invalid field name {name}")
            _import(columns, f"{path}.{name}", inner, level + 1)
    elif isinstance(value, list):
        for inner in value:
            _import(columns, f"{path}[]", inner, level)
