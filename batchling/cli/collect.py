"""`batchling collect` and `batchling cancel`: finish or stop the jobs that no program waits for any more."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence

from batchling import jobs
from batchling.cli.arguments import plain
from batchling.cli.jobs import one
from batchling.cli.tables import say
from batchling.core.lifecycle import Phase
from batchling.display import cancelling
from batchling.display.plain import log
from batchling.display.text import count
from batchling.errors import ScriptError
from batchling.jobs import Ending, Result, Standing

_WORDS: dict[Ending, str] = {
    Ending.COLLECTED: "collected",
    Ending.CANCELLED: "cancelled and over",
    Ending.DEAD: "dead",
    Ending.RUNNING: "still running",
    Ending.DRIVEN: "left to the program that waits for it",
    Ending.FAILED: "not done",
}


def collect(words: Sequence[str]) -> int:
    """Finish what earlier runs left behind, or with `--once` collect only what is ready. Returns 0 when nothing is
    left, 1 when something could not be collected, 3 when something is still running."""
    usage = "collect [--once] [--cache-no-results]"
    options, _ = plain(words, usage, switches=("--once", "--cache-no-results"))
    once = "--once" in options
    work = jobs.collect(once=once, keep_results="--cache-no-results" not in options, listen=log, tell=_tell)
    try:
        results = asyncio.run(work)
    except KeyboardInterrupt:
        print("batchling: stopped. The jobs keep running at the provider; nothing is lost", file=sys.stderr)
        raise
    collected = [result for result in results if result.what is not Ending.DRIVEN]
    print(_summary(collected) if collected else "batchling: nothing was left to collect")
    if any(not result.ok for result in results):
        return 1
    return 3 if any(result.what is Ending.RUNNING for result in results) else 0


def cancel(words: Sequence[str]) -> int:
    """Stop one job or all, and wait until the provider confirms it. Returns 0 when all are over, 1 when one is not."""
    options, rest = plain(words, "cancel ID | --all [--yes]", switches=("--all", "--yes"), most=1)
    if ("--all" in options) == bool(rest):
        raise ScriptError("usage: batchling cancel ID | --all [--yes]")
    found = jobs.listing()
    chosen = [standing for standing in found if standing.is_open] if "--all" in options else [one(rest[0], found)]
    chosen = [standing for standing in chosen if standing.is_open]
    if not chosen:
        print("batchling: nothing is under way")
        return 0
    if "--yes" not in options and not _really(chosen):
        print("batchling: nothing was cancelled")
        return 1
    ids = [standing.record.id for standing in chosen]
    try:
        results = asyncio.run(jobs.cancel(ids, listen=_listen, tell=_tell))
    except KeyboardInterrupt:
        print(
            "batchling: no longer waiting. The jobs asked to stop will stop; batchling collect reports it",
            file=sys.stderr,
        )
        raise
    print(_summary(results))
    return 0 if all(result.what in (Ending.CANCELLED, Ending.DEAD, Ending.COLLECTED) for result in results) else 1


def _listen(event: object) -> None:
    log(event)  # type: ignore[arg-type]
    cancelling.show(event)  # type: ignore[arg-type]


def _really(chosen: Sequence[Standing]) -> bool:
    if not sys.stdin.isatty():
        raise ScriptError("cancel asks for confirmation; without a terminal, pass --yes")
    requests = sum(standing.total for standing in chosen)
    jobs_ = count(len(chosen), "job")
    return input(f"Cancel {jobs_} with {count(requests, 'request')}? [y/N] ").strip().lower() in ("y", "yes")


def _tell(result: Result) -> None:
    record = result.record
    text = _WORDS[result.what]
    if record.phase is Phase.ENDED and result.what in (Ending.COLLECTED, Ending.CANCELLED):
        text += f", {len(record.members) - len(record.freed):,} of {len(record.members):,} answered"
    why = f" ({result.why})" if result.why else ""
    say(f"batch {record.id} ({record.target.provider} {record.target.model}): {text}{why}")


def _summary(results: Sequence[Result]) -> str:
    found = Counter(result.what for result in results)
    parts = [f"{found[what]:,} {word}" for what, word in _WORDS.items() if found[what]]
    return f"batchling: {', '.join(parts)}"
