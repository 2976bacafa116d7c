"""Counts what the answers of one batch cost, while its rows are read. Called on the disk thread."""

from __future__ import annotations

import logging
import math
import operator
from collections.abc import Hashable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING

import msgspec

from batchling.core.cost import Cost
from batchling.core.model import Response, Target
from batchling.money import prices
from batchling.money.usage import MOST, Answer, answer_of, read, shape_of, tokens
from batchling.providers.base import Provider

if TYPE_CHECKING:
    from genai_prices.types import Usage

_log = logging.getLogger(__name__)


_answers = msgspec.json.Decoder(Answer)

_SHAPES = 64
"""The most shapes of a batch that are told apart; answers of further ones are counted one by one."""


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


class _Kind(Enum):
    """What is done with the further answers of one shape, where their numbers cannot simply be added up."""

    SILENT = "silent"
    """They do not report their usage."""
    SINGLE = "single"
    """Each has its own price: there are tiers, or fees per request."""


@dataclass(slots=True)
class _Group:
    """The answers of one shape, whose numbers are added up: read and priced once, however many they are."""

    answers: int
    numbers: list[int | float]


@dataclass(slots=True)
class Meter:
    """The meter of one batch. `add` counts each good answer once, `cost` returns the sum; neither ever raises.

    The answers of a batch report their usage in a few shapes, and to read a usage is to add up numbers. So the first
    answer of each shape is read by the price list's rules, and only the numbers of the others are added to it.
    """

    provider: Provider
    target: Target
    _answers: int = 0
    _silent: int = 0
    _counts: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    _sums: dict[str, _Sum] = field(default_factory=dict)
    _groups: dict[Hashable, _Group | _Kind] = field(default_factory=dict)

    def add(self, response: Response) -> None:
        """Count one answer."""
        self._answers += 1
        try:
            answer = _answers.decode(response.body)
            found = shape_of(answer)
            if found is None:
                self._count(answer)
                return
            shape, numbers = found
            group = self._groups.get(shape)
            if isinstance(group, _Group):
                group.answers += 1
                group.numbers = [*map(operator.add, group.numbers, numbers)]
            elif group is _Kind.SILENT:
                self._silent += 1
            elif group is _Kind.SINGLE or len(self._groups) >= _SHAPES:
                self._count(answer)
            else:
                self._groups[shape] = _Kind.SILENT  # unless it can be read
                self._groups[shape] = self._first(answer, numbers)
        except Exception as fault:  # whatever an answer contains, the caller gets it, and the batch continues
            self._silent += 1
            _log.debug("an answer does not report its usage (%s)", type(fault).__name__)

    def _first(self, answer: Answer, numbers: list[int | float]) -> _Group | _Kind:
        """Count the first answer of a shape. Raises `ValueError` if it does not report its usage."""
        price = self._sum(answer.name).price
        if price is not None and not price.linear:
            self._count(answer)
            return _Kind.SINGLE
        tokens(self._read(answer))
        return _Group(1, numbers)

    def _count(self, answer: Answer, most: float = MOST) -> None:
        """Count one answer, or the sum of several."""
        usage = self._read(answer)
        counts = tokens(usage, most)
        self._sum(answer.name).add(usage)
        for place, count in enumerate(counts):
            self._counts[place] += count

    def _read(self, answer: Answer) -> Usage:
        return read(self.provider.facts.prices, self.target.endpoint, answer)

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
        groups, self._groups = self._groups, {}
        for shape, group in groups.items():
            if isinstance(group, _Group):
                try:
                    self._count(answer_of(shape, group.numbers), math.inf)
                except Exception as fault:
                    self._silent += group.answers
                    _log.debug("answers do not report their usage (%s)", type(fault).__name__)
        for each in self._sums.values():
            each.close()
        full = [None if self._silent else Decimal(0), *(each.full for each in self._sums.values())]
        paid = [None if self._silent else Decimal(0), *(each.paid for each in self._sums.values())]
        taken, cached, written, made = self._counts
        return Cost(self._answers, self._silent, taken, cached, written, made, _total(full), _total(paid))


def _total(amounts: list[Decimal | None]) -> float | None:
    known = [amount for amount in amounts if amount is not None]
    return float(sum(known)) if len(known) == len(amounts) else None
