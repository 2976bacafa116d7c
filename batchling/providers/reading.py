"""Reads what providers send: leniently where a value may be missing, and with an error where it must not be."""

from __future__ import annotations

import re
from datetime import datetime

from batchling.core.lenient import value
from batchling.core.model import JSON, Fault, Response, Site
from batchling.core.text import web_address
from batchling.providers.base import Garbled, Refused

_LONGEST_ID = 8_192
"""The maximum length of an id: a longer one would not fit into a URL."""
_MOST = 10**12
"""A larger number cannot be a count of anything that a provider has."""
_LATEST = 7_258_118_400.0
"""The year 2200 in Unix seconds."""


def read_json(response: Response) -> dict[str, JSON]:
    """The JSON object of a success. Raises `Refused` for an error response and `Garbled` for anything else."""
    if not response.ok:
        raise Refused(response)
    try:
        payload = value(response.body)
    except ValueError:
        raise Garbled(f"HTTP {response.status} with a body that is not JSON") from None
    if not isinstance(payload, dict):
        raise Garbled(f"HTTP {response.status} with a body that is not a JSON object")
    return payload


def read_fault(response: Response) -> Fault:
    """The content of an error response, whoever wrote it: the `error` object of the body if there is one, or else the
    text under one of the names that providers use."""
    try:
        body = read_object(value(response.body))
    except ValueError:
        body = {"message": _plain_text(response.body)}
    error = read_object(body.get("error")) or read_object(body.get("detail")) or body
    code = read_text(read_object(error.get("details")).get("error_code"))
    texts = map(read_text, (error.get("message"), error.get("error"), error.get("detail")))
    return Fault(
        next(filter(None, texts), f"HTTP {response.status}"),
        code or read_text(error.get("code")) or read_text(error.get("status")) or read_text(error.get("type")),
        read_text(error.get("param")),
    )


def _plain_text(body: bytes) -> str | None:
    """An error that a provider returns as plain text (Doubleword, Parasail); None for a proxy's HTML."""
    text = " ".join(body[:500].decode(errors="replace").split())
    return text if text.isprintable() and not text.startswith("<") else None


def read_id(job: dict[str, JSON], name: str = "id") -> str:
    """The id of what a call has created, under the name that this API uses. Raises `Garbled` when there is none."""
    found = job.get(name)
    if not isinstance(found, str) or not 0 < len(found) <= _LONGEST_ID or read_text(found) != found:
        raise Garbled(f"a success without {name}")
    return found


_LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|::1")


def read_link(value: JSON, at: Site) -> str:
    """A link from a response, for a call without any credential: over TLS, or on this machine if the API is there, too.
    Raises `Garbled` for any other."""
    link, here = web_address(value), web_address(at.target.base_url)
    if link is not None and here is not None:
        plain = all(each.scheme == "http" and _LOOPBACK.fullmatch(each.hostname or "") for each in (link, here))
        if link.scheme == "https" or plain:
            return link.geturl()
    raise Garbled("a link that is invalid or not over TLS")


def read_object(value: JSON) -> dict[str, JSON]:
    """A JSON object; empty when the value is anything else."""
    return value if isinstance(value, dict) else {}


def read_objects(value: JSON) -> list[dict[str, JSON]]:
    """The objects of a JSON array; empty when the value is anything else."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def read_text(value: JSON) -> str | None:
    """A non-empty string, or None: absent ids come as null, "" and {}. A lone surrogate, which UTF-8 cannot represent,
    becomes a question mark."""
    if not isinstance(value, str) or not value:
        return None
    return value if value.isascii() else value.encode(errors="replace").decode()


def error_status(code: str) -> int | None:
    """The HTTP error status that this code is; None for a word or any other number."""
    return int(code) if len(code) == 3 and code.isdecimal() and 400 <= int(code) <= 599 else None


def read_count(value: JSON) -> int:
    """A count that may be missing, null, or a string of digits; 0 when it is absent or not a possible count."""
    try:
        found = int(value) if isinstance(value, int | float | str) else 0
    except (ValueError, OverflowError):
        return 0
    return found if 0 <= found <= _MOST else 0


def read_moment(value: JSON) -> float:
    """Unix seconds of a time that is a number or RFC 3339 text; 0.0 when it is not a time, or after the year 2199."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        found: float = value
    else:
        try:
            found = datetime.fromisoformat(str(value)).timestamp()
        except (ValueError, OverflowError):
            return 0.0
    return float(found) if 0 < found < _LATEST else 0.0
