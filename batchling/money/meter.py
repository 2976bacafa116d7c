"""Counts what the answers of one batch cost, while its rows are read. Called on the disk thread."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from batchling.core.cost import Cost
from batchling.core.model import Response, Target
from batchling.money import prices
from batchling.money.usage import Answer, read, tokens
from batchling.providers.base import Provider

if TYPE_CHECKING:
    from genai_prices.types import Usage

_log = logging.getLogger(__name__)


_answers = msgspec.json.Decoder(Answer)


@dataclass(slots=True)
class _Sum:
    """The answers of one model; dollars are None once any amount is unknown."""

    price: prices.Price | None
    usage: Usage | None = None
    full: Decimal | None = Decimal(0)
    paid: Decimal | None = Decimal(0)

    def add(self, usage: Usage) -> None:
        if self.price is None:
            self.full = self.paid = None
            return
        if self.price.cached_unsure and usage.reported_value("cache_read_tokens"):
            self.paid = None
        if self.price.linear:
            self.usage = usage if self.usage is None else self.usage + usage
        else:
            self._charge(usage)

    def _charge(self, usage: Usage) -> None:
        assert self.price is not None
        try:
            if self.full is not None:
                self.full += prices.dollars(self.price.full, usage)
            if self.paid is not None:
                self.paid = None if self.price.batch is None else self.paid + prices.dollars(self.price.batch, usage)
        except ValueError:
            # Counts that contradict each other.
            self.full = self.paid = None

    def close(self) -> None:
        if self.usage is not None:
            self._charge(self.usage)
            self.usage = None


@dataclass(slots=True)
class Meter:
    """The meter of one batch. `add` counts each good answer once, `cost` returns the sum; neither ever raises."""

    provider: Provider
    target: Target
    _tokens: Cost = field(default_factory=Cost)
    _sums: dict[str, _Sum] = field(default_factory=dict)
    _silent: int = 0
    _counts: list[int] = field(default_factory=lambda: [0, 0, 0, 0, 0])

    def add(self, response: Response) -> None:
        """Count one answer."""
        self._counts[0] += 1
        try:
            answer = _answers.decode(response.body)
            usage = read(self.provider.facts.prices, self.target.endpoint, answer)
            counts = tokens(usage)
            self._sum(answer.name).add(usage)
            for place, count in enumerate(counts, 1):
                self._counts[place] += count
        except Exception as fault:  # whatever an answer contains, the caller gets it, and the batch continues
            self._silent += 1
            _log.debug("an answer does not report its usage (%s)", type(fault).__name__)

    def _sum(self, name: str) -> _Sum:
        found = self._sums.get(name)
        if found is None:
            limits, source = self.provider.limits, self.provider.facts.prices
            # The answer names its model most precisely: the request may name an alias, or a deployment.
            price = prices.find(source, name, limits) or prices.find(source, self.target.model, limits)
            found = self._sums[name] = _Sum(price)
        return found

    def cost(self) -> Cost:
        """What all answers together cost; dollars are unknown if one of them does not report its usage."""
        for each in self._sums.values():
            each.close()
        full = [None if self._silent else Decimal(0), *(each.full for each in self._sums.values())]
        paid = [None if self._silent else Decimal(0), *(each.paid for each in self._sums.values())]
        answers, taken, cached, written, made = self._counts
        return Cost(answers, self._silent, taken, cached, written, made, _total(full), _total(paid))


def _total(amounts: list[Decimal | None]) -> float | None:
    known = [amount for amount in amounts if amount is not None]
    return float(sum(known)) if len(known) == len(amounts) else None
