"""Which scope a task or a thread is in.

This module is the seam between the patched libraries and the engine. It knows neither. `active` is the scope of
the current task or thread; `open_gates` are all scopes open in this process, so that a call which was
started outside of them can be reported instead of silently paying the full price.
"""

from __future__ import annotations

import threading
from contextvars import Context, ContextVar
from typing import Protocol
from weakref import ref

from batchling.core.events import Event
from batchling.core.model import Request, Response
from batchling.core.way import Way
from batchling.system.pending import Pending


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

    def reason_against(self, method: str, url: str) -> str | None:
        """Why a wanted call goes real time, judged by method and URL alone; None if its headers and body decide."""

    def submit(self, request: Request, way: Way | None = None) -> Pending[Response] | None:
        """Take the request, or None when it has to go real time (the reason is noted for the report). `way` is how its
        client reaches the provider.

        The future gets a `Response` also for failures, and raises `RealTime` when the request has to be sent after all
        and `Detached` when the scope is left first. Cancelling it withdraws the request if it was not yet submitted.
        """

    def bypass(self, method: str, url: str, reason: str) -> None:
        """Note that a wanted call goes real time, and why: a few words for people."""

    def notice(self, event: Event) -> None:
        """Note what happened beside the calls."""


class _Unset:
    """Nothing was decided about this task or thread."""


_UNSET = _Unset()

active: ContextVar[Gate | _Unset | None] = ContextVar("batchling_active", default=_UNSET)
"""The innermost scope of this task or thread; None is outside of all. Where it is not set, `current` looks further."""

ourselves: ContextVar[bool] = ContextVar("batchling_ourselves", default=False)
"""True around our own calls, and those that a hook has reported already: no hook looks at them."""

open_gates: set[Gate] = set()
"""Every open scope of this process. Changed by `BatchingContext` only; read it with `tuple(open_gates)`."""

_SCOPE = "_batchling_scope"
"""The attribute by which a thread holds the scope that it was started in."""


def enabled() -> bool:
    """Whether hooks have anything to do; asked by wrapt on every call of a patched function."""
    return bool(open_gates)


def current() -> Gate | None:
    """The innermost scope of the caller that is still open."""
    gate = active.get()
    if isinstance(gate, _Unset):
        scope = threading.current_thread().__dict__.get(_SCOPE)
        gate = None if scope is None else scope()
    while gate is not None and gate.closed:
        gate = gate.outer
    return gate


def activate_in(gate: Gate, thread: threading.Thread) -> None:
    """Have a thread that is about to start run in a scope, without keeping the scope alive."""
    # Not by setattr: a subclass may have its own.
    thread.__dict__[_SCOPE] = ref(gate)


def outside() -> Context:
    """A context outside of every scope, for threads of ours."""
    context = Context()
    context.run(active.set, None)
    return context
