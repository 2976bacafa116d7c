"""`batchling jobs` and `batchling show`: what the cache folder knows about all batches."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from batchling.cli.arguments import plain
from batchling.cli.tables import money, progress, say, short_ids, show_table, table_of
from batchling.core.lifecycle import Phase
from batchling.core.text import described
from batchling.display.text import count, duration
from batchling.errors import ScriptError
from batchling.jobs import Standing, listing, matching, refresh

_LONGEST = 60


def jobs(words: Sequence[str]) -> int:
    """List all batches, newest first; with `--refresh`, ask the providers first. Returns 0, or 1 when one of them did
    not answer."""
    options, _ = plain(words, "jobs [--refresh] [--json]", switches=("--refresh", "--json"))
    found = listing()
    failed = []
    if "--refresh" in options:
        failed = [result for result in asyncio.run(refresh(found)) if not result.ok]
        found = listing()
    if "--json" in options:
        print(json.dumps([_facts(standing) for standing in found], indent=2))
    elif not found:
        print("No batches yet.")
    else:
        now = time.time()
        show_table(table_of(found, short_ids(found), now))
        for line in _notes(found, now, asked="--refresh" in options):
            say(line)
    for result in failed:
        say(f"batchling: batch {result.record.id}: {result.why}", error=True)
    return 1 if failed else 0


def show(words: Sequence[str]) -> int:
    """Print all that is known about one batch. Returns 0."""
    _, rest = plain(words, "show ID", most=1)
    standing = one(rest[0] if rest else "", listing())
    facts = [(name, text) for name, text in _details(standing) if text]
    width = max(len(name) for name, _ in facts)
    for name, text in facts:
        say(f"{name.ljust(width)}  {text}")
    return 0


def one(prefix: str, found: Sequence[Standing]) -> Standing:
    """The batch whose id is, or begins with, this prefix. Raises `ScriptError` when there is none, or more than one."""
    if not prefix:
        raise ScriptError("name a batch by its id; batchling jobs lists them")
    fitting = matching(prefix, found)
    if not fitting:
        raise ScriptError(f"no batch {described(prefix)}; batchling jobs lists them")
    if len(fitting) > 1:
        names = ", ".join(standing.record.id for standing in fitting[:4])
        raise ScriptError(f"the ids of {len(fitting)} batches begin with {described(prefix)}: {names}")
    return fitting[0]


def _notes(found: Sequence[Standing], now: float, *, asked: bool) -> list[str]:
    """What is worth knowing below the table."""
    lines = []
    if left := [standing for standing in found if standing.is_left]:
        are = "is" if len(left) == 1 else "are"
        lines.append(
            f"{count(len(left), 'batch', 'batches')} {are} left over from programs that ended: run batchling collect"
        )
    times = [standing.progress.asked_at for standing in found if standing.is_open and standing.progress is not None]
    if any(standing.is_open for standing in found) and not asked:
        oldest = f" (as of {duration(now - min(times))} ago)" if times else ""
        lines.append(f"From the cache folder{oldest}; --refresh asks the providers.")
    return ["", *lines] if lines else []


def _details(standing: Standing) -> list[tuple[str, str]]:
    record, target, seen = standing.record, standing.record.target, standing.progress
    options = ", ".join(f"{name}={value}" for name, value in target.options)
    cost = record.cost
    return [
        ("batch", record.id),
        ("state", f"{standing.state} ({record.phase.value})" if standing.is_left else standing.state),
        ("job", record.job.id if record.job is not None else ""),
        ("provider", target.provider),
        ("endpoint", target.endpoint),
        ("model", target.model),
        ("base URL", target.base_url),
        ("account", f"{target.account[:8]} (digest)"),
        ("options", options if len(options) <= _LONGEST else options[: _LONGEST - 3] + "..."),
        ("requests", f"{standing.total:,}"),
        ("answered", progress(standing) if record.phase is not Phase.DEAD else ""),
        ("last status", f"{seen.word}, {_moment(seen.asked_at)}" if seen is not None and standing.is_open else ""),
        ("created", _moment(record.created_at)),
        ("submitted", _moment(record.left_at) if record.left_at is not None else ""),
        ("expires", _moment(standing.expires_at) if standing.expires_at is not None else ""),
        ("results", "stored" if standing.stored else "not stored"),
        ("tokens", f"{cost.input:,} in ({cost.cached:,} cached), {cost.output:,} out" if cost is not None else ""),
        ("cost", money(standing)),
        ("reason", record.reason if record.phase is Phase.DEAD else ""),
        ("next", _next(standing)),
    ]


def _next(standing: Standing) -> str:
    phase, stored = standing.record.phase, standing.stored
    if phase is Phase.DEAD:
        return "nothing to collect: run the program again to resubmit these requests"
    if phase is Phase.ENDED and stored:
        return "nothing: the same program gets its answers from the cache"
    if phase is Phase.ENDED:
        return "run batchling collect, or the same program again, to download the results"
    if standing.driven:
        return "nothing: a program is waiting for it"
    return "run batchling collect, or the same program again"


def _facts(standing: Standing) -> dict[str, Any]:
    record = standing.record
    seen = standing.progress
    return {
        "id": record.id,
        "state": standing.state,
        "phase": record.phase.value,
        "driven": standing.driven,
        "provider": record.target.provider,
        "endpoint": record.target.endpoint,
        "model": record.target.model,
        "base_url": record.target.base_url,
        "account": record.target.account,
        "job": record.job.id if record.job is not None else None,
        "requests": standing.total,
        "done": standing.done,
        "unanswered": standing.unanswered,
        "stored": standing.stored,
        "word": seen.word if seen is not None else None,
        "asked_at": seen.asked_at if seen is not None else None,
        "created_at": record.created_at,
        "left_at": record.left_at,
        "expires_at": standing.expires_at,
        "cost": asdict(record.cost) if record.cost is not None else None,
        "reason": record.reason,
    }


def _moment(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z").rstrip()
    except (ValueError, OverflowError, OSError):  # not a valid time, in a file that was tampered with
        return "not a valid time"
