"""Drives a flow with canned answers: no network, no clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from batchling.core.model import JSON, Call, Flow, Response

T = TypeVar("T")


def answer(body: JSON = None, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Response(status, headers, raw)


def play(flow: Flow[T], *answers: Response | Callable[[Call], Response]) -> tuple[list[Call], T]:
    """The calls that a flow makes when it gets these answers in turn, and what it returns."""
    calls = []
    queue = iter(answers)
    try:
        call = next(flow)
        while True:
            calls.append(call)
            given = next(queue, None)
            assert given is not None, f"the flow made more calls than it has answers: {call}"
            call = flow.send(given(call) if callable(given) else given)
    except StopIteration as end:
        assert next(queue, None) is None, "the flow made fewer calls than it has answers"
        return calls, end.value


def body_of(call: Call) -> bytes:
    return b"".join(call.chunks) or call.request.body
