"""Answers the calls of a dry run with synthetic responses, marked as such. Belongs to the engine's loop thread."""

from __future__ import annotations

from batchling.core import events
from batchling.core.estimate import Size
from batchling.core.fingerprint import decode_body
from batchling.core.model import Item, Response, Target
from batchling.engine.answers import Answers, broken
from batchling.engine.background import portions
from batchling.providers.base import Provider
from batchling.providers.sizes import size_of

DRY_RUN = ("x-batchling-dry-run", "1")


async def rehearse(answers: Answers, provider: Provider, target: Target, items: list[Item]) -> None:
    """Answer requests that would have been submitted as one batch."""
    try:
        await _rehearse(answers, provider, target, items)
    except Exception as fault:  # from a third party's provider
        answers.answer_all({item.key: broken(provider, fault) for item in items})


async def _rehearse(answers: Answers, provider: Provider, target: Target, items: list[Item]) -> None:
    sizes: list[Size] = []
    async for some in portions(items):
        new = [item for item in some if not _is_cached(answers, item.key)]
        sizes += [size_of(target.endpoint, decode_body(item.request.body) or {}) for item in new]
    if sizes:
        answers.emit(events.Rehearsed(target, len(sizes), tuple(sizes)))
    async for some in portions(items):
        answers.answer_all({item.key: _answer(provider, target, item) for item in some})


def _answer(provider: Provider, target: Target, item: Item) -> Response:
    try:
        response = provider.rehearse(target, decode_body(item.request.body) or {})
    except Exception as fault:  # an invalid body, or a call that has no sample answer
        response = broken(provider, fault)
    return Response(response.status, (*response.headers, DRY_RUN), response.body)


def _is_cached(answers: Answers, key: str) -> bool:
    waiter = answers.callers.get(key)
    return waiter is not None and waiter.followed
