"""The report at the end of a scope: one line, and a table below it when there is more to say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from batchling.core import events
from batchling.core.cost import Cost
from batchling.core.estimate import Size
from batchling.core.model import Target
from batchling.core.receipt import Estimate, Line, RealTime, Receipt
from batchling.display.money import cells, estimate_table, money_line
from batchling.display.tally import Tallies, Tally
from batchling.display.text import count, duration, table


@dataclass(slots=True)
class _Tally(Tally):
    """`batches` are those that this scope submitted; the rest is of a dry run."""

    batches: int = 0
    rehearsed: int = 0
    hits: int = 0
    target: Target | None = None
    sizes: list[Size] = field(default_factory=list)

    @property
    def batched(self) -> int:
        return self.answered - self.cached


Pricing = Callable[[Target, Sequence[Size]], tuple[float | None, float | None]]


def _unpriced(target: Target, sizes: Sequence[Size]) -> tuple[None, None]:
    return None, None


@dataclass(slots=True)
class Report:
    """Counts what happened in one scope. `add` is called on the engine's loop thread, `receipt` in any, `text` after
    the end."""

    price: Pricing = _unpriced
    """The most that requests of these sizes cost, in real time and in a batch."""
    _tallies: Tallies[_Tally] = field(default_factory=lambda: Tallies(_Tally))
    _real_time: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _withdrawn: int = 0
    _denied: int = 0
    _throttled: int = 0
    _died: dict[str, list[str]] = field(default_factory=dict)
    """The batches that ended without results, by the reason."""
    _detached: events.Detached | None = None
    _cancelled: events.Cancelling | None = None

    def add(self, event: events.Event) -> None:
        """Process one event."""
        match event:
            case events.Answered():
                self._tallies.answer(event)
            case events.Submitted():
                self._tallies.begin(event).batches += 1
            case events.Attached():
                self._tallies.begin(event)
            case events.Ended():
                self._tallies.end(event)
            case events.Rehearsed():
                tally = self._tallies.of(event.target)
                tally.batches += 1
                tally.rehearsed += event.rows
                tally.target = event.target
                tally.sizes += event.sizes
            case events.Throttled():
                self._throttled += event.calls
            case events.Denied():
                self._denied += 1
            case events.Hit():
                self._tallies.of(event.target).hits += event.calls
            case events.Bypassed():
                self._real_time[(event.host, event.path, event.reason)] += event.calls
            case events.Withdrawn():
                self._withdrawn += 1
            case events.Died():
                self._died.setdefault(event.reason, []).append(event.batch)
            case events.Detached():
                self._detached = event
            case events.Cancelling():
                self._cancelled = event

    @property
    def jobs_left(self) -> int:
        """How many jobs went on when the scope was left early."""
        return self._detached.jobs if self._detached is not None else 0

    def offer(self, seconds: float) -> str:
        """What is printed after the first Ctrl-C."""
        go, them = ("keeps", "it") if self.jobs_left == 1 else ("keep", "them")
        jobs = count(self.jobs_left, "provider job")
        return f"batchling: {jobs} {go} running. Ctrl-C again within {seconds:.0f} s cancels {them}."

    def receipt(self, seconds: float) -> Receipt:
        """What has happened so far, for programs."""
        dry_run = any(tally.rehearsed for tally in tuple(self._tallies.queues.values()))
        lines = [
            Line(
                *queue,
                0 if dry_run else tally.batches,
                tally.batched,
                tally.cached,
                tally.failed,
                tally.cost,
                self._estimate(tally) if dry_run else None,
            )
            for queue, tally in sorted(self._tallies.queues.items())
        ]
        real_time = [RealTime(*call, calls) for call, calls in self._real_time.copy().most_common()]
        cost = sum((line.cost for line in lines), Cost())
        counts = (self._withdrawn, self._denied, seconds, dry_run, cost, self._throttled)
        return Receipt(tuple(lines), tuple(real_time), *counts)

    def _estimate(self, tally: _Tally) -> Estimate:
        sizes = tuple(tally.sizes)
        unbounded = sum(size.output is None for size in sizes)
        full, paid = (0.0, 0.0) if tally.target is None else self.price(tally.target, sizes)
        return Estimate(
            tally.rehearsed + tally.hits,
            tally.batches,
            tally.hits,
            sum(size.input for size in sizes),
            None if unbounded else sum(size.output or 0 for size in sizes),
            unbounded,
            sum(size.media for size in sizes),
            full,
            paid,
        )

    def text(self, seconds: float) -> str:
        """The report, without a newline at its end; empty when nothing happened in the scope."""
        if not (self._tallies.queues or self._real_time or self._detached or self._withdrawn):
            return ""
        rehearsed = any(tally.rehearsed for tally in self._tallies.queues.values())
        lines = [self._dry_line() if rehearsed else self._line(seconds)]
        receipt = self.receipt(seconds)
        if not rehearsed and receipt.cost.answers:
            lines.append(f"  {money_line(receipt)}")
        if rehearsed:
            lines += estimate_table(receipt)
        elif len(self._tallies.queues) > 1:
            lines += self._queue_table()
        lines += self._real_time_table()
        lines += [
            f"  batch {batches[0]}: {reason}" if len(batches) == 1 else f"  {len(batches):,} batches: {reason}"
            for reason, batches in self._died.items()
            if not any(reason.endswith(why) for _, _, why in self._real_time)  # the table has it
        ]
        if self._detached is not None:
            lines.append(self._detached_line(self._detached))
        return "\n".join(lines)

    def _line(self, seconds: float) -> str:
        tallies = self._tallies.queues.values()
        batched = sum(tally.batched for tally in tallies)
        batches = sum(tally.batches for tally in tallies)
        failed = sum(tally.failed for tally in tallies)
        parts = [f"{count(batched, 'call')} batched" + (f" in {count(batches, 'batch', 'batches')}" if batches else "")]
        parts.append(f"{sum(tally.cached for tally in tallies):,} from cache")
        parts.append(f"{self._real_time.total():,} went real time")
        if failed:
            parts.append(f"{failed:,} answered with an error")
        if self._denied:
            parts.append(f"{self._denied:,} of them not sent: over budget")
        if self._withdrawn:
            parts.append(f"{self._withdrawn:,} withdrawn")
        if self._throttled:
            parts.append(f"{self._throttled:,} waited for room")
        return f"batchling: {', '.join(parts)} ({duration(seconds, tenths=True)})"

    def _dry_line(self) -> str:
        rows = sum(tally.rehearsed for tally in self._tallies.queues.values())
        batches = sum(tally.batches for tally in self._tallies.queues.values())
        hits = sum(tally.hits for tally in self._tallies.queues.values())
        would = f"{count(rows, 'request')} would be sent in {count(batches, 'batch', 'batches')}"
        sent = "no batch was sent" if self._real_time else "nothing was sent"
        return f"batchling dry run: {sent}. {would}, {count(hits, 'request')} would come from cache"

    def _queue_table(self) -> list[str]:
        head: tuple[str, ...] = ("provider", "endpoint", "model", "batched", "batches", "from cache", "errors")
        rows: list[tuple[str | int, ...]]
        rows = [(*queue, t.batched, t.batches, t.cached, t.failed) for queue, t in self._tallies.queues.items()]
        if any(t.cost.answers for t in self._tallies.queues.values()):
            head += ("tokens in", "out", "paid", "real time")
            costs = (t.cost for t in self._tallies.queues.values())
            rows = [(*row, *cells(cost)) for row, cost in zip(rows, costs, strict=True)]
        return table(head, sorted(rows, key=str), words=3)

    def _real_time_table(self) -> list[str]:
        if not self._real_time:
            return []
        head = ("real time", "because", "calls")
        rows = [(f"{host}{path}", reason, calls) for (host, path, reason), calls in self._real_time.most_common()]
        return table(head, rows, words=2)

    def _detached_line(self, event: events.Detached) -> str:
        parts = []
        if self._cancelled is not None:
            parts.append(f"{self._cancelled.done:,} of {count(self._cancelled.total, 'job')} cancelled and over")
            if self._cancelled.done < self._cancelled.total:
                parts.append("the others may end later, or keep running")
            parts.append("what was finished is paid for, and kept for the next run")
        elif event.jobs:
            go = "keeps" if event.jobs == 1 else "keep"
            parts.append(
                f"{count(event.jobs, 'job')} {go} running at the provider: "
                "run the same program again to collect the answers"
            )
        if event.unsent:
            was = "was" if event.unsent == 1 else "were"
            parts.append(f"{count(event.unsent, 'request')} {was} never sent")
        return f"batchling: left early. {'; '.join(parts) or 'Nothing is under way'}"
