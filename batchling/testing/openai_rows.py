"""The validation of an input file at the embedded server: the first bad line fails the whole job, as at OpenAI."""

from __future__ import annotations

import msgspec

from batchling.testing.dialect import ServerDialect
from batchling.testing.faults import Body, JobFault
from batchling.testing.state import Served, ServerState


class BadLine(Exception):
    """The first line that the provider's validation refuses; `fault` is the reason why the job fails."""

    def __init__(self, code: str, message: str, param: str | None, line: int | None) -> None:
        super().__init__(message)
        self.fault: JobFault = JobFault(code, message, param, line)


def load_rows(
    state: ServerState, dialect: ServerDialect, job: Served, content: bytes, shared: Body | None = None
) -> None:
    """Read the input file of a new job: it gets its rows, or the fault with which it fails."""
    job.fault = state.job_fault_for(content, "job")
    if job.fault is not None and not job.fault.done:
        return
    try:
        job.rows = _read_rows(dialect, job.endpoint, content, shared or {})
    except BadLine as bad:
        job.fault = bad.fault


def _read_rows(dialect: ServerDialect, endpoint: str, content: bytes, shared: Body) -> list[tuple[str, Body]]:
    """The rows of an input file, each with the `shared` parameters of its job. Raises `BadLine`."""
    rows: dict[str, Body] = {}
    lines = content.split(b"\n")
    for number, line in enumerate(lines if lines[-1] else lines[:-1], dialect.first_line):
        if len(line) > dialect.row_bytes:
            raise BadLine("invalid_line", f"A line has more than {dialect.row_bytes} bytes.", None, number)
        key, body = _row(dialect, endpoint, number, line)
        if shared and "model" in body:
            raise BadLine("invalid_request", "The model belongs to the request_params.", "body.model", number)
        if key in rows:
            raise BadLine("duplicate_custom_id", f"The custom_id '{key}' is used twice.", "custom_id", number)
        rows[key] = {**shared, **body}
        _check_body(dialect, number, rows[key], next(iter(rows.values())))
    if len(rows) < dialect.least:
        raise BadLine("empty_file", f"The input file has fewer than {dialect.least} lines.", None, None)
    if len(rows) > dialect.most:
        raise BadLine("too_many_tasks", f"The input file has more than {dialect.most} lines.", None, None)
    return list(rows.items())


def urls_of(content: bytes) -> dict[str, str]:
    """The endpoint of each row, by its key, for jobs whose rows may have several endpoints."""
    rows = [msgspec.json.decode(line) for line in content.split(b"\n") if line]
    return {row["custom_id"]: row["url"] for row in rows}


def _row(dialect: ServerDialect, endpoint: str, number: int, line: bytes) -> tuple[str, Body]:
    try:
        row = msgspec.json.decode(line)
    except msgspec.MsgspecError:
        raise BadLine("invalid_json_line", "This line is not parseable as valid JSON.", None, number) from None
    if not isinstance(row, dict):
        raise BadLine("invalid_json_line", "This line is not a JSON object.", None, number)
    if missing := dialect.needs - set(row):
        raise BadLine(
            "missing_required_parameter", f"Missing required parameter: '{min(missing)}'.", min(missing), number
        )
    if unknown := set(row) - dialect.keyed:
        raise BadLine("invalid_line", f"Unknown key: '{min(unknown)}'.", min(unknown), number)
    key, body = row["custom_id"], row["body"]
    if not isinstance(key, str) or not isinstance(body, dict):
        raise BadLine("invalid_line", "custom_id must be a text and body an object.", "custom_id", number)
    if not dialect.shortest_key <= len(key) <= 64:
        raise BadLine("invalid_line", "This custom_id is too short or too long.", "custom_id", number)
    urls = {dialect.prefix + path for path in dialect.endpoints} if dialect.mixed else {endpoint}
    method = dialect.audio_method if "/audio/" in endpoint else "POST"
    if row.get("url", endpoint) not in urls or row.get("method", method) != method:
        raise BadLine("invalid_url", "The URL of a line must be the endpoint of the batch.", "url", number)
    return key, body


def _check_body(dialect: ServerDialect, number: int, body: Body, first: Body) -> None:
    model = body.get("model")
    if not model:
        raise BadLine("invalid_request", "Model parameter is required.", "body.model", number)
    if body.get("stream"):
        raise BadLine("streaming_unsupported", "Streaming is not supported in a batch.", "body.stream", number)
    if refused := dialect.absent & set(body):
        raise BadLine("invalid_request", f"'{min(refused)}' is not supported in a batch.", min(refused), number)
    if dialect.last_turn and body["messages"][-1]["role"] != dialect.last_turn:
        raise BadLine("invalid_request", f"The last message must be from {dialect.last_turn}.", "messages", number)
    if model != first["model"]:
        raise BadLine("mismatched_model", "All lines must name the same model.", "body.model", number)
    if model == "no-such-model" or (dialect.model_end and not model.endswith(dialect.model_end)):
        raise BadLine("model_not_found", f"The model '{model}' does not exist.", "body.model", number)
