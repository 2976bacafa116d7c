"""The table of providers: for `batchling providers`, and as Markdown for the docs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from batchling.providers.base import Limits, Provider

HEADINGS = ("provider", "calls", "price", "a batch holds", "takes", "found again by", "kept", "cancel", "worth knowing")


def rows(providers: Iterable[Provider]) -> list[tuple[str, ...]]:
    """One row of `HEADINGS` for each provider."""
    return [_row(provider) for provider in providers]


def price(provider: Provider) -> str:
    """What a batch costs compared with real time."""
    factor = provider.limits.price
    return provider.facts.discount or ("unknown" if factor is None else f"{round((1 - factor) * 100)} % off")


def _row(provider: Provider) -> tuple[str, ...]:
    facts, limits = provider.facts, provider.limits
    return (
        f"{facts.title} (`{provider.name}`)",
        ", ".join(path.strip("/") for path in provider.endpoints),
        price(provider),
        _size(limits),
        facts.window,
        facts.find,
        facts.retention,
        facts.cancel,
        "; ".join(facts.quirks),
    )


def _size(limits: Limits) -> str:
    """What a batch holds, and how many batches there may be."""
    least = f"{limits.least} to " if limits.least > 1 else ""
    more = [
        f"{_bytes(limits.row)} a row" if limits.row else "",
        f"{limits.inputs:,} inputs" if limits.inputs else "",
        f"{limits.in_flight:,} at a time" if limits.in_flight else "",
        f"{limits.creates_per_hour:,} an hour" if limits.creates_per_hour else "",
    ]
    return ", ".join([f"{least}{limits.rows:,} rows", _bytes(limits.bytes), *filter(None, more)])


def _bytes(size: int) -> str:
    return f"{round(size / 1_000_000_000)} GB" if size >= 900_000_000 else f"{round(size / 1_000_000)} MB"


def markdown(providers: Iterable[Provider], without: Mapping[str, str]) -> str:
    """Two tables: what is batched, and which providers are not, with the reason."""
    lines = [_line(HEADINGS), _line("---" for _ in HEADINGS), *(_line(row) for row in rows(providers))]
    lines += [
        "",
        "Not batched, although there is a batch API:",
        "",
        _line(("provider", "because")),
        _line(("---", "---")),
    ]
    lines += [_line(pair) for pair in without.items()]
    return "\n".join(lines)


def summary(providers: Iterable[Provider]) -> str:
    """The columns that a newcomer needs."""
    found = [(row[0], row[1], row[2], row[4]) for row in rows(providers)]
    headings = (*HEADINGS[:3], HEADINGS[4])
    return "\n".join([_line(headings), _line("---" for _ in headings), *map(_line, found)])


def _line(cells: Iterable[str]) -> str:
    """One row, with stars escaped: two of them would mark emphasis."""
    row = " | ".join(cells).replace("*", r"\*")
    return f"| {row} |"
