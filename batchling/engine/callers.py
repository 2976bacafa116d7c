"""The calls that wait for an answer, by the key of their request. Belongs to the engine's loop thread."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from concurrent.futures import InvalidStateError
from typing import TypeVar

from batchling.core.fingerprint import Ordinals, key_of
from batchling.core.model import Headers, Item, Request, Response, Target
from batchling.engine.waiter import Arrival, Stage, Waiter
from batchling.system.pending import Pending

T = TypeVar("T")

FINAL = ("x-should-retry", "false")
"""Stops SDKs made by Stainless from retrying a row that has finally failed."""
_NEVER_PASSED_ON = frozenset(
    {"retry-after", "retry-after-ms", "content-encoding", "content-length", "transfer-encoding"}
)
"""Some SDKs wait for the whole Retry-After; the other headers describe bytes that the caller never sees."""


class Callers:
    """All waiters of a scope: one for each key, shared by all calls that wait for that key."""

    def __init__(self) -> None:
        self._waiters: dict[str, Waiter] = {}
        self._ordinals = Ordinals()
        self._empty = asyncio.Event()
        self._empty.set()

    async def emptied(self) -> None:
        """Wait until no call is waiting."""
        await self._empty.wait()

    def __len__(self) -> int:
        return len(self._waiters)

    def __contains__(self, key: str) -> bool:
        return key in self._waiters

    def get(self, key: str) -> Waiter | None:
        """The waiter of a key; None if no call waits for it."""
        return self._waiters.get(key)

    def holds(self, waiter: Waiter) -> bool:
        """Whether calls still wait for this answer."""
        return self._waiters.get(waiter.item.key) is waiter

    def waiters(self, keys: Iterable[str]) -> Iterator[Waiter]:
        """The waiters of those of these keys that calls wait for."""
        return (waiter for key in keys if (waiter := self._waiters.get(key)) is not None)

    def is_unsent(self, key: str) -> bool:
        """Whether the request of a key was not sent yet, or no call waits for it."""
        waiter = self._waiters.get(key)
        return waiter is None or waiter.is_unsent

    def unsent(self) -> int:
        """How many requests were not sent yet."""
        return sum(waiter.is_unsent for waiter in self._waiters.values())

    def enter(self, arrival: Arrival, target: Target, *, joins: bool) -> Waiter | None:
        """Add a call. Returns its new waiter, or None if it joins an existing one. `joins`: it repeats the last
        identical call; otherwise it is a further sample."""
        ordinal = (self._ordinals.last if joins else self._ordinals.take)(arrival.fingerprint)
        key = key_of(arrival.fingerprint, ordinal)
        waiter = arrival.waiter = self._waiters.get(key)
        if waiter is not None:
            waiter.calls.append(arrival)
            return None
        asked = arrival.request
        # Without headers, which the site has: a batch holds thousands of these.
        item = Item(key, Request(asked.method, asked.url, (), asked.body))
        if arrival.route.official:  # only at a gateway, a header may turn out to be new in every call
            arrival.request = item.request
        waiter = Waiter(target, item, arrival.fingerprint, ordinal, [arrival])
        arrival.waiter = self._waiters[key] = waiter
        self._empty.clear()
        return waiter

    def rename(self, waiter: Waiter, target: Target, fingerprint: str, *, joins: bool) -> bool:
        """Give a waiter that no batch holds another target and fingerprint, and so another key. False if another waiter
        has that key, which its calls have joined. `joins` as in `enter`."""
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

    def answer(self, waiter: Waiter, response: Response) -> None:
        """Give all calls that wait for a key its response. A failure frees its place among identical requests."""
        self._remove(waiter.item.key)
        waiter.move(Stage.ANSWERED)
        if not response.ok:
            self._ordinals.give_back(waiter.fingerprint, waiter.ordinal)
            response = Response(response.status, _final(response.headers), response.body)
        resolve(waiter.calls, response)

    def release(self, key: str) -> list[Arrival]:
        """Remove a request that goes real time. Returns the calls that waited for it, which are to be sent now."""
        if key not in self._waiters:
            return []
        waiter = self._remove(key)
        waiter.move(Stage.ANSWERED)
        self._ordinals.give_back(waiter.fingerprint, waiter.ordinal)
        return waiter.calls

    def leave(self, arrival: Arrival) -> Waiter | None:
        """Remove a cancelled call. Returns its waiter if it was the last call that waited for the key."""
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
        """Raise this in all waiting calls, and forget them."""
        waiters, self._waiters = self._waiters, {}
        self._empty.set()
        for waiter in waiters.values():
            resolve(waiter.calls, reason)


def resolve(futures: Iterable[Pending[T]], outcome: T | BaseException) -> None:
    """Set the result or exception of futures that their holders may cancel at any moment."""
    for future in futures:
        try:
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        except InvalidStateError:
            pass  # already cancelled or resolved


def _final(headers: Headers) -> Headers:
    return (*(pair for pair in headers if pair[0] not in _NEVER_PASSED_ON and pair[0] != FINAL[0]), FINAL)
