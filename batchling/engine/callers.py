"""Who waits for what: intercepted calls, by the key of their request. Belongs to the engine's loop thread."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import Future, InvalidStateError
from typing import TypeVar

from batchling.core.fingerprint import Ordinals, key_of
from batchling.core.model import Headers, Item, Request, Response, Target
from batchling.engine.waiter import Arrival, Stage, Waiter

T = TypeVar("T")

FINAL = ("x-should-retry", "false")
"""Keeps the SDKs made by Stainless from sending a row that has failed for good once more."""
_NEVER_PASSED_ON = frozenset(
    {"retry-after", "retry-after-ms", "content-encoding", "content-length", "transfer-encoding"}
)
"""Some SDKs sleep a Retry-After in full; the others describe bytes that the caller never sees."""


class Callers:
    """All waiters of a scope. A key is waited for once, by however many calls."""

    def __init__(self) -> None:
        self._waiters: dict[str, Waiter] = {}
        self._ordinals = Ordinals()
        self._empty = asyncio.Event()
        self._empty.set()

    async def emptied(self) -> None:
        """Wait until nobody waits."""
        await self._empty.wait()

    def __len__(self) -> int:
        return len(self._waiters)

    def __contains__(self, key: str) -> bool:
        return key in self._waiters

    def get(self, key: str) -> Waiter | None:
        """The waiter of a key; None when nobody waits for it."""
        return self._waiters.get(key)

    def is_unsent(self, key: str) -> bool:
        """Whether the request of a key has not left yet, or nobody waits for it."""
        waiter = self._waiters.get(key)
        return waiter is None or waiter.is_unsent

    def unsent(self) -> int:
        """How many requests have not left yet."""
        return sum(waiter.is_unsent for waiter in self._waiters.values())

    def enter(self, arrival: Arrival, target: Target, *, joins: bool) -> Waiter | None:
        """Take a call in: its new waiter, or None when it joins one that is there. `joins` says that it repeats
        the last identical call instead of being a further sample."""
        ordinal = (self._ordinals.last if joins else self._ordinals.take)(arrival.fingerprint)
        key = key_of(arrival.fingerprint, ordinal)
        waiter = arrival.waiter = self._waiters.get(key)
        if waiter is not None:
            waiter.calls.append(arrival)
            return None
        asked = arrival.request
        # Without its headers, which the site has: a batch holds thousands of these.
        item = Item(key, Request(asked.method, asked.url, (), asked.body))
        waiter = Waiter(target, item, arrival.fingerprint, ordinal, [arrival])
        arrival.waiter = self._waiters[key] = waiter
        self._empty.clear()
        return waiter

    def rename(self, waiter: Waiter, target: Target, fingerprint: str, *, joins: bool) -> bool:
        """Give a waiter that no batch holds another identity. False when its calls have joined another waiter, as far
        as it `joins` identical ones."""
        del self._waiters[waiter.item.key]
        self._ordinals.give_back(waiter.fingerprint, waiter.ordinal)
        waiter.target, waiter.fingerprint = target, fingerprint
        waiter.ordinal = (self._ordinals.last if joins else self._ordinals.take)(fingerprint)
        key = key_of(fingerprint, waiter.ordinal)
        waiter.item = Item(key, waiter.item.request)
        if (other := self._waiters.setdefault(key, waiter)) is waiter:
            return True
        other.calls += waiter.calls
        for call in waiter.calls:
            call.waiter = other
        return False

    def __getitem__(self, key: str) -> Waiter:
        return self._waiters[key]

    def answer(self, key: str, response: Response) -> None:
        """Give everyone who waits for a key the answer; a failure frees its place among identical requests."""
        waiter = self._remove(key)
        waiter.move(Stage.ANSWERED)
        if not response.ok:
            self._ordinals.give_back(waiter.fingerprint, waiter.ordinal)
            response = Response(response.status, _final(response.headers), response.body)
        resolve(waiter.calls, response)

    def release(self, key: str) -> list[Arrival]:
        """Let a request go real time: the calls that waited for it and are to be sent now."""
        if key not in self._waiters:
            return []
        waiter = self._remove(key)
        waiter.move(Stage.ANSWERED)
        self._ordinals.give_back(waiter.fingerprint, waiter.ordinal)
        return waiter.calls

    def leave(self, arrival: Arrival) -> Waiter | None:
        """A call was cancelled: its waiter, if nobody waits for that key any more."""
        waiter = arrival.waiter
        if waiter is None or arrival not in waiter.calls:
            return None
        waiter.calls.remove(arrival)
        if waiter.calls or self._waiters.get(waiter.item.key) is not waiter:
            return None
        self._remove(waiter.item.key)
        self._ordinals.give_back(waiter.fingerprint, waiter.ordinal)
        return waiter

    def _remove(self, key: str) -> Waiter:
        waiter = self._waiters.pop(key)
        if not self._waiters:
            self._empty.set()
        return waiter

    def abandon(self, reason: BaseException) -> None:
        """Nobody is going to be answered any more."""
        waiters, self._waiters = self._waiters, {}
        self._empty.set()
        for waiter in waiters.values():
            resolve(waiter.calls, reason)


def resolve(futures: Iterable[Future[T]], outcome: T | BaseException) -> None:
    """Settle futures whose holders may cancel them at any moment."""
    for future in futures:
        try:
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        except InvalidStateError:
            pass  # cancelled, or settled before


def _final(headers: Headers) -> Headers:
    return (*(pair for pair in headers if pair[0] not in _NEVER_PASSED_ON and pair[0] != FINAL[0]), FINAL)
