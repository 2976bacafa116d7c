"""What a scope may still spend: reserved before a batch is submitted, corrected when its true cost is known. Pure.

Belongs to the engine's loop thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal

from batchling.core.model import Item, Target

Quote = Decimal | str
"""The most that a request can cost in a batch, in US dollars; or why that is not known."""
Quoting = Callable[[Target, Sequence[Item]], Mapping[str, Quote]]
"""Returns quotes for items, by key. May block: it loads a list of prices."""


class Budget:
    """`limit` US dollars for what one scope submits. `quote` returns what requests cost."""

    def __init__(self, limit: float, quote: Quoting) -> None:
        self.limit: Decimal = Decimal(str(limit))
        self.quote = quote
        self._spent = Decimal(0)
        self._reserved: dict[str, dict[str, Decimal]] = {}

    @property
    def taken(self) -> Decimal:
        """US dollars spent or reserved."""
        return self._spent + sum((sum(each.values()) for each in self._reserved.values()), Decimal(0))

    def reserve(self, batch_id: str, quotes: Mapping[str, Quote]) -> dict[str, str]:
        """Reserve for a batch, in this order, the requests that fit the budget; return the others with the reason."""
        refused: dict[str, str] = {}
        room = self.limit - self.taken
        mine = self._reserved.setdefault(batch_id, {})
        for key, quote in quotes.items():
            if isinstance(quote, str):
                refused[key] = f"{quote}, so it cannot be held to the budget"
            elif quote > room:
                left = f"${room.normalize():f} of the ${self.limit:f} budget is left"
                refused[key] = f"it could cost ${quote.normalize():f}, and {left}"
            else:
                mine[key] = quote
                room -= quote
        return refused

    def take(self, batch_id: str, amounts: Mapping[str, Decimal]) -> None:
        """Take in what another process has reserved for its own batch."""
        self._reserved.setdefault(batch_id, {}).update(amounts)

    def give_back(self, batch_id: str, keys: Iterable[str] | None = None) -> None:
        """Release what was reserved for these keys of a batch, or for the whole batch: they cost nothing."""
        if keys is None:
            self._reserved.pop(batch_id, None)
        elif (mine := self._reserved.get(batch_id)) is not None:
            for key in keys:
                mine.pop(key, None)

    def pay(self, batch_id: str, paid: str | None) -> None:
        """Replace what was reserved for a batch by what it has cost, in US dollars. None means that the cost is not
        known: the reserved amount counts as spent."""
        if batch_id in self._reserved:
            reserved = sum(self._reserved.pop(batch_id).values(), Decimal(0))
            self._spent += reserved if paid is None else Decimal(paid)
