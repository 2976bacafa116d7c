"""Emits one event for all calls that have just had the same fate. Belongs to the engine's loop thread."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from urllib.parse import urlsplit

from batchling.core import events
from batchling.core.model import Target

Counted = Callable[..., events.Queued | events.Hit | events.Answered | events.Bypassed]
"""The kinds of events that say how many calls they are about."""


class Bulk:
    """Counts calls until `tell`, by the kind and the fields of their event."""

    def __init__(self, emit: Callable[[events.Event], None]) -> None:
        self._emit = emit
        self._calls: dict[tuple[Counted, tuple[Hashable, ...]], int] = {}

    def add(self, kind: Counted, *fields: Hashable, calls: int = 1) -> None:
        """Count calls whose event has these fields, in their order."""
        event = (kind, fields)
        self._calls[event] = self._calls.get(event, 0) + calls

    def add_real_time(self, url: str, reason: str, target: Target | None = None) -> None:
        """Count a call to this URL that goes real time."""
        parts = urlsplit(url)
        self.add(events.Bypassed, parts.hostname or "", parts.path, reason, target)

    def tell(self) -> None:
        """Emit what was counted since the last time."""
        counted, self._calls = self._calls, {}
        for (kind, fields), calls in counted.items():
            self._emit(kind(*fields, calls=calls))
