"""`batchling providers`: what is batched, at what price, and what is worth knowing."""

from __future__ import annotations

from collections.abc import Sequence

from batchling.core.text import described
from batchling.display.providers import markdown, rows, summary
from batchling.environment.registry import providers
from batchling.errors import ScriptError
from batchling.providers import WITHOUT


def show(arguments: Sequence[str]) -> int:
    """Print the table: as text, with `--markdown` as in the docs, with `--summary` the short one. Returns 0. Raises
    `ScriptError` for other words."""
    known = providers().values()
    if list(arguments) == ["--markdown"]:
        print(markdown(known, WITHOUT))
        return 0
    if list(arguments) == ["--summary"]:
        print(summary(known))
        return 0
    if arguments:
        raise ScriptError(f"batchling providers takes --markdown, --summary or nothing; not {described(arguments[0])}")
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0))
    for heading in ("provider", "calls", "price", "takes", "worth knowing"):
        table.add_column(heading, overflow="fold")
    for title, calls, price, _, window, _, _, _, quirks in rows(known):
        cells = (title.replace("`", ""), calls.replace(", ", "\n"), price, window, quirks)
        table.add_row(*map(Text, cells))
    console = Console()
    console.print(table)
    console.print("Not batched, although there is a batch API:")
    for name, reason in WITHOUT.items():
        console.print(f"  {name}: {reason}", highlight=False, markup=False)
    return 0
