"""The validation of an input file at the embedded server: the first bad line fails the whole job, as OpenAI does it."""

from __future__ import annotations

import msgspec

from batchling.testing.accents import Accent
from batchling.testing.world import Body, JobFault


class BadLine(Exception):
    """The first line that the provider's validation refuses; `fault` is why its job fails."""

    def __init__(self, code: str, message: str, param: str | None, line: int | None) -> None:
        super().__init__(message)
        self.fault = JobFault(code, message, param, line)


def read_rows(accent: Accent, endpoint: str, content: bytes, shared: Body) -> list[tuple[str, Body]]:
    """The rows of an input file, each with the `shared` parameters of its job. Raises `BadLine`."""
    rows: dict[str, Body] = {}
    lines = content.split(b"\n")
    for number, line in enumerate(lines if lines[-1] else lines[:-1], accent.first_line):
        if len(line) > accent.row_bytes:
            raise BadLine("invalid_line", f"A line has more than {accent.row_bytes} bytes.", None, number)
        key, body = _row(accent, endpoint, number, line)
        if shared and "model" in body:
            raise BadLine("invalid_request", "The model belongs to the request_params.", "body.model", number)
        if key in rows:
            raise BadLine("duplicate_custom_id", f"The custom_id '{key}' is used twice.", "custom_id", number)
        rows[key] = {**shared, **body}
        _check_body(accent, number, rows[key], next(iter(rows.values())))
    if len(rows) < accent.least:
        raise BadLine("empty_file", f"The input file has fewer than {accent.least} lines.", None, None)
    if len(rows) > accent.most:
        raise BadLine("too_many_tasks", f"The input file has more than {accent.most} lines.", None, None)
    return list(rows.items())


def urls_of(content: bytes) -> dict[str, str]:
    """The endpoint of each row, by its key, where rows of several endpoints share a job."""
    rows = [msgspec.json.decode(line) for line in content.split(b"\n") if line]
    return {row["custom_id"]: row["url"] for row in rows}


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
    if not accent.shortest_key <= len(key) <= 64:
        raise BadLine("invalid_line", "This custom_id is too short or too long.", "custom_id", number)
    urls = {accent.prefix + path for path in accent.endpoints} if accent.mixed else {endpoint}
    method = "FILE" if accent.name == "together" and "/audio/" in endpoint else "POST"
    if row.get("url", endpoint) not in urls or row.get("method", method) != method:
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
    if accent.last_turn and body["messages"][-1]["role"] != accent.last_turn:
        raise BadLine("invalid_request", f"The last message must be from {accent.last_turn}.", "messages", number)
    if model != first["model"]:
        raise BadLine("mismatched_model", "All lines must name the same model.", "body.model", number)
    if model == "no-such-model" or (accent.name == "azure" and not model.endswith("-batch")):
        raise BadLine("model_not_found", f"The model '{model}' does not exist.", "body.model", number)
