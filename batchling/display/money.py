"""Tokens and dollars as text."""

from __future__ import annotations

from batchling.core.cost import Cost
from batchling.core.estimate import METHOD
from batchling.core.receipt import Receipt
from batchling.display.text import count, table, usd


def estimate_table(receipt: Receipt) -> list[str]:
    """What a dry run would have sent, and the most that it would cost: two tables, which fit a terminal."""
    sent, priced = [], []
    notes = [f"tokens in: estimated ({METHOD})", "out: the requests' own maximum"]
    for line in receipt.lines:
        if (made := line.estimate) is None:
            continue
        saved = None if made.full is None or made.paid is None else made.full - made.paid
        amounts = ["unknown" if amount is None else usd(amount) for amount in (made.full, made.paid, saved)]
        out = "unknown" if made.output is None else made.output
        sent.append((line.provider, line.endpoint, line.model, made.requests, made.batches, made.cached))
        priced.append((line.model, made.input, out, *amounts))
        if made.unbounded:
            notes.append(f"{line.model}: {count(made.unbounded, 'request')} without a maximum of output tokens")
        if made.media:
            notes.append(f"{line.model}: {count(made.media, 'request')} with media, which are not counted")
        if made.full is None and not made.unbounded and not made.media:
            notes.append(f"unknown price for model {line.model}")
        elif made.paid is None and made.full is not None:
            notes.append(f"unknown batch price for model {line.model}")
    counts = table(("provider", "endpoint", "model", "requests", "batches", "cache hits"), sent, words=3)
    costs = table(("model", "tokens in", "out, at most", "real time", "batch", "saved"), priced, words=1)
    return [*counts, *costs, *(f"  {note}" for note in notes)]


def money_line(receipt: Receipt) -> str:
    """What the answers cost, in one line."""
    cost = receipt.cost
    cached = f" ({cost.cached:,} cached)" if cost.cached else ""
    parts = [f"{cost.input:,} tokens in{cached}, {cost.output:,} out"]
    known = sum((line.cost for line in receipt.lines if line.priced), Cost())
    if known.answers and known.paid is not None and known.full is not None:
        where = " where the price is known" if receipt.unpriced else ""
        parts.append(
            f"paid {usd(known.paid)} instead of {usd(known.full)}, saved {usd(known.full - known.paid)}{where}"
        )
    for model in receipt.unpriced:
        lines = [line for line in receipt.lines if line.model == model]
        if sum(line.cost.silent for line in lines):
            parts.append(f"unknown tokens for some answers of {model}")
        elif (full := sum((line.cost for line in lines), Cost()).full) is not None:
            parts.append(f"unknown batch price for model {model} ({usd(full)} in real time)")
        else:
            parts.append(f"unknown price for model {model}")
    return "; ".join(parts)


def cells(cost: Cost) -> tuple[str | int, ...]:
    """The cells of a line of the report: tokens in and out, dollars paid, and dollars at real-time prices."""
    if not cost.answers:
        return (0, 0, "", "")
    paid, full = ("unknown" if amount is None else usd(amount) for amount in (cost.paid, cost.full))
    return (cost.input, cost.output, paid, full)
