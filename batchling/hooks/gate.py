"""What a hook asks: is there an active scope, does it want this request, and where is the answer.

This module is the seam between the patched libraries and the engine. It knows neither. `active` is the scope of
the current task or thread; `open_gates` are all scopes open in this process, so that a call which was
started outside of them can be reported instead of silently paying the full price.
"""

from __future__ import annotations

from concurrent.futures import Future
from contextvars import ContextVar
from typing import Protocol

from batchling.core.model import Request, Response
from batchling.core.way import Way


class RealTime(Exception):
    """What the future of a request raises that its scope lets go of: no batch can carry it after all, and its hook is
    to send it."""


class Gate(Protocol):
    """A scope as a hook sees it. All methods may be called from any thread and do not block."""

    outer: Gate | None
    """The scope that was active when this one was entered."""

    closed: bool
    """True once the scope has ended; a closed gate is passed over in favour of `outer`."""

    def wants(self, method: str, url: str) -> bool:
        """Whether a call to this URL may be batched, judged by method and URL alone. Microseconds."""

    def submit(self, request: Request, way: Way | None = None) -> Future[Response] | None:
        """Take the request, or None when it has to go real time (the reason is noted for the report). `way` is how its
        client reaches the provider.

        The future gets a `Response` also for failures, and raises `RealTime` when the request has to be sent after all
        and `Detached` when the scope is left first. Cancelling it withdraws the request if it was not yet submitted.
        """

    def bypass(self, method: str, url: str, reason: str) -> None:
        """Note that a wanted call goes real time, and why: a few words for people."""


active: ContextVar[Gate | None] = ContextVar("batchling_active", default=None)
"""The innermost scope of this task or thread."""

decided: ContextVar[bool] = ContextVar("batchling_decided", default=False)
"""True below a hook that has let a wanted request pass, so that no deeper hook judges it again."""

open_gates: set[Gate] = set()
"""Every open scope of this process. Changed by `BatchingContext` only; read it with `tuple(open_gates)`."""

OUTSIDE = "the task or thread started outside the scope"


def enabled() -> bool:
    """Whether hooks have anything to do; asked by wrapt on every call of a patched function."""
    return bool(open_gates)


def current() -> Gate | None:
    """The innermost scope of the caller that is still open."""
    gate = active.get()
    while gate is not None and gate.closed:
        gate = gate.outer
    return gate


def gate_for(method: str, url: str) -> Gate | None:
    """The gate that wants this call, or None: the request is to be left exactly as it is.

    A wanted call that runs outside every open scope is noted as a bypass of those scopes.
    """
    if decided.get():
        return None
    gate = current()
    if gate is not None:
        return gate if gate.wants(method, url) else None
    for other in tuple(open_gates):
        if other.wants(method, url):
            other.bypass(method, url, OUTSIDE)
    return None
