"""List prices, from genai-prices: the only module that imports it.

Loading it takes up to half a second, in the thread that enters a scope (`batchling.scope.preload`): our own threads
import nothing. Prices are those of the providers' global endpoints as genai-prices knows them; it uses no network here.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from batchling.core.kinds import Kind, kind_of
from batchling.providers.base import Limits
from batchling.system import clock
from batchling.system.forks import hold_across_forks

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice, Provider, Usage

_log = logging.getLogger(__name__)

_loading = threading.Lock()
"""Held while genai-prices is imported. A fork waits for it: a child with half a module could not import it any more."""

hold_across_forks(_loading)

_FEES = ("searches",)
"""Fees for tool calls, on which no provider that we know of gives a batch discount."""


def load() -> None:
    """Load the price list, with everything that it needs. Any thread; returns when it is ready."""
    _snapshot()


class _State:
    snapshot: Any = None
    failed = False


_state = _State()


def _snapshot() -> Any:
    """genai-prices' list; None when it cannot be loaded."""
    with _loading:
        if _state.snapshot is None and not _state.failed:
            try:
                from genai_prices.data_snapshot import get_snapshot

                snapshot = get_snapshot()
                _try_out(snapshot)
                _state.snapshot = snapshot
            except Exception as fault:  # somebody else's package must not break a batch
                _state.failed = True
                _log.warning("prices are unknown: genai-prices cannot be loaded (%r)", fault)
    return _state.snapshot


def _try_out(snapshot: Any) -> None:
    """Price something: genai-prices imports some of its parts at first use."""
    with suppress(Exception):  # a later version may know no such model
        source, model = snapshot.find_provider_model("gpt-4o", None, "openai", None)
        counts = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        source.extract_usage({"model": "gpt-4o", "usage": counts}, api_flavor="chat")
        model.get_prices(datetime.fromtimestamp(clock.time(), UTC)).calc_price(usage_of(input_tokens=1))


@dataclass(frozen=True, slots=True, eq=False)
class Price:
    """A model's price: in real time, and in a batch (None when that is unknown). `linear` means that the price of a sum
    of usages is the sum of their prices, which holds without tiers and without fees per request."""

    full: ModelPrice
    batch: ModelPrice | None
    linear: bool
    cached_unsure: bool


def dollars(price: ModelPrice, usage: Usage) -> Decimal:
    """US dollars. Raises `ValueError` for a usage that contradicts itself."""
    return price.calc_price(usage)["total_price"]


@lru_cache(maxsize=4096)
def find(provider: str, model: str, limits: Limits) -> Price | None:
    """The price of a model, by genai-prices' name for its provider; None when it is unknown."""
    snapshot = _snapshot()
    if snapshot is None or not provider or not model:
        return None
    try:
        _, found = snapshot.find_provider_model(model.removeprefix("models/"), None, provider, None)
    except LookupError:
        return None
    now = datetime.fromtimestamp(clock.time(), UTC)
    full = found.get_prices(now)
    known = {name: value for name, value in full.__dict__.items() if value is not None}
    if not known:
        return None
    batch = _batch_price(full, known, limits, limits.price_of(model))
    if batch is None and any(variant.when == {"processing": "batch"} for variant in found.price_variants or ()):
        # Our table has no factor for all of the provider's models; the list has a batch price for this one.
        batch = found.get_prices(now, {"processing": "batch"})
    linear = not any(hasattr(value, "tiers") or name.startswith("requests") for name, value in known.items())
    return Price(full, batch, linear, limits.cached == "unknown")


def _batch_price(full: ModelPrice, known: Mapping[str, Any], limits: Limits, share: float | None) -> ModelPrice | None:
    """Apply our table's discount, with its exceptions, to every price of a model."""
    if share is None:
        return None
    factor = Decimal(str(share))
    prices = {}
    for name, value in known.items():
        cached = name.startswith("cache_") and "read" in name
        if cached and limits.cached == "lost":
            continue
        kept = (cached and limits.cached == "kept") or any(fee in name for fee in _FEES)
        prices[name] = value if kept else _times(value, factor)
    return type(full)(**prices)


def _times(value: Any, factor: Decimal) -> Any:
    if not hasattr(value, "tiers"):
        return value * factor
    tiers = [type(tier)(start=tier.start, price=tier.price * factor) for tier in value.tiers]
    return type(value)(base=value.base * factor, tiers=tiers)


@lru_cache(maxsize=256)
def reader(provider: str, endpoint: str) -> Callable[[Any], Usage] | None:
    """A function that reads the usage of an answer of this endpoint. It raises `ValueError` when the answer does not
    report it. None without genai-prices. A provider whose formats are not in the list is read like OpenAI, whose
    dialect it speaks."""
    snapshot = _snapshot()
    if snapshot is None:
        return None
    flavours = _flavours(endpoint)
    for name in (provider, "anthropic" if "anthropic" in flavours else "openai"):
        source = next((each for each in snapshot.providers if each.id == name), None)
        if source is not None and (flavour := _chosen(source, flavours)) is not None:
            return _Reader(source, flavour)
    return None


@dataclass(frozen=True, slots=True)
class _Reader:
    source: Provider
    flavour: str

    def __call__(self, body: Any) -> Usage:
        return self.source.extract_usage(body, api_flavor=self.flavour)[1]


def _flavours(endpoint: str) -> Sequence[str]:
    """What genai-prices may call an endpoint, the likeliest first."""
    return _FLAVOURS.get(kind_of(endpoint), ("chat", "default"))


_FLAVOURS: Mapping[Kind, Sequence[str]] = {
    Kind.RAW_PREDICT: ("anthropic",),
    Kind.MESSAGES: ("anthropic", "default"),
    Kind.RESPONSES: ("responses",),
    Kind.EMBEDDINGS: ("embeddings",),
    Kind.IMAGES: ("images",),
    Kind.OCR: ("ocr",),
    Kind.GENERATE_CONTENT: ("default",),
}


def _chosen(source: Provider, flavours: Sequence[str]) -> str | None:
    known = {each.api_flavor for each in source.extractors or ()}
    if source.id not in ("anthropic", "google") and "anthropic" in flavours:
        known.discard("default")
    return next((flavour for flavour in flavours if flavour in known), None)


def usage_of(**counts: int) -> Usage:
    """A usage with these counts, by genai-prices' names."""
    from genai_prices import Usage

    return Usage(**counts)
