"""What answers cost: tokens as the provider counted them, and dollars where the price is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from batchling.core.model import Response


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a number of answers. `input` tokens include the `cached` ones, which were read from the provider's
    prompt cache, and the `written` ones, which were put into it; `output` tokens include those of reasoning.

    `full` is in US dollars at real-time prices, `paid` at batch prices; None if the price of any of the answers is not
    known. A sum of costs is known if all its parts are.
    """

    answers: int = 0
    silent: int = 0
    """How many of the answers do not report their tokens."""
    input: int = 0
    cached: int = 0
    written: int = 0
    output: int = 0
    full: float | None = 0.0
    paid: float | None = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.answers + other.answers,
            self.silent + other.silent,
            self.input + other.input,
            self.cached + other.cached,
            self.written + other.written,
            self.output + other.output,
            None if self.full is None or other.full is None else self.full + other.full,
            None if self.paid is None or other.paid is None else self.paid + other.paid,
        )

    @property
    def saved(self) -> float | None:
        """US dollars saved compared with real-time prices; None if that is not known."""
        return None if self.full is None or self.paid is None else self.full - self.paid


class Meter(Protocol):
    """Counts what the answers of one batch cost."""

    def add(self, response: Response) -> None:
        """Count one answer; never raises."""

    def cost(self) -> Cost | None:
        """The cost of all answers added; None if nothing is counted."""


class NoMeter:
    """Counts nothing."""

    def add(self, response: Response) -> None: ...

    def cost(self) -> None: ...
