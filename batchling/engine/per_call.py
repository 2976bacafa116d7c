"""Finds headers to gateways that have a new value in every call, and so do not identify an account.

At a gateway, every unlisted header separates accounts: it may name a tenant. A header that the program's
instrumentation creates for each call would turn each call into its own account and its own batch, bought again in every
run. Such a header is left out as soon as it is recognised.

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
"""The number of calls with one credential in which a header must have had a different value each time, before it is
left out."""
MOST = 10_000
"""How many values of a header are remembered. A header that was new this many times is no longer examined."""


class _Group(NamedTuple):
    """Calls with one credential: they differ only in headers that may turn out to describe a single call."""

    provider: str
    base_url: str
    account: str
    """A digest of all headers that are never left out."""


@dataclass(slots=True)
class _Header:
    """What is known of a header in a group: the hash of each value, with the hash of the body that it came with."""

    values: dict[int, int] = field(default_factory=dict)
    repeats: bool = False
    """A value came twice: it stands for something that several calls share."""
    left_out: bool = False


class PerCallHeaders:
    """See the module docstring. Ignores official hosts: their providers define which headers count."""

    def __init__(self) -> None:
        self._groups: dict[_Group, dict[str, _Header]] = {}
        self._any = False

    def __bool__(self) -> bool:
        """Whether any header is left out."""
        return self._any

    def register(self, arrival: Arrival) -> None:
        """Note the headers of a call. To be called once for each call."""
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
            return  # a retry by the program
        seen.repeats = True
        seen.values.clear()
        if seen.left_out:
            seen.left_out = False
            _log.warning(
                "batchling: header %s was left out because its value was new in every call, but now a value was "
                "repeated. From now on the header separates accounts again.",
                name,
            )

    def decide(self) -> list[events.HeaderLeftOut]:
        """Leave out headers that have been new in enough calls by now. Returns an event for each of them."""
        found = []
        for group, headers in self._groups.items():
            for name, seen in headers.items():
                if not seen.left_out and not seen.repeats and len(seen.values) >= ENOUGH:
                    seen.left_out = self._any = True
                    host = urlsplit(group.base_url).hostname or ""
                    found.append(events.HeaderLeftOut(group.provider, host, name, len(seen.values)))
        return found

    def strip(self, arrival: Arrival) -> Request | None:
        """The request of a call without the headers that are left out; None if it has none of them."""
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
