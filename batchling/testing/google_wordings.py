"""How Google's APIs word errors and pages of lists at the embedded server."""

from __future__ import annotations

from typing import Any

from batchling.testing.replies import Refusal, reply

_GEMINI = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND"}
_VERTEX = {**_GEMINI, 401: "UNAUTHENTICATED", 412: "FAILED_PRECONDITION"}


def failure(status: int, message: str, reason: str = "") -> dict[str, Any]:
    """An error body as Gemini returns it."""
    details = {"details": [{"reason": reason}]} if reason else {}
    return {"error": {"code": status, "message": message, "status": _GEMINI.get(status, "UNKNOWN"), **details}}


def refused(status: int, message: str, reason: str = "") -> Refusal:
    """The same, as an exception that ends a handler."""
    return Refusal(reply(failure(status, message, reason), status))


def vertex_failure(status: int, message: str) -> dict[str, Any]:
    """An error body as Vertex and Cloud Storage return it."""
    return {"error": {"code": status, "message": message, "status": _VERTEX.get(status, "UNKNOWN")}}


def vertex_refused(status: int, message: str) -> Refusal:
    """The same, as an exception that ends a handler."""
    return Refusal(reply(vertex_failure(status, message), status))


def google_page(name: str, items: list[Any], token: str) -> dict[str, Any]:
    """A page of a list under this name, and the token of the next page. What is empty is left out."""
    return {**({name: items} if items else {}), **({"nextPageToken": token} if token else {})}
