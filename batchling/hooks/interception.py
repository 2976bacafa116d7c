"""The questions that a hook has: does the scope want this call, and where is the answer?"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from functools import lru_cache
from urllib.parse import urlsplit

from batchling.core.events import OUTSIDE
from batchling.core.model import Headers, Request, Response
from batchling.core.way import Way
from batchling.system.gate import Gate, current, open_gates, ourselves
from batchling.system.pending import Pending

OWN_TRANSPORT = "the program's own transport"
REPLACED = "a mock or a recorder has replaced the network"


def gate_for(method: str, url: str) -> Gate | None:
    """The gate that wants this call. None: leave the request exactly as it is.

    If an open scope would want a call that runs outside every scope, the call is recorded there as a bypass.
    """
    if ourselves.get():
        return None
    gate = current()
    if gate is not None:
        return gate if gate.wants(method, url) else None
    for other in tuple(open_gates):
        if other.wants(method, url):
            other.bypass(method, url, OUTSIDE)
    return None


def shared_headers(raw: Iterable[tuple[str, str]]) -> Headers:
    """The headers of a call: one object for all calls that have the same. Their length is left out, which differs."""
    return _lower(tuple([pair for pair in raw if pair[0] != "Content-Length"]))


@lru_cache(maxsize=256)
def _lower(raw: Headers) -> Headers:
    return tuple([(name.lower(), value) for name, value in raw])


class Mark:
    """A wanted call on its way through the program's own transport, until it reaches a hook below.

    The transport may make other calls in the meantime, for a token or a moderation. They are not mistaken for this one,
    since their path and body differ.
    """

    __slots__ = ("_body", "_path", "method", "reached", "url")

    def __init__(self, method: str, url: str, body: bytes | None) -> None:
        self.method: str = method
        self.url: str = url
        self._path = urlsplit(url).path
        self._body = body
        self.reached: bool = False

    def reach(self, url: str, body: bytes | None) -> None:
        """Record that a hook has received a call. It is this one if its path or its body is the same."""
        if urlsplit(url).path == self._path or (body and body == self._body):
            self.reached = True


marked: ContextVar[Mark | None] = ContextVar("batchling_marked", default=None)
"""The call for which the program's own transport is running."""


def offer(gate: Gate, request: Request, way: Way | None) -> Pending[Response] | None:
    """Pass a wanted request to its gate. Returns its future, or None if it goes real time."""
    if (mark := marked.get()) is not None:
        mark.reach(request.url, request.body)
    return gate.submit(request, way)


def refuse(gate: Gate, method: str, url: str, reason: str) -> None:
    """Let a wanted call go real time, for a reason that its hook has found."""
    if (mark := marked.get()) is not None:
        mark.reach(url, None)
    gate.bypass(method, url, reason)
