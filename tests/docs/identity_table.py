"""The tables of `docs/identity.md`, made of what the providers say of themselves: `python -m tests.docs.identity_table`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from batchling.providers import PROVIDERS
from batchling.providers.base import Facts


def markdown() -> str:
    """Three tables: fields and ids that do not count, headers that do."""
    return "\n\n".join(
        [
            _table("fields that do not count", lambda facts: facts.neutral.fields),
            _table("ids that are numbered", lambda facts: facts.neutral.ids),
            _table("headers that separate accounts at the provider's own hosts", lambda facts: facts.separates),
        ]
    )


def _table(heading: str, of: Callable[[Facts], Iterable[str]]) -> str:
    groups: dict[tuple[str, ...], list[str]] = {}
    for provider in PROVIDERS.values():
        groups.setdefault(tuple(of(provider.facts)), []).append(provider.facts.title)
    lines = [("providers", heading), ("---", "---")]
    lines += [
        (", ".join(titles), ", ".join(f"`{name}`" for name in names) or "none") for names, titles in groups.items()
    ]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    print(markdown())
