"""The progress of a scope's batches: a fold over events, and the view of it that is drawn.

Pure: time is an argument, in Unix seconds. `Progress` is filled on the engine's loop thread and read by the display's;
it holds plain numbers, so a reader is at most one event behind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from batchling.core import events
from batchling.core.cost import Cost
from batchling.display.tally import Queue, Tallies, Tally

_POINTS = 30
"""Polls from which a rate is computed."""


@dataclass(slots=True)
class _Batch:
    """A running batch, as the provider last reported it; `rows` are those that this scope waits for."""

    queue: _Queue
    rows: int
    done: int = 0
    total: int = 0
    expires_at: float | None = None
    note: str = ""
    points: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_POINTS))
    """(time, done) of polls, including the last one before any progress."""

    @property
    def ready(self) -> int:
        """How many of the rows the provider has finished, as far as it reports that."""
        return min(self.rows, self.rows * self.done // self.total) if self.total else 0

    def polled(self, event: events.Polled, now: float) -> None:
        """Process what the provider reported."""
        self.done, self.total, self.note = event.done, event.total, ""
        self.expires_at = event.expires_at
        if len(self.points) == 1 and self.points[0][1] == event.done:
            self.points.clear()
        self.points.append((now, event.done))

    def left(self, now: float) -> float | None:
        """Seconds until it is done at the observed pace; None before there is one."""
        if len(self.points) < 2 or self.done >= self.total:
            return None
        (start, before), (last, done) = self.points[0], self.points[-1]
        if done <= before or last <= start:
            return None
        return max(0.0, (self.total - done) * (last - start) / (done - before) - (now - last))


@dataclass(slots=True)
class _Queue(Tally):
    """`batches` are those that this scope waited for, whoever submitted them."""

    asked: int = 0
    batches: int = 0
    over: int = 0
    note: str = ""
    running: dict[str, _Batch] = field(default_factory=dict)


@dataclass(slots=True)
class Progress:
    """See the module docstring. `started` is when the scope was entered."""

    started: float
    real_time: int = 0
    throttled: int = 0
    """How many calls wait for room (`max_waiting`)."""
    _tallies: Tallies[_Queue] = field(default_factory=lambda: Tallies(_Queue))
    _batches: dict[str, _Batch] = field(default_factory=dict)

    @property
    def queues(self) -> dict[Queue, _Queue]:
        """The queues, in the order of their first requests."""
        return self._tallies.queues

    def add(self, event: events.Event, now: float) -> None:
        """Process one event."""
        match event:
            case events.Answered():
                self._tallies.answer(event)
            case events.Queued():
                self._ask(event)
            case events.Hit():
                self._ask(event)
                if (batch := self._batches.get(event.batch)) is not None:
                    batch.rows += event.calls
            case events.Withdrawn() | events.GaveUp():
                self._tallies.of(event.target).asked -= 1
            case events.Bypassed():
                self.real_time += event.calls
                if event.target is not None:
                    self._tallies.of(event.target).asked -= event.calls
            case events.Submitted() | events.Attached():
                self._begin(event)
            case events.Throttled():
                self.throttled = event.waiting
            case events.Held():
                self._tallies.of(event.target).note = f"held: {event.why}"
            case (
                events.Rehearsed()
                | events.Denied()
                | events.Spawned()
                | events.Detached()
                | events.Cancelling()
                | events.HeaderLeftOut()
                | events.PaidAgain()
            ):
                pass
            case _:
                self._follow(event, now)

    def _ask(self, event: events.Queued | events.Hit) -> None:
        if not event.again:
            self._tallies.of(event.target).asked += event.calls

    def _begin(self, event: events.Submitted | events.Attached) -> None:
        queue = self._tallies.begin(event)
        queue.note = ""
        if event.batch not in self._batches:
            queue.batches += 1
            self._batches[event.batch] = queue.running[event.batch] = _Batch(queue, event.rows)

    def _follow(
        self, event: events.Polled | events.Delayed | events.Ended | events.Died | events.Settled, now: float
    ) -> None:
        batch = self._batches.get(event.batch)
        match event:
            case events.Polled() if batch is not None:
                batch.polled(event, now)
            case events.Delayed() if batch is not None and not event.is_noise:
                batch.note = f"cannot {event.what} ({event.why}), trying again"
            case events.Ended():
                self._tallies.end(event)
            case events.Died() | events.Settled() if batch is not None:
                del self._batches[event.batch], batch.queue.running[event.batch]
                batch.queue.over += 1


@dataclass(frozen=True, slots=True)
class Row:
    """One queue, as it is drawn. Of the `asked` requests, `queued` are not at a provider yet, `submitted` are in jobs
    that show no progress, `running` in jobs that do, and `ready` are finished there but not read yet; the others have
    their answers, including `failed` and `cached` ones."""

    provider: str
    endpoint: str
    model: str
    asked: int
    answered: int
    failed: int
    cached: int
    queued: int
    submitted: int
    running: int
    ready: int
    batches: int
    over: int
    """How many of the batches are over."""
    left: float | None
    """Seconds, at the observed pace; None when it cannot be known."""
    expires_at: float | None
    note: str
    cost: Cost

    @property
    def finished(self) -> bool:
        return self.answered >= self.asked


@dataclass(frozen=True, slots=True)
class View:
    """What is drawn: a row for each queue, in the order of their first requests."""

    rows: tuple[Row, ...]
    now: float
    elapsed: float
    real_time: int
    throttled: int = 0

    @property
    def left(self) -> float | None:
        """Seconds until the last queue is done; None while one of them is unknown."""
        parts = [row.left for row in self.rows if not row.finished]
        known = [part for part in parts if part is not None]
        return max(known) if known and len(known) == len(parts) else None

    @property
    def cost(self) -> Cost:
        """The cost of all answers counted so far."""
        return sum((row.cost for row in self.rows), Cost())


def view(scopes: Iterable[Progress], now: float) -> View:
    """The scopes of a process in one view; queues with the same name share a row."""
    scopes = list(scopes)
    merged: dict[Queue, list[_Queue]] = {}
    for scope in scopes:
        for name, queue in list(scope.queues.items()):
            merged.setdefault(name, []).append(queue)
    rows = tuple(_row(name, queues, now) for name, queues in merged.items())
    started = min((scope.started for scope in scopes), default=now)
    return View(
        tuple(row for row in rows if row.asked or row.answered),
        now,
        max(0.0, now - started),
        sum(scope.real_time for scope in scopes),
        sum(scope.throttled for scope in scopes),
    )


def _row(name: Queue, queues: list[_Queue], now: float) -> Row:
    batches = [batch for queue in queues for batch in list(queue.running.values())]
    answered = sum(queue.answered for queue in queues)
    # Calls that joined another are answered without having been counted as asked.
    asked = max(answered, sum(queue.asked for queue in queues))
    ready = sum(batch.ready for batch in batches)
    running = sum(batch.rows - batch.ready for batch in batches if batch.done)
    submitted = sum(batch.rows for batch in batches if not batch.done)
    queued = max(0, asked - answered - ready - running - submitted)
    lefts = [batch.left(now) for batch in batches if batch.done < batch.total or not batch.total]
    known = [left for left in lefts if left is not None]
    return Row(
        *name,
        asked=asked,
        answered=answered,
        failed=sum(queue.failed for queue in queues),
        cached=sum(queue.cached for queue in queues),
        queued=queued,
        submitted=min(submitted, asked - answered),
        running=min(running, asked - answered),
        ready=min(ready, asked - answered),
        batches=sum(queue.batches for queue in queues),
        over=sum(queue.over for queue in queues),
        left=max(known) if known and len(known) == len(lefts) and not queued else None,
        expires_at=min((batch.expires_at for batch in batches if batch.expires_at is not None), default=None),
        note=next((note for note in (*(q.note for q in queues), *(b.note for b in batches)) if note), ""),
        cost=sum((queue.cost for queue in queues), Cost()),
    )
