"""The table of providers: for `batchling providers`, and as Markdown for README and docs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from batchling.providers.base import Provider

HEADINGS = ("provider", "calls", "price", "a batch holds", "takes", "found again by", "kept", "cancel", "worth knowing")


def rows(providers: Iterable[Provider]) -> list[tuple[str, ...]]:
    """One row of `HEADINGS` for each provider."""
    return [_row(provider) for provider in providers]


def _row(provider: Provider) -> tuple[str, ...]:
    facts, limits = provider.facts, provider.limits
    return (
        f"{facts.title} (`{provider.name}`)",
        ", ".join(path.strip("/") for path in provider.endpoints),
        facts.discount or ("unknown" if limits.price is None else f"{round((1 - limits.price) * 100)} % off"),
        f"{limits.rows:,} rows, {_bytes(limits.bytes)}",
        facts.window,
        facts.find,
        facts.retention,
        facts.cancel,
        "; ".join(facts.quirks),
    )


def _bytes(size: int) -> str:
    return f"{round(size / 1_000_000_000)} GB" if size >= 900_000_000 else f"{round(size / 1_000_000)} MB"


def markdown(providers: Iterable[Provider], without: Mapping[str, str]) -> str:
    """Two tables: what is batched, and who is not, with the reason."""
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
    """The columns that a first look needs."""
    found = [(row[0], row[1], row[2], row[4]) for row in rows(providers)]
    headings = (*HEADINGS[:3], HEADINGS[4])
    return "\n".join([_line(headings), _line("---" for _ in headings), *map(_line, found)])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
