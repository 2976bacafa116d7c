"""Our response as it would have come over the wire. The hooks build each library's own response from this."""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from batchling.core.model import Response

_FRAMING = frozenset({"connection", "content-encoding", "content-length", "keep-alive", "transfer-encoding"})
"""Headers that describe how a message was transferred, which the caller never sees."""
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_LONGEST = 4_096
"""Bytes of a header value: clients reject a response with 8 KiB."""
_MOST = 64
"""Headers that are passed on: clients reject a response with 100."""
_UNFIT = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def status_of(response: Response) -> int:
    """The status from the provider's row, or 502 if HTTP cannot carry it as the status of a response."""
    return response.status if 200 <= response.status <= 999 else HTTPStatus.BAD_GATEWAY


def reason_of(status: int) -> str:
    """The usual phrase for a status, or an empty string."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def headers_of(response: Response) -> list[tuple[bytes, bytes]]:
    """The headers of the response, with its length and, if the provider gave no date, the current one."""
    found = [
        (name.encode(), _bytes(value))
        for name, value in response.headers[:_MOST]
        if _is_name(name) and (value.isprintable() or not _UNFIT.search(value)) and len(value) < _LONGEST
    ]
    if not any(name == b"date" for name, _ in found):
        found.append((b"date", _date(int(time.time()))))
    found.append((b"content-length", b"%d" % len(response.body)))
    return found


def _bytes(value: str) -> bytes:
    """A value as it was received: real headers are read as Latin-1, those in a row as UTF-8."""
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode(errors="replace")


@lru_cache(maxsize=256)
def _is_name(name: str) -> bool:
    return name not in _FRAMING and _NAME.fullmatch(name) is not None


@lru_cache(maxsize=1)
def _date(seconds: int) -> bytes:
    return formatdate(seconds, usegmt=True).encode()


def wire(response: Response) -> bytes:
    """The whole response in HTTP/1.1."""
    status = status_of(response)
    head = [f"HTTP/1.1 {status} {reason_of(status)}".encode()]
    head += [name + b": " + value for name, value in headers_of(response)]
    return b"\r\n".join([*head, b"", response.body])
