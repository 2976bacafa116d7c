"""Read result lines of OpenAI's shape and of all the variants that other providers make of it.

Facts: the providers' documentation and recorded lines. A row has an answer with a status; or an error, from which a
status is derived; or it never ran.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import msgspec

from batchling.core.lenient import elements, fields, value
from batchling.core.model import JSON, Headers, Response, Row
from batchling.providers.asking import JSON_TYPE
from batchling.providers.reading import error_status, read_count, read_object, read_text

NEVER_RAN = frozenset(
    {"batch_expired", "batch_cancelled", "request_timeout", "timeout", "expired", "cancelled", "canceled"}
)
"""Error codes and row statuses which mean that a row never ran and can simply be sent again."""


def rows_within(body: bytes, *places: str) -> list[bytes] | None:
    """The rows of a document, taken from the array in the first of these places (`response.rows`) that has one; each as
    a line. None when no place has any. Raises `ValueError` for anything that is not such a document."""
    for place in places:
        raw: bytes | None = body
        for name in place.split("."):
            if raw not in (None, b"null"):
                raw = fields(raw).get(name)
        if raw not in (None, b"null"):
            return elements(raw)
    return None


def error_answer(status: int, message: str, code: str | None = None) -> Response:
    """An error response in OpenAI's shape."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    error = {"message": message, "type": kind, "param": None, "code": code or None}
    return Response(status, (JSON_TYPE,), msgspec.json.encode({"error": error}))


Failed = Callable[[int, str], Response]
"""Makes an error response in a provider's own shape from a status and a text."""


class _Inner(msgspec.Struct, gc=False):
    """What the line of a success has under `response`."""

    status_code: Literal[200]
    body: msgspec.Raw
    request_id: str | None = None


class _Success(msgspec.Struct, gc=False):
    """The line of a success, as nearly all lines are. Any other one is read field by field."""

    custom_id: str
    response: _Inner
    error: None = None
    status: None = None


_successes = msgspec.json.Decoder(_Success)


def _success(line: bytes) -> Row | None:
    """The row of a success, read in one go; None for every other line, and for one that needs a closer look."""
    try:
        row = _successes.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    answer = row.response
    body = bytes(answer.body)
    if not row.custom_id or _BEGINNING.match(body) is None:
        return None
    name = answer.request_id
    headers: Headers = (JSON_TYPE, ("x-request-id", name)) if name else _JSON_ONLY
    return Row(row.custom_id, Response(200, headers, body))


_JSON_ONLY: Headers = (JSON_TYPE,)


def read_row(line: bytes, failed: Failed = error_answer) -> Row:
    """The content of one result line. Raises `ValueError` when it cannot be read."""
    if (found := _success(line)) is not None:
        return found
    row = fields(line)
    key = read_text(value(row.get("custom_id")))
    if key is None:
        raise ValueError("a row without a key")
    fault = value(row.get("error"))
    response = _answer(row, fault, failed)
    if response is not None:
        return Row(key, response)
    error = read_object(fault)
    code = _word(error)
    message = read_text(fault) or read_text(error.get("message")) or ""
    status = read_text(value(row.get("status"))) or ""
    if status in NEVER_RAN or code in NEVER_RAN or not (code or message):
        return Row(key, None, code or status or "no answer")
    return Row(key, _from_error(error, code, message))


def answered(key: str, body: bytes, failed: Failed = error_answer) -> Row:
    """The row of a success with this body, which may not be an answer but empty, an error, or the request sent back
    (seen at AIBrix, issues 1802 and 1645)."""
    if _BEGINNING.match(body) is not None:
        return Row(key, Response(200, (JSON_TYPE,), body))
    if body in (b"", b"null", b'""', b"{}", b"[]"):
        return Row(key, None, "no answer")
    try:
        answer = fields(body)
    except ValueError:
        return Row(key, Response(200, (JSON_TYPE,), body))
    if answer.keys() and answer.keys() <= {"error", "type", "request_id"} and answer.get("error", b"null") != b"null":
        fault = value(answer["error"])
        error = read_object(fault)
        message = read_text(fault) or read_text(error.get("message")) or "the row failed"
        status = status_of(_word(error), message)
        failure = failed(status, message)
        return Row(key, Response(status, (JSON_TYPE,), body) if error else failure)
    if answer.keys() & _ASKED and not answer.keys() & _ANSWERED:
        return Row(key, failed(502, "the provider sent the request back instead of an answer"))
    return Row(key, Response(200, (JSON_TYPE,), body))


_ASKED = frozenset({"messages", "input", "inputs", "prompt", "contents", "query", "documents", "requests"})
_ANSWERED = frozenset(
    {"id", "object", "choices", "output", "data", "content", "candidates", "results", "embeddings", "embedding"}
    | {"usage", "created", "text", "outputs", "promptFeedback", "usageMetadata", "pages"}
)
"""Keys of request bodies, and keys of which every answer has at least one."""
_BEGINNING = re.compile(rb'\{ *"(?:' + "|".join(sorted(_ANSWERED)).encode() + rb')" *:')
"""The beginning of a body that is an answer, whatever else it contains."""


def _word(error: dict[str, JSON]) -> str:
    """The word or number that identifies an error; of several, the first one with a known meaning."""
    names = ("code", "status_code", "error_type", "status", "type")
    words = [str(error[name]) for name in names if isinstance(error.get(name), str | int) and error[name]]
    known = (word for word in words if word in NEVER_RAN or error_status(word) or word.lower() in STATUS_OF_WORD)
    return next(known, words[0] if words else "")


_WORDS = {
    400: (
        "invalid_request invalid_prompt string_too_long max_tokens_exceeded context_length_exceeded "
        "token_limit_exceeded invalid_argument failed_precondition out_of_range invalid_request_error "
        "bad_request content_filter"
    ),
    401: "authentication authentication_error unauthenticated invalid_api_key",
    402: "payment_required billing_error",
    403: "permission_denied permission_error content_policy_violation refusal",
    404: "not_found not_found_error model_not_found unknown_model",
    408: "timeout",
    409: "conflict_error already_exists aborted",
    412: "precondition_failed",
    413: "payload_too_large request_too_large",
    422: "unprocessable",
    429: "rate_limit_exceeded rate_limit_error resource_exhausted insufficient_quota too_many_requests",
    500: "server server_error api_error internal internal_error unknown",
    501: "unimplemented",
    503: "provider_overloaded provider_unavailable unavailable",
    504: "timeout_error deadline_exceeded",
    529: "overloaded_error",
}
STATUS_OF_WORD = {word: status for status, words in _WORDS.items() for word in words.split()}
"""The HTTP status of each word for an error: OpenRouter's `error_type` (SDK 1.3.84, apierrortype.py), google.rpc.Code,
Anthropic's types, OpenAI's types and codes."""

_STATUS_IN_TEXT = re.compile(r"\b(?:error code|status code|status|http)[: ]+([45]\d\d)\b", re.IGNORECASE)
"""A status within a text: OGX writes "Error code: 401 - {...}"."""


def status_of(code: str, message: str) -> int:
    """The HTTP status for an error that has none, judged by its code and text."""
    words = f"{code} {message}".lower()
    if (status := error_status(code)) is not None:
        return status
    if (known := STATUS_OF_WORD.get(code.lower())) is not None:
        return known
    if "image" in code.lower():
        return 400
    if found := _STATUS_IN_TEXT.search(message):
        return int(found[1])
    if "internal server error" in words:
        return 500
    if "not_found" in words or "unknown_model" in words or "does not exist" in words:
        return 404
    if "rate limit" in words or "rate_limit" in words or "429" in words:
        return 429
    if "client_error" in words or "invalid" in words or "validation" in words or "must be" in words:
        return 400
    return 500


def _answer(row: dict[str, bytes], fault: JSON, failed: Failed) -> Response | None:
    """The row's own answer; None if it has no answer."""
    raw = row.get("response", b"")
    if not raw.startswith(b"{"):
        return None
    answer = fields(raw)
    body = answer.get("body", b"")
    if "status_code" not in answer or answer["status_code"] == b"null":
        # The answer is not wrapped (Fireworks, Cerebras), or only half wrapped.
        return answered("", body or raw, failed).response
    status = read_count(value(answer["status_code"]))
    if not 200 <= status <= 599:
        return None
    if body.startswith(b'"'):  # JSON within JSON (OGX)
        body = str(value(body)).encode(errors="surrogatepass")
    response: Response | None = Response(status, (JSON_TYPE,), body)
    if status < 300:
        response = answered("", body, failed).response
    elif body in (b"", b"null"):
        texts = (value(answer.get("message")), fault, read_object(fault).get("message"))
        response = failed(status, next(filter(None, map(read_text, texts)), f"HTTP {status}"))
    request_id = value(answer.get("request_id"))
    if response is not None and isinstance(request_id, str | int) and request_id:
        headers: Headers = (*response.headers, ("x-request-id", str(request_id)))
        return Response(response.status, headers, response.body)
    return response


def _from_error(error: dict[str, JSON], code: str, message: str) -> Response:
    """The response that an error stands for; Doubleword puts the real one into the message, as JSON."""
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
