"""Our response as the wire would have carried it: what the hooks of all libraries build their own from."""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from batchling.core.model import Response

_FRAMING = frozenset({"connection", "content-encoding", "content-length", "keep-alive", "transfer-encoding"})
"""Headers about the bytes of a message that the caller never sees."""
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_LONGEST = 4_096
"""Bytes of a header value: clients refuse an answer for 8 KiB."""
_MOST = 64
"""Headers that are passed on: clients refuse an answer for 100."""
_UNFIT = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def status_of(response: Response) -> int:
    """The status, which comes from a provider's row: what HTTP cannot carry as an answer is 502."""
    return response.status if 200 <= response.status <= 999 else HTTPStatus.BAD_GATEWAY


def reason_of(status: int) -> str:
    """The usual words for a status; empty when there are none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def headers_of(response: Response) -> list[tuple[bytes, bytes]]:
    """The headers of the answer, with its length and, where the provider gave none, the date of now."""
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
    """A value as it came: headers are read as Latin-1, and what a row has in its place is UTF-8."""
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
    """The whole answer in HTTP/1.1."""
    status = status_of(response)
    head = [f"HTTP/1.1 {status} {reason_of(status)}".encode()]
    head += [name + b": " + value for name, value in headers_of(response)]
    return b"\r\n".join([*head, b"", response.body])
