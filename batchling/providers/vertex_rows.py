"""Vertex AI's result rows, of Gemini and of Claude.

Facts: Vertex's batch guides, and saved rows of public samples.
"""

from __future__ import annotations

import re
from http import HTTPStatus

import msgspec

from batchling.core.model import JSON, Response, Row
from batchling.providers import google
from batchling.providers.base import JSON_TYPE, read_object, read_text
from batchling.providers.claude import STATUS_OF_TYPE

_STATUS_OF_PHRASE = {status.phrase.lower(): status.value for status in HTTPStatus if status >= 400}


def read_row(line: bytes) -> Row:
    """What one result line says. Raises `ValueError` when it says nothing that can be read."""
    try:
        said = msgspec.json.decode(line, type=_Line)
        answer = msgspec.json.decode(said.response, type=_Answer) if bytes(said.response)[:1] == b"{" else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        raise ValueError("not a result line") from fault
    if not said.custom_id.startswith("r"):
        raise ValueError("not a result line")
    key = said.custom_id[1:]
    if answer is not None and answer.type == "error":
        kind = read_text(read_object(answer.error).get("type")) or ""
        return Row(key, Response(STATUS_OF_TYPE.get(kind, 500), (JSON_TYPE,), bytes(said.response)))
    if answer is not None and bytes(said.response).strip(b"{} \t\r"):
        return Row(key, Response(200, (JSON_TYPE,), bytes(said.response)))
    text = read_text(said.status) or (msgspec.json.encode(said.status).decode() if said.status else "")
    return _failed(key, text)


def _failed(key: str, text: str) -> Row:
    """What a row without an answer says: a few words and, in most, the body of the real-time answer."""
    raw = text[text.find("{") : text.rfind("}") + 1] if "{" in text else ""
    try:
        said = read_object(msgspec.json.decode(raw))
    except (msgspec.MsgspecError, RecursionError):
        said = {}
    error = read_object(said.get("error"))
    code = error.get("code")
    words = re.split("[:{]", text, maxsplit=1)[0].strip().lower()
    status = STATUS_OF_TYPE.get(read_text(error.get("type")) or "", _STATUS_OF_PHRASE.get(words, 500))
    if isinstance(code, int) and (1 <= code <= 16 or 400 <= code <= 599):
        status = google.http_status(code)
    if status == 499 or not text or words.startswith("cancel"):
        return Row(key, None, "cancelled" if text else "no answer")
    body = raw.encode() if error else google.error_body(status, text)
    return Row(key, Response(status, (JSON_TYPE,), body))


class _Line(msgspec.Struct):
    custom_id: str
    status: JSON = None
    response: msgspec.Raw = msgspec.Raw()


class _Answer(msgspec.Struct):
    type: JSON = None
    error: JSON = None
