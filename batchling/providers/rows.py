"""Reads result lines of OpenAI's shape and of all the shapes that others make of it.

Facts: the providers' documentation and recorded lines. A row has an answer with a status; or an error, from which one
is derived; or it never ran.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from batchling.core.model import JSON, Headers, Response, Row
from batchling.providers.base import JSON_TYPE, read_object, read_text

NEVER_RAN = frozenset(
    {"batch_expired", "batch_cancelled", "request_timeout", "timeout", "expired", "cancelled", "canceled"}
)
"""Codes, and words for the status of a row, which say that a row can be asked again as if it had never been."""


def rows_within(body: bytes, *places: str) -> list[bytes] | None:
    """The rows of a document that has them in an array, at the first of these places (`response.rows`) that has one;
    each as a line, since a line break in a JSON text stands between tokens only. None when no place has any.

    Raises `ValueError` for what is no such document.
    """
    try:
        for place in places:
            raw: msgspec.Raw | None = msgspec.Raw(body)
            for name in place.split("."):
                if raw is not None:
                    raw = (msgspec.json.decode(raw, type=dict[str, msgspec.Raw] | None) or {}).get(name)
            rows = None if raw is None else msgspec.json.decode(raw, type=list[msgspec.Raw] | None)
            if rows is not None:
                return [bytes(row).replace(b"\r", b" ").replace(b"\n", b" ") for row in rows]
    except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
        raise ValueError("not a document with rows") from fault
    return None


def error_answer(status: int, message: str, code: str | None = None) -> Response:
    """An error response in OpenAI's shape."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    error = {"message": message, "type": kind, "param": None, "code": code or None}
    return Response(status, (JSON_TYPE,), msgspec.json.encode({"error": error}))


Failed = Callable[[int, str], Response]
"""Makes an error response, in the shape of a provider, of a status and a text."""


def read_row(line: bytes, failed: Failed = error_answer) -> Row:
    """What one result line says. Raises `ValueError` when it says nothing that can be read."""
    try:
        said = msgspec.json.decode(line, type=_Line)
        response = _answer(said, failed)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        raise ValueError("not a result line") from fault
    if response is not None:
        return Row(said.custom_id, response)
    error = read_object(said.error)
    code = str(error.get("code") or "")
    message = read_text(said.error) or read_text(error.get("message")) or ""
    status = read_text(said.status) or ""
    if status in NEVER_RAN or code in NEVER_RAN or not (code or message):
        return Row(said.custom_id, None, code or status or "no answer")
    return Row(said.custom_id, _from_error(error, code, message))


def status_of(code: str, message: str) -> int:
    """The HTTP status that an error without one stands for, by its code and its text."""
    words = f"{code} {message}".lower()
    if code.isdecimal() and 400 <= int(code) <= 599:
        return int(code)
    if "internal server error" in words:
        return 500
    if "not_found" in words or "unknown_model" in words or "does not exist" in words:
        return 404
    if "rate limit" in words or "rate_limit" in words or "429" in words:
        return 429
    if "client_error" in words or "invalid" in words or "validation" in words or "must be" in words:
        return 400
    return 500


class _Answer(msgspec.Struct):
    status_code: int | None = None
    request_id: str | None = None
    body: msgspec.Raw = msgspec.Raw()
    message: str | None = None


class _Line(msgspec.Struct):
    custom_id: str
    response: msgspec.Raw = msgspec.Raw()
    error: JSON = None
    status: JSON = None


def _answer(said: _Line, failed: Failed) -> Response | None:
    """The row's own answer; None when it has none."""
    raw = bytes(said.response)
    if not raw.startswith(b"{"):
        return None
    answer = msgspec.json.decode(raw, type=_Answer)
    body = bytes(answer.body)
    if answer.status_code is None:
        # The answer stands there without a wrapping (Fireworks, Cerebras), or with half of one.
        return Response(200, (JSON_TYPE,), body or raw) if raw != b"{}" else None
    if not 200 <= answer.status_code <= 599:
        return None
    if body.startswith(b'"'):  # JSON within JSON (OGX)
        body = msgspec.json.decode(body, type=str).encode()
    if body in (b"", b"null"):
        text = answer.message or read_text(said.error) or read_text(read_object(said.error).get("message"))
        return failed(answer.status_code, text or f"HTTP {answer.status_code}")
    headers: Headers = (JSON_TYPE,)
    if answer.request_id:
        headers = (JSON_TYPE, ("x-request-id", answer.request_id))
    return Response(answer.status_code, headers, body)


def _from_error(error: dict[str, JSON], code: str, message: str) -> Response:
    """The answer that an error stands for; Doubleword puts the real one into the message, as JSON."""
    try:
        inner = read_object(msgspec.json.decode(message))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        inner = {}
    status = inner.get("status")
    if isinstance(status, int) and 400 <= status <= 599:
        body = inner.get("body")
        if isinstance(body, str) and body.startswith("{"):
            return Response(status, (JSON_TYPE,), body.encode())
        return error_answer(status, str(body or message))
    return error_answer(status_of(code, message), message, code)
