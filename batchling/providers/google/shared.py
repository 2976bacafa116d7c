"""What Google's APIs have in common: gRPC codes, error bodies, the resumable upload.

Facts: google.rpc.Code, Google's API design guide, and google-genai 3.4 for the upload.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from batchling.core.model import JSON, Call, Fault, Flow, Headers, Pieces, Request, Response, header
from batchling.providers import refusals
from batchling.providers.asking import JSON_TYPE
from batchling.providers.base import Garbled, Refused
from batchling.providers.reading import read_count, read_json, read_object, read_text
from batchling.providers.rows import status_of

_CODES = {
    1: (499, "CANCELLED"),
    2: (500, "UNKNOWN"),
    3: (400, "INVALID_ARGUMENT"),
    4: (504, "DEADLINE_EXCEEDED"),
    5: (404, "NOT_FOUND"),
    6: (409, "ALREADY_EXISTS"),
    7: (403, "PERMISSION_DENIED"),
    8: (429, "RESOURCE_EXHAUSTED"),
    9: (400, "FAILED_PRECONDITION"),
    10: (409, "ABORTED"),
    11: (400, "OUT_OF_RANGE"),
    12: (501, "UNIMPLEMENTED"),
    13: (500, "INTERNAL"),
    14: (503, "UNAVAILABLE"),
    15: (500, "DATA_LOSS"),
    16: (401, "UNAUTHENTICATED"),
}
_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

CANCELLED = 1
"""The gRPC code of a row that was cancelled before it ran."""


def http_status(code: int) -> int:
    """The HTTP status of a gRPC code; a code above 16 is already an HTTP status."""
    if code in _CODES:
        return _CODES[code][0]
    return code if 400 <= code <= 599 else 500


def error_body(status: int, message: str) -> bytes:
    """An error body as Google's APIs return it."""
    error = {"code": status, "message": message, "status": _NAMES.get(status, "UNKNOWN")}
    return msgspec.json.encode({"error": error})


def row_error(error: dict[str, JSON]) -> Response:
    """The response that a row's google.rpc.Status stands for; its message may be missing."""
    code, message = error.get("code"), read_text(error.get("message")) or ""
    word = code if isinstance(code, str) and not code.isdecimal() else read_text(error.get("status")) or ""
    status = http_status(read_count(code)) if read_count(code) else status_of(word, message)
    return Response(status, (JSON_TYPE,), error_body(status, message or "the row failed"))


def job_fault(job: dict[str, JSON]) -> Fault:
    """Why a job failed as a whole."""
    error = read_object(job.get("error"))
    code = error.get("code")
    word = code if isinstance(code, str) and not code.isdecimal() else _NAMES.get(http_status(read_count(code)))
    return refusals.job_fault(
        read_text(error.get("message")) or "the job failed", word or read_text(error.get("status"))
    )


def failure(status: int, fault: Fault) -> Response:
    """An error response."""
    return Response(status, (JSON_TYPE,), error_body(status, fault.message))


def upload(base_url: str, headers: Headers, rows: Pieces, name: str) -> Flow[str]:
    """Upload rows as a file of Gemini's API and return its resource name (`files/...`). The key is sent to no other
    origin."""
    start = (
        ("x-goog-upload-protocol", "resumable"),
        ("x-goog-upload-command", "start"),
        ("x-goog-upload-header-content-length", str(sum(map(len, rows)) if rows.size is None else rows.size)),
        ("x-goog-upload-header-content-type", "application/jsonl"),
        JSON_TYPE,
    )
    named = msgspec.json.encode({"file": {"displayName": name}})
    begun = yield Call(Request("POST", f"{base_url}/upload/v1beta/files", (*headers, *start), named))
    if not begun.ok:
        raise Refused(begun)
    place = header(begun.headers, "x-goog-upload-url") or ""
    if urlsplit(place)[:2] != urlsplit(base_url)[:2]:
        raise Garbled("an upload without a URL, or with one on another host")
    finish = (("x-goog-upload-offset", "0"), ("x-goog-upload-command", "upload, finalize"))
    done = read_json((yield Call(Request("POST", place, (*headers, *finish)), rows)))
    if (found := read_text(read_object(done.get("file")).get("name"))) is None:
        raise Garbled("an upload without a name")
    return found
