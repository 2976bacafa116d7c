"""`batchling watch`: follow the batches that programs are waiting for, until no program waits any more."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import datetime

from batchling import jobs
from batchling.cli.arguments import plain
from batchling.cli.tables import progress, say, short_ids, table_of
from batchling.display.text import count
from batchling.jobs import Standing

_SECONDS = 1.0


def watch(words: Sequence[str]) -> int:
    """Follow all batches that are driven, according to the cache folder; on a terminal in a table that changes,
    otherwise in a line per change. Returns 0 once no batch is driven."""
    plain(words, "watch")
    seen = _live() if sys.stdout.isatty() else _lines()
    left = sum(standing.is_left for standing in seen)
    print("No program is waiting for a batch.")
    if left:
        are = "is" if left == 1 else "are"
        print(f"{count(left, 'batch', 'batches')} {are} left over from programs that ended: run batchling collect")
    return 0


def _live() -> list[Standing]:
    from rich.console import Console
    from rich.live import Live

    mine: set[str] = set()
    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        for standings in jobs.looks():
            mine.update(standing.record.id for standing in standings if standing.is_open)
            rows = [standing for standing in standings if standing.record.id in mine]
            most = max(1, live.console.height - 2)
            live.update(table_of(rows[:most], short_ids(standings), time.time()), refresh=True)
            if not any(standing.driven for standing in standings):
                return standings
            time.sleep(_SECONDS)
    return []


def _lines() -> list[Standing]:
    printed: dict[str, tuple[str, str]] = {}
    for number, standings in enumerate(jobs.looks()):
        names = short_ids(standings)
        for standing in reversed(standings):
            record = standing.record
            now = (standing.state, progress(standing))
            news = printed.get(record.id) != now and (standing.is_open or (number > 0 or record.id in printed))
            printed[record.id] = now
            if news:
                clock = datetime.now().astimezone().strftime("%H:%M:%S")
                what = f"{record.target.provider} {record.target.model}: {now[0]}, {now[1]}"
                say(f"{clock} {names[record.id]} {what}")
        if not any(standing.driven for standing in standings):
            return standings
        time.sleep(_SECONDS)
    return []
