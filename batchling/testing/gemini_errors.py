"""Errors of Google's APIs at the embedded server."""

from __future__ import annotations

from typing import Any

from batchling.testing.openai_files import reply
from batchling.testing.state import Refusal


def failure(status: int, message: str, reason: str = "") -> dict[str, Any]:
    """An error body as Google's APIs return it."""
    names = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND"}
    details = {"details": [{"reason": reason}]} if reason else {}
    return {"error": {"code": status, "message": message, "status": names.get(status, "UNKNOWN"), **details}}


def refused(status: int, message: str, reason: str = "") -> Refusal:
    """The same, as an exception that ends a handler."""
    return Refusal(reply(failure(status, message, reason), status))
