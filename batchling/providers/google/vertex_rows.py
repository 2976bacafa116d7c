"""Vertex AI's result rows, of Gemini and of Claude.

Facts: Vertex's batch guides, and saved rows of public samples.
"""

from __future__ import annotations

import re
from http import HTTPStatus

import msgspec

from batchling.core.lenient import fields, value
from batchling.core.model import Response, Row
from batchling.providers.asking import JSON_TYPE
from batchling.providers.claude import STATUS_OF_TYPE
from batchling.providers.google import shared
from batchling.providers.reading import read_object, read_text
from batchling.providers.rows import answered

_STATUS_OF_PHRASE = {status.phrase.lower(): status.value for status in HTTPStatus if status >= 400}


def read_row(line: bytes) -> Row:
    """The content of one result line. Raises `ValueError` when it cannot be read."""
    row = fields(line)
    name = read_text(value(row.get("custom_id"))) or ""
    if not name.startswith("r"):
        raise ValueError("not a result line")
    key = name[1:]
    raw = row.get("response", b"")
    answer = fields(raw) if raw.startswith(b"{") else {}
    if value(answer.get("type")) == "error":
        kind = read_text(read_object(value(answer.get("error"))).get("type")) or ""
        return Row(key, Response(STATUS_OF_TYPE.get(kind, 500), (JSON_TYPE,), raw))
    if answer:
        return answered(key, raw, lambda status, text: Response(status, (JSON_TYPE,), shared.error_body(status, text)))
    status = value(row.get("status"))
    return _failed(key, read_text(status) or (msgspec.json.encode(status).decode() if status else ""))


def _failed(key: str, text: str) -> Row:
    """A row without an answer. Its text is a few words and, in most cases, the body of the real-time response."""
    raw = text[text.find("{") : text.rfind("}") + 1] if "{" in text else ""
    try:
        payload = read_object(msgspec.json.decode(raw))
    except (msgspec.MsgspecError, RecursionError):
        payload = {}
    error = read_object(payload.get("error"))
    code = error.get("code")
    words = re.split("[:{]", text, maxsplit=1)[0].strip().lower()
    status = STATUS_OF_TYPE.get(read_text(error.get("type")) or "", _STATUS_OF_PHRASE.get(words, 500))
    if isinstance(code, int) and (1 <= code <= 16 or 400 <= code <= 599):
        status = shared.http_status(code)
    if status == 499 or not text or words.startswith("cancel"):
        return Row(key, None, "cancelled" if text else "no answer")
    body = raw.encode() if error else shared.error_body(status, text)
    return Row(key, Response(status, (JSON_TYPE,), body))
