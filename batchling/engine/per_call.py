"""Headers of a gateway that are new in every call, and so cannot say who asks.

At a gateway every header that nobody has listed separates accounts: it may name a tenant. One that an instrumentation
of the program creates for each call would make each call an account of its own, a batch of its own, and a purchase
in every run. Such a header is left out once it has shown what it is.

Belongs to the engine's loop thread.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

from batchling.core import events
from batchling.core.model import Request
from batchling.engine.waiter import Arrival
from batchling.providers.asking import account_of
from batchling.providers.headers import lasting, may_vary

_log = logging.getLogger(__name__)

ENOUGH = 5
"""Calls with one credential that a header has to be in, each time with another value, before it is left out."""
MOST = 10_000
"""Values of a header that are remembered. One that was new so often is not looked at any more."""


class _Group(NamedTuple):
    """Calls with one credential: they differ at most in headers that may turn out to describe one message."""

    provider: str
    base_url: str
    account: str
    """A digest of all headers that are never left out."""


@dataclass(slots=True)
class _Header:
    """What a header of a group has shown: the hashes of its values, with that of the body each came with."""

    values: dict[int, int] = field(default_factory=dict)
    repeats: bool = False
    """A value came twice: it stands for something that calls have in common."""
    left_out: bool = False


class PerCallHeaders:
    """See the module. Official hosts are none of its business: their providers say which headers count."""

    def __init__(self) -> None:
        self._groups: dict[_Group, dict[str, _Header]] = {}
        self._any = False

    def __bool__(self) -> bool:
        """Whether any header is left out."""
        return self._any

    def register(self, arrival: Arrival) -> None:
        """Take note of the headers of a call that has arrived, once."""
        request = arrival.request
        if arrival.route.official or arrival.is_retry:
            return
        varying = {name: value for name, value in lasting(request.headers) if _may_vary(arrival, name)}
        if not varying:
            return
        headers = self._groups.setdefault(_group(arrival), {})
        for name, value in varying.items():
            self._note(name, headers.setdefault(name, _Header()), hash(value), hash(request.body))

    def _note(self, name: str, seen: _Header, value: int, body: int) -> None:
        if seen.repeats or len(seen.values) >= MOST:
            return
        if value not in seen.values:
            seen.values[value] = body
            return
        if seen.left_out and seen.values[value] == body:
            return  # the program's own retry of a call
        seen.repeats = True
        seen.values.clear()
        if seen.left_out:
            seen.left_out = False
            _log.warning(
                "batchling: header %s was left out because it was new in every call, and now has a value that came "
                "before. From here on it separates accounts again.",
                name,
            )

    def decide(self) -> list[events.HeaderLeftOut]:
        """Leave out what has been new in enough calls by now; which headers those are."""
        found = []
        for group, headers in self._groups.items():
            for name, seen in headers.items():
                if not seen.left_out and not seen.repeats and len(seen.values) >= ENOUGH:
                    seen.left_out = self._any = True
                    host = urlsplit(group.base_url).hostname or ""
                    found.append(events.HeaderLeftOut(group.provider, host, name, len(seen.values)))
        return found

    def strip(self, arrival: Arrival) -> Request | None:
        """The request of a call without the headers that are left out by now; None when it has none of them."""
        if arrival.route.official or (headers := self._groups.get(_group(arrival))) is None:
            return None
        request = arrival.request
        kept = tuple(pair for pair in request.headers if not ((seen := headers.get(pair[0])) and seen.left_out))
        if len(kept) == len(request.headers):
            return None
        return Request(request.method, request.url, kept, request.body)


def _may_vary(arrival: Arrival, name: str) -> bool:
    return may_vary(name) and name not in arrival.provider.facts.separates


def _group(arrival: Arrival) -> _Group:
    fixed = tuple(pair for pair in lasting(arrival.request.headers) if not _may_vary(arrival, pair[0]))
    return _Group(arrival.provider.name, arrival.route.base_url, account_of(fixed))
