"""What requests would cost: for the dry run's table, and for a budget. Called off the engine's loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache, partial

from batchling.core.budget import Quote, Quoting
from batchling.core.estimate import Size
from batchling.core.fingerprint import decode_body
from batchling.core.model import Item, Target
from batchling.money import prices
from batchling.providers.base import Provider
from batchling.providers.sizes import size_of


def total(known: Mapping[str, Provider], target: Target, sizes: Iterable[Size]) -> tuple[float | None, float | None]:
    """The most that requests of these sizes cost in real time and in a batch, in US dollars; None where the price is
    unknown, an output has no limit, or there are media, which are not counted."""
    price = _price(known, target)
    sums = [Decimal(0), Decimal(0)]
    for size in sizes:
        if price is None or size.output is None or size.media:
            return None, None
        sums[0] += _most(price, size, batch=False)
        if price.batch is not None:
            sums[1] += _most(price, size, batch=True)
    return float(sums[0]), None if price is None or price.batch is None else float(sums[1])


def quoting(known: Mapping[str, Provider]) -> Quoting:
    """The function that gives a budget its quotes."""
    return partial(_quotes, known)


def _quotes(known: Mapping[str, Provider], target: Target, items: Sequence[Item]) -> Mapping[str, Quote]:
    price = _price(known, target)
    return {item.key: _quote(price, target, item) for item in items}


def _quote(price: prices.Price | None, target: Target, item: Item) -> Quote:
    size = size_of(target.endpoint, decode_body(item.request.body) or {})
    if price is None:
        return f"the price of model {target.model[:80]} is not known"
    if price.batch is None:
        return f"the batch price of model {target.model[:80]} is not known"
    if size.output is None:
        return "it sets no maximum of output tokens (max_tokens or the like), so its cost has no limit"
    if size.media:
        return "it contains media, whose tokens cannot be estimated"
    return _most(price, size, batch=True)


def _price(known: Mapping[str, Provider], target: Target) -> prices.Price | None:
    provider = known[target.provider]
    return prices.find(provider.facts.prices, target.model, provider.limits)


def _most(price: prices.Price, size: Size, *, batch: bool) -> Decimal:
    assert size.output is not None
    kind = ("long" if size.long else "cached") if size.caches else "plain"
    if price.linear:
        return _rate(price, kind, batch) * size.input + _rate(price, "output", batch) * size.output
    return _exactly(price, kind, size.input, size.output, batch)


@lru_cache(maxsize=4096)
def _rate(price: prices.Price, kind: str, batch: bool) -> Decimal:
    """Dollars per token."""
    million = 1_000_000
    made = (0, million) if kind == "output" else (million, 0)
    return _exactly(price, kind, *made, batch) / million


@lru_cache(maxsize=65_536)
def _exactly(price: prices.Price, kind: str, taken: int, made: int, batch: bool) -> Decimal:
    counts = {"input_tokens": taken, "output_tokens": made}
    if kind in ("cached", "long"):
        counts["cache_write_tokens"] = taken
    if kind == "long":
        counts["cache_write_1h_tokens"] = taken
    used = price.batch if batch else price.full
    assert used is not None
    return prices.dollars(used, prices.usage_of(**counts))
