"""Answers the calls of a dry run with synthetic responses, marked as such. Belongs to the engine's loop thread."""

from __future__ import annotations

from batchling.core import events
from batchling.core.fingerprint import decode_body
from batchling.core.model import Item, Response, Target
from batchling.engine.answers import Answers, broken
from batchling.providers.base import Provider
from batchling.providers.sizes import size_of

DRY_RUN = ("x-batchling-dry-run", "1")


def rehearse(answers: Answers, provider: Provider, target: Target, items: list[Item]) -> None:
    """Answer requests that would have been submitted as one batch."""
    new = [item for item in items if not _is_cached(answers, item.key)]
    bodies = {item.key: decode_body(item.request.body) or {} for item in items}
    if new:
        sizes = tuple(size_of(target.endpoint, bodies[item.key]) for item in new)
        answers.emit(events.Rehearsed(target, len(new), sizes))
    for item in items:
        try:
            response = provider.rehearse(target, bodies[item.key])
        except Exception as fault:  # an invalid body, or a call that has no sample answer
            response = broken(provider, fault)
        answers.answer(item.key, Response(response.status, (*response.headers, DRY_RUN), response.body))


def _is_cached(answers: Answers, key: str) -> bool:
    waiter = answers.callers.get(key)
    return waiter is not None and waiter.followed
