"""The validation of an input file at the embedded server: the first bad line fails the whole job, as OpenAI does it."""

from __future__ import annotations

import msgspec

from batchling.core.model import JSON
from batchling.testing.accents import Accent

_MAX_ROWS = 50_000

Body = dict[str, JSON]


class BadLine(Exception):
    """The first line that the provider's validation refuses; `fault` is what it says of it."""

    def __init__(self, code: str, message: str, param: str | None, line: int | None) -> None:
        super().__init__(message)
        self.fault: Body = {"code": code, "message": message, "param": param, "line": line}


def read_rows(accent: Accent, endpoint: str, content: bytes, shared: Body) -> list[tuple[str, Body]]:
    """The rows of an input file, each with the `shared` parameters of its job. Raises `BadLine`."""
    rows: dict[str, Body] = {}
    lines = content.split(b"\n")
    for number, line in enumerate(lines if lines[-1] else lines[:-1], accent.first_line):
        key, body = _row(accent, endpoint, number, line)
        if shared and "model" in body:
            raise BadLine("invalid_request", "The model belongs to the request_params.", "body.model", number)
        if key in rows:
            raise BadLine("duplicate_custom_id", f"The custom_id '{key}' is used twice.", "custom_id", number)
        rows[key] = {**shared, **body}
        _check_body(accent, number, rows[key], next(iter(rows.values())))
    if len(rows) < accent.least:
        raise BadLine("empty_file", f"The input file has fewer than {accent.least} lines.", None, None)
    if len(rows) > _MAX_ROWS:
        raise BadLine("too_many_tasks", f"The input file has more than {_MAX_ROWS} lines.", None, None)
    return list(rows.items())


def _row(accent: Accent, endpoint: str, number: int, line: bytes) -> tuple[str, Body]:
    try:
        row = msgspec.json.decode(line)
    except msgspec.MsgspecError:
        raise BadLine("invalid_json_line", "This line is not parseable as valid JSON.", None, number) from None
    if not isinstance(row, dict):
        raise BadLine("invalid_json_line", "This line is not a JSON object.", None, number)
    if missing := accent.needs - set(row):
        raise BadLine(
            "missing_required_parameter", f"Missing required parameter: '{min(missing)}'.", min(missing), number
        )
    if unknown := set(row) - accent.keyed:
        raise BadLine("invalid_line", f"Unknown key: '{min(unknown)}'.", min(unknown), number)
    key, body = row["custom_id"], row["body"]
    if not isinstance(key, str) or not isinstance(body, dict):
        raise BadLine("invalid_line", "custom_id must be a text and body an object.", "custom_id", number)
    if "url" in accent.needs and (row["url"] != endpoint or row["method"] != "POST"):
        raise BadLine("invalid_url", "The URL of a line must be the endpoint of the batch.", "url", number)
    return key, body


def _check_body(accent: Accent, number: int, body: Body, first: Body) -> None:
    model = body.get("model")
    if not model:
        raise BadLine("invalid_request", "Model parameter is required.", "body.model", number)
    if body.get("stream"):
        raise BadLine("streaming_unsupported", "Streaming is not supported in a batch.", "body.stream", number)
    if refused := accent.absent & set(body):
        raise BadLine("invalid_request", f"'{min(refused)}' is not supported in a batch.", min(refused), number)
    if model != first["model"]:
        raise BadLine("mismatched_model", "All lines must name the same model.", "body.model", number)
    if model == "no-such-model" or (accent.name == "azure" and not model.endswith("-batch")):
        raise BadLine("model_not_found", f"The model '{model}' does not exist.", "body.model", number)
