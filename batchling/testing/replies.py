"""Answers of the embedded server, and errors in OpenAI's wording."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from aiohttp import web


class Refusal(Exception):
    """Raised by a handler to refuse the call with this response."""

    def __init__(self, response: web.Response) -> None:
        super().__init__(response.status)
        self.response = response


def encode(value: Any) -> bytes:
    """JSON in its shortest form."""
    return msgspec.json.encode(value)


def jsonl(lines: Iterable[bytes]) -> bytes:
    """The content of a file with these lines."""
    return b"".join(line + b"\n" for line in lines)


def reply(value: Any, status: int = 200) -> web.Response:
    """An answer."""
    return web.Response(body=encode(value), status=status, content_type="application/json")


def error(message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """An error body."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def refusal(status: int, message: str, param: str | None = None, code: str | None = None) -> Refusal:
    """A refusal, for a handler to raise."""
    return Refusal(reply(error(message, param, code), status))
