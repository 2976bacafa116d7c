"""The report at the end of a scope: one line, and a table below it when there is more to say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from batchling.core import events
from batchling.core.cost import Cost
from batchling.core.model import Target
from batchling.core.receipt import Line, RealTime, Receipt

Queue = tuple[str, str, str]


@dataclass(slots=True)
class _Tally:
    """What happened to the requests of one queue key."""

    batched: int = 0
    cached: int = 0
    failed: int = 0
    batches: int = 0
    rehearsed: int = 0
    hits: int = 0
    cost: Cost = field(default_factory=Cost)


@dataclass(slots=True)
class Report:
    """Counts what happened in one scope. `add` is called on the engine's loop thread, `receipt` in any, `text` after
    the end."""

    _homes: dict[str, Queue] = field(default_factory=dict)
    """Which queue a batch is of."""
    _queues: dict[Queue, _Tally] = field(default_factory=dict)
    _real_time: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _withdrawn: int = 0
    _died: list[str] = field(default_factory=list)
    _detached: events.Detached | None = None
    _cancelled: events.Cancelling | None = None

    def add(self, event: events.Event) -> None:
        """Take one event in."""
        match event:
            case events.Answered():
                tally = self._tally(event.target)
                tally.cached += event.cached
                tally.batched += not event.cached
                tally.failed += not event.ok
            case events.Submitted():
                self._tally(event.target).batches += 1
                self._homes[event.batch] = event.target.queue
            case events.Attached():
                self._tally(event.target)
                self._homes[event.batch] = event.target.queue
            case events.Ended():
                queue = self._homes.pop(event.batch, None)
                if event.cost is not None and queue is not None:
                    self._queues[queue].cost += event.cost
            case events.Rehearsed():
                tally = self._tally(event.target)
                tally.batches += 1
                tally.rehearsed += event.rows
            case events.Hit():
                self._tally(event.target).hits += 1
            case events.Bypassed():
                self._real_time[(event.host, event.path, event.reason)] += 1
            case events.Withdrawn():
                self._withdrawn += 1
            case events.Died():
                self._died.append(f"batch {event.batch}: {event.reason}")
            case events.Detached():
                self._detached = event
            case events.Cancelling():
                self._cancelled = event

    def _tally(self, target: Target) -> _Tally:
        return self._queues.setdefault(target.queue, _Tally())

    @property
    def jobs_left(self) -> int:
        """How many jobs went on when the scope was left early."""
        return self._detached.jobs if self._detached is not None else 0

    def offer(self, seconds: float) -> str:
        """What is said after a first Ctrl-C."""
        go, them = ("goes", "it") if self.jobs_left == 1 else ("go", "them")
        jobs = _count(self.jobs_left, "job")
        return f"batchling: {jobs} {go} on at the provider. Ctrl-C again within {seconds:.0f} s cancels {them}."

    def receipt(self, seconds: float) -> Receipt:
        """What has happened so far, for programs."""
        lines = [
            Line(*queue, tally.batches, tally.batched, tally.cached, tally.failed, tally.cost)
            for queue, tally in sorted(self._queues.items())
        ]
        real_time = [RealTime(*call, count) for call, count in self._real_time.copy().most_common()]
        dry_run = any(tally.rehearsed for tally in tuple(self._queues.values()))
        cost = sum((line.cost for line in lines), Cost())
        return Receipt(tuple(lines), tuple(real_time), self._withdrawn, seconds, dry_run, cost)

    def text(self, seconds: float) -> str:
        """The report, without a newline at its end; empty when nothing happened in the scope."""
        if not (self._queues or self._real_time or self._detached or self._withdrawn):
            return ""
        rehearsed = any(tally.rehearsed for tally in self._queues.values())
        lines = [self._dry_line() if rehearsed else self._line(seconds)]
        receipt = self.receipt(seconds)
        if not rehearsed and receipt.cost.answers:
            lines.append(f"  {money_line(receipt)}")
        if rehearsed or len(self._queues) > 1:
            lines += self._queue_table(rehearsed=rehearsed)
        lines += self._real_time_table()
        lines += [f"  {reason}" for reason in self._died]
        if self._detached is not None:
            lines.append(self._detached_line(self._detached))
        return "\n".join(lines)

    def _line(self, seconds: float) -> str:
        tallies = self._queues.values()
        batched = sum(tally.batched for tally in tallies)
        batches = sum(tally.batches for tally in tallies)
        failed = sum(tally.failed for tally in tallies)
        parts = [
            f"{_count(batched, 'call')} batched" + (f" in {_count(batches, 'batch', 'batches')}" if batches else "")
        ]
        parts.append(f"{sum(tally.cached for tally in tallies):,} from cache")
        parts.append(f"{self._real_time.total():,} went real time")
        if failed:
            parts.append(f"{failed:,} answered with an error")
        if self._withdrawn:
            parts.append(f"{self._withdrawn:,} withdrawn")
        return f"batchling: {', '.join(parts)} ({_duration(seconds)})"

    def _dry_line(self) -> str:
        rows = sum(tally.rehearsed for tally in self._queues.values())
        batches = sum(tally.batches for tally in self._queues.values())
        hits = sum(tally.hits for tally in self._queues.values())
        would = f"{_count(rows, 'request')} would leave in {_count(batches, 'batch', 'batches')}"
        return f"batchling dry run: nothing was sent. {would}, {_count(hits, 'request')} would come from cache"

    def _queue_table(self, *, rehearsed: bool) -> list[str]:
        head: tuple[str, ...]
        rows: list[tuple[str | int, ...]]
        if rehearsed:
            head = ("provider", "endpoint", "model", "requests", "batches", "cache hits")
            rows = [(*queue, t.rehearsed + t.hits, t.batches, t.hits) for queue, t in self._queues.items()]
        else:
            head = ("provider", "endpoint", "model", "batched", "batches", "from cache", "errors")
            rows = [(*queue, t.batched, t.batches, t.cached, t.failed) for queue, t in self._queues.items()]
            if any(t.cost.answers for t in self._queues.values()):
                head += ("tokens in", "out", "paid", "real time")
                costs = (t.cost for t in self._queues.values())
                rows = [(*row, *_cells(cost)) for row, cost in zip(rows, costs, strict=True)]
        return _table(head, sorted(rows, key=str), words=3)

    def _real_time_table(self) -> list[str]:
        if not self._real_time:
            return []
        head = ("real time", "at full price because", "calls")
        rows = [(f"{host}{path}", reason, count) for (host, path, reason), count in self._real_time.most_common()]
        return _table(head, rows, words=2)

    def _detached_line(self, event: events.Detached) -> str:
        parts = []
        if self._cancelled is not None:
            parts.append(f"{self._cancelled.done:,} of {_count(self._cancelled.total, 'job')} cancelled and over")
            if self._cancelled.done < self._cancelled.total:
                parts.append("the others were asked to stop, and may end later")
            parts.append("what was finished is paid for, and kept for the next run")
        elif event.jobs:
            go = "goes" if event.jobs == 1 else "go"
            parts.append(f"{_count(event.jobs, 'job')} {go} on at the provider: run the same program again to collect")
        if event.unsent:
            was = "was" if event.unsent == 1 else "were"
            parts.append(f"{_count(event.unsent, 'request')} {was} never sent")
        return f"batchling: left early. {'; '.join(parts) or 'Nothing is under way'}"


def money_line(receipt: Receipt) -> str:
    """What answers cost, in one line."""
    cost = receipt.cost
    cached = f" ({cost.cached:,} cached)" if cost.cached else ""
    parts = [f"{cost.input:,} tokens in{cached}, {cost.output:,} out"]
    if cost.paid is not None and cost.full is not None:
        parts.append(f"paid {usd(cost.paid)} instead of {usd(cost.full)}, saved {usd(cost.full - cost.paid)}")
    elif cost.full is not None:
        parts.append(f"{usd(cost.full)} at real-time prices")
    for model in receipt.unpriced:
        lines = [line for line in receipt.lines if line.model == model]
        if sum(line.cost.silent for line in lines):
            parts.append(f"unknown tokens for some answers of {model}")
        elif all(line.cost.full is not None for line in lines):
            parts.append(f"unknown batch price for model {model}")
        else:
            parts.append(f"unknown price for model {model}")
    return "; ".join(parts)


def usd(amount: float) -> str:
    """An amount as people read it: to the cent, and small ones to two digits that count."""
    if amount == 0 or abs(amount) >= 0.995:
        return f"${amount:,.2f}"
    return f"${amount:.{max(2, 1 - math.floor(math.log10(abs(amount))))}f}"


def _cells(cost: Cost) -> tuple[str | int, ...]:
    if not cost.answers:
        return (0, 0, "", "")
    paid, full = ("unknown" if amount is None else usd(amount) for amount in (cost.paid, cost.full))
    return (cost.input, cost.output, paid, full)


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]], *, words: int) -> list[str]:
    """Aligned lines: the first `words` columns to the left, the numbers after them to the right."""
    cells = [list(head), *([f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = []
    for row in cells:
        padded = [
            cell.ljust(width) if n < words else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(("  " + "  ".join(padded)).rstrip())
    return lines
