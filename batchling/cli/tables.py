"""How batches are shown in a terminal: lines, and the table of batches."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from batchling.core.lifecycle import Phase
from batchling.core.text import printable
from batchling.display.text import duration, usd
from batchling.jobs import Standing, State

_STYLES = {
    State.RUNNING: "cyan",
    State.PLANNED: "cyan",
    State.LEFT: "yellow",
    State.ENDED: "green",
    State.DEAD: "red",
}
_SHORTEST = 10
_PIPED = 1_000
"""Columns of a table that does not go to a terminal: what reads its lines needs them whole."""


def console() -> Console:
    """Standard output; very wide where it is not a terminal, unless COLUMNS says otherwise."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal():
        return Console(highlight=False)
    return Console(highlight=False, width=_PIPED)


def show_table(table: Table) -> None:
    """Print a table, without the spaces at the ends of its lines."""
    out = console()
    with out.capture() as captured:
        out.print(table)
    for line in captured.get().splitlines():
        print(line.rstrip())


def say(line: str, *, error: bool = False) -> None:
    """Print one line that may contain text of providers, programs and records: on standard output, or as an error."""
    print(printable(line), file=sys.stderr if error else sys.stdout, flush=True)


def until(moment: float | None, now: float) -> str:
    """The time left until a moment; empty when it is unknown."""
    if moment is None:
        return ""
    return duration(moment - now) if moment > now else "past"


def money(standing: Standing) -> str:
    """What a batch has cost: dollars, `unknown`, or empty while it has not been counted."""
    cost = standing.record.cost
    if cost is None:
        return ""
    return "unknown" if cost.paid is None else usd(cost.paid)


def progress(standing: Standing) -> str:
    """How far a batch is: `420/1,000`; `?/1,000` when the provider was not asked yet."""
    if standing.record.phase is Phase.DEAD:
        return f"{standing.total:,}"
    if standing.record.phase is Phase.ENDED:
        return f"{standing.total - standing.unanswered:,}/{standing.total:,}"
    return f"{'?' if standing.done is None else f'{standing.done:,}'}/{standing.total:,}"


def short_ids(standings: Iterable[Standing]) -> dict[str, str]:
    """For each batch, the shortest beginning of its id that no other batch has."""
    ids = sorted(standing.record.id for standing in standings)
    found = {}
    for place, batch_id in enumerate(ids):
        beside = [*ids[max(0, place - 1) : place], *ids[place + 1 : place + 2]]
        length = _SHORTEST
        while any(other.startswith(batch_id[:length]) for other in beside):
            length += 1
        found[batch_id] = batch_id[:length]
    return found


def table_of(standings: Sequence[Standing], names: dict[str, str], now: float) -> Table:
    """The table of jobs: to fit 80 columns, the names of models are shortened."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("batch", "state"):
        table.add_column(heading, no_wrap=True)
    table.add_column("provider", no_wrap=True, overflow="ellipsis")
    table.add_column("model", no_wrap=True, overflow="ellipsis")
    table.add_column("answered", no_wrap=True, justify="right", min_width=8)
    for heading in ("age", "expires", "cost"):
        table.add_column(heading, no_wrap=True, justify="right", min_width=len(heading))
    for standing in standings:
        record = standing.record
        table.add_row(
            names.get(record.id, record.id[:_SHORTEST]),
            Text(standing.state, style=_STYLES[standing.state]),
            Text(printable(record.target.provider)),
            Text(printable(record.target.model)),
            progress(standing),
            duration(now - record.created_at),
            until(standing.expires_at, now) if standing.is_open else "",
            money(standing),
        )
    return table
