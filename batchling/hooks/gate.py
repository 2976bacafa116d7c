"""What a hook asks: does the scope of this call want it, and where is the answer."""

from __future__ import annotations

from concurrent.futures import Future
from contextvars import ContextVar
from urllib.parse import urlsplit

from batchling.core.events import OUTSIDE
from batchling.core.model import Request, Response
from batchling.core.way import Way
from batchling.system.gate import Gate, current, open_gates, ourselves

OWN_TRANSPORT = "a transport of the program's own"
REPLACED = "a mock or a recorder has replaced the network"


def gate_for(method: str, url: str) -> Gate | None:
    """The gate that wants this call, or None: the request is to be left exactly as it is.

    A wanted call that runs outside every open scope is noted as a bypass of those scopes.
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


class Mark:
    """A wanted call on its way through a transport of the program's own, until a hook below meets it.

    Another call that the transport makes meanwhile, for a token or a moderation, is not taken for it: that one has
    another path and another body.
    """

    __slots__ = ("_body", "_path", "met", "method", "url")

    def __init__(self, method: str, url: str, body: bytes | None) -> None:
        self.method: str = method
        self.url: str = url
        self._path = urlsplit(url).path
        self._body = body
        self.met: bool = False

    def meet(self, url: str, body: bytes | None) -> None:
        """A hook has this call in hand."""
        if urlsplit(url).path == self._path or (body and body == self._body):
            self.met = True


marked: ContextVar[Mark | None] = ContextVar("batchling_marked", default=None)
"""The call for which a transport of the program's own runs."""


def offer(gate: Gate, request: Request, way: Way | None) -> Future[Response] | None:
    """Give a wanted request to its gate: its future, or None when it goes real time."""
    if (mark := marked.get()) is not None:
        mark.meet(request.url, request.body)
    return gate.submit(request, way)


def refuse(gate: Gate, method: str, url: str, reason: str) -> None:
    """Let a wanted call go real time, for a reason that its hook has seen."""
    if (mark := marked.get()) is not None:
        mark.meet(url, None)
    gate.bypass(method, url, reason)
