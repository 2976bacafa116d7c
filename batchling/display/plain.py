"""Events as log lines, under the logger `batchling`, which explain a long wait. And, for programs that log nothing, as
a few lines on stderr."""

from __future__ import annotations

import logging
import sys
from collections import Counter, deque
from enum import Enum

from batchling.core import events
from batchling.core.model import Target
from batchling.core.text import printable
from batchling.display.hints import Hints
from batchling.display.progress import Progress, view
from batchling.display.tally import Queue
from batchling.display.text import count, duration, roughly

_log = logging.getLogger("batchling")

_TOGETHER = 5.0
"""Seconds between lines, so batches that are submitted or end together share one."""
_HEARTBEAT = 600.0
"""Seconds of silence after which a line gives the status."""


def log(event: events.Event) -> None:
    """Write one event to the log: decisions at debug, a line per batch at info, what users should know as warnings."""
    match event:
        case events.Bypassed():
            what = "a call to %s%s goes" if event.calls == 1 else f"{event.calls:,} calls to %s%s go"
            _write(logging.DEBUG, f"{what} real time: %s", event.host, event.path, event.reason)
        case events.Hit():
            line = "batch %s answers requests for %s that were submitted before: %d"
            _write(logging.DEBUG, line, event.batch, event.target.model, event.calls)
        case events.Withdrawn():
            _write(logging.DEBUG, "a request for %s is withdrawn: its caller gave up", event.target.model)
        case events.Submitted():
            _write(logging.INFO, "batch %s: %d requests submitted as job %s", event.batch, event.rows, event.job)
        case events.Attached():
            _write(logging.INFO, "batch %s: %d requests wait for a job submitted earlier", event.batch, event.rows)
        case events.Polled():
            _write(logging.DEBUG, "batch %s: %s, %d of %d done", event.batch, event.word, event.done, event.total)
        case events.Ended():
            line = "batch %s: ended, %d rows answered, %d failed"
            _write(logging.INFO, line, event.batch, event.answered, event.failed)
        case events.Delayed():
            level = logging.DEBUG if event.is_noise else logging.WARNING
            _write(
                level,
                "batchling: batch %s: cannot %s (%s), trying again in %.0f s",
                event.batch,
                event.what,
                event.why,
                event.seconds,
            )
        case events.Held():
            level = logging.INFO if event.wanted else logging.WARNING
            _write(level, "batchling: a batch for %s is waiting to be submitted: %s", event.target.model, event.why)
        case events.Throttled() if event.first:
            _write(logging.INFO, "batchling: further calls wait for room: max_waiting=%d", event.limit)
        case events.Died():
            _write(logging.INFO, "batch %s: %s", event.batch, event.reason)


def _write(level: int, line: str, *values: object) -> None:
    if _log.isEnabledFor(level):
        _log.log(level, line, *(printable(each) if isinstance(each, str) else each for each in values))


def advise(hints: Hints, event: events.Event) -> None:
    """Log the hints' warning about an event, if there is one."""
    if (text := hints.add(event)) is not None:
        _log.warning(text)


class _What(Enum):
    """What a line is about: `{many}` is a number of batches."""

    SUBMITTED = "{good:,} {requests} submitted in {many}"
    FOUND = "{good:,} {requests} wait for {many} submitted earlier"
    ENDED = "{many} ended, {good:,} answered, {bad:,} failed"
    DIED = "{many} ended without results"


class Lines:
    """A few lines for people: what was submitted, what ended, and now and then the status.

    `add` is called on the engine's loop thread and only counts; `tell` prints what has accumulated since, from another
    thread, so a reader that does not read delays no batch. Where logging is configured, nothing is printed, since the
    log has it; where it is not, logging itself prints the warnings.
    """

    def __init__(self, now: float) -> None:
        self._pending: deque[tuple[_What, Target, int, int]] = deque()
        self._targets: dict[str, Target] = {}
        self._limit: int | None = None
        """The limit for which calls wait for room, until that is printed."""
        self._printed_at = now - _TOGETHER

    def add(self, event: events.Event) -> None:
        """Process one event."""
        match event:
            case events.Submitted():
                self._targets[event.batch] = event.target
                self._pending.append((_What.SUBMITTED, event.target, event.rows, 0))
            case events.Attached():
                self._targets[event.batch] = event.target
                self._pending.append((_What.FOUND, event.target, event.rows, 0))
            case events.Throttled() if event.first:
                self._limit = event.limit
            case events.Ended() if event.batch in self._targets:
                target = self._targets.pop(event.batch)
                self._pending.append((_What.ENDED, target, event.answered, event.failed))
            case events.Died() if event.batch in self._targets:
                self._pending.append((_What.DIED, self._targets.pop(event.batch), 0, 0))

    def tell(self, progress: Progress, now: float) -> None:
        """Print what is new, one line for each queue and kind."""
        if now - self._printed_at < _TOGETHER:
            return
        sums: dict[tuple[_What, Queue], Counter[str]] = {}
        for _ in range(len(self._pending)):
            what, target, good, bad = self._pending.popleft()
            sums.setdefault((what, target.queue), Counter()).update(batches=1, good=good, bad=bad)
        texts = [_line(*name, counts["batches"], counts["good"], counts["bad"]) for name, counts in sums.items()]
        if self._limit is not None and progress.throttled:
            texts.append(f"{count(progress.throttled, 'call')} wait for room: max_waiting={self._limit:,}")
            self._limit = None
        if not texts and now - self._printed_at >= _HEARTBEAT:
            texts = _standing(progress, now)
        if texts:
            self._printed_at = now
            if not _log.hasHandlers():
                print("\n".join(f"batchling: {text}" for text in texts), file=sys.stderr, flush=True)


def _line(what: _What, queue: Queue, batches: int, good: int, bad: int) -> str:
    provider, _, model = queue
    requests = "request" if good == 1 else "requests"
    many = "a batch" if batches == 1 else f"{batches:,} batches"
    return f"{provider} {printable(model)}: {what.value.format(good=good, bad=bad, requests=requests, many=many)}"


def _standing(progress: Progress, now: float) -> list[str]:
    seen = view([progress], now)
    if not seen.rows:
        return []
    answered, asked = sum(row.answered + row.ready for row in seen.rows), sum(row.asked for row in seen.rows)
    under_way = sum(row.batches - row.over for row in seen.rows)
    left = "" if seen.left is None else f", about {roughly(seen.left)} left"
    return [f"{answered:,} of {asked:,} requests done, {under_way:,} batches under way, {duration(seen.elapsed)}{left}"]
