from __future__ import annotations

import pytest

from batchling.core import events
from batchling.core.cost import Cost
from batchling.display.progress import Row, view
from batchling.display.text import duration, roughly
from tests.display.events_played import answered, play
from tests.display.targets import CHAT, CLAUDE


def row(*happened: events.Event | float, now: float = 0.0) -> Row:
    (only,) = view([play(*happened)], now).rows
    return only


def where(row: Row) -> tuple[int, int, int, int, int, int]:
    return row.asked, row.queued, row.submitted, row.running, row.ready, row.answered


def test_every_request_is_somewhere_at_every_step() -> None:
    life: list[events.Event] = [events.Queued(CHAT)] * 10
    assert where(row(*life)) == (10, 10, 0, 0, 0, 0)
    life.append(events.Submitted(CHAT, "b", "j", 6))
    assert where(row(*life)) == (10, 4, 6, 0, 0, 0)
    life.append(events.Polled("b", "", 3, 6))
    assert where(row(*life)) == (10, 4, 0, 3, 3, 0)
    life += [events.Polled("b", "", 6, 6), events.Ended("b", 5, 1)]
    assert where(row(*life)) == (10, 4, 0, 0, 6, 0)
    life += [*answered(5), *answered(1, ok=False), events.Settled("b")]
    assert where(row(*life)) == (10, 4, 0, 0, 0, 6)
    assert (row(*life).failed, row(*life).batches, row(*life).over) == (1, 1, 1)


def test_what_is_asked_again_is_counted_once() -> None:
    seen = row(
        *[events.Queued(CHAT)] * 4,
        events.Submitted(CHAT, "b", "j", 4),
        events.Ended("b", 2, 2),
        *answered(2),
        *[events.Queued(CHAT, again=True)] * 2,
        events.Settled("b"),
        events.Submitted(CHAT, "c", "j", 2),
    )
    assert where(seen) == (4, 0, 2, 0, 0, 2)
    assert (seen.batches, seen.over, seen.failed) == (2, 1, 0)


def test_callers_that_leave_are_not_waited_for() -> None:
    seen = row(
        *[events.Queued(CHAT)] * 5,
        events.Withdrawn(CHAT),
        events.Submitted(CHAT, "b", "j", 4),
        events.GaveUp(CHAT),
        events.Bypassed("h", "/p", "model without a batch form", CHAT),
        *answered(2),
        events.Settled("b"),
    )
    assert seen.finished
    assert where(seen) == (2, 0, 0, 0, 0, 2)


def test_hits_join_the_batch_they_wait_for() -> None:
    hits = [events.Hit(CHAT, "old")] * 3
    seen = row(*hits, events.Attached(CHAT, "old", 3), events.Hit(CHAT, "old"))
    assert where(seen) == (4, 0, 4, 0, 0, 0)
    seen = row(*hits, events.Attached(CHAT, "old", 3), *answered(3, cached=True), events.Settled("old"))
    assert (where(seen), seen.cached, seen.finished) == ((3, 0, 0, 0, 0, 3), 3, True)


def test_no_time_is_told_before_progress_was_seen() -> None:
    begun = [*[events.Queued(CHAT)] * 100, events.Submitted(CHAT, "b", "j", 100)]
    stalled = [100.0, events.Polled("b", "", 0, 100), 200.0, events.Polled("b", "", 0, 100)]
    assert row(*begun, *stalled, now=200).left is None
    # It waited 200 s and then did 20 in 10 s: 80 are left, at the pace since it moved.
    moving = [210.0, events.Polled("b", "", 20, 100)]
    assert row(*begun, *stalled, *moving, now=210).left == pytest.approx(40)
    assert row(*begun, *stalled, *moving, now=215).left == pytest.approx(35)
    # A stall makes it longer again.
    assert row(*begun, *stalled, *moving, 230.0, events.Polled("b", "", 20, 100), now=230).left == pytest.approx(120)
    # Nobody knows when what has not even left will be done.
    assert row(*begun, *stalled, *moving, events.Queued(CHAT), now=210).left is None


def test_one_batch_without_progress_leaves_the_whole_unknown() -> None:
    progress = play(
        *[events.Queued(CHAT)] * 10,
        *[events.Queued(CLAUDE)] * 10,
        events.Submitted(CHAT, "b", "j", 10),
        events.Submitted(CLAUDE, "c", "j", 10),
        10.0,
        events.Polled("b", "", 0, 10),
        events.Polled("c", "", 0, 10),
        20.0,
        events.Polled("b", "", 5, 10),
    )
    seen = view([progress], 20)
    assert [row.left for row in seen.rows] == [pytest.approx(10), None]
    assert seen.left is None
    progress.add(events.Polled("c", "", 2, 10), 20)
    assert view([progress], 20).left == pytest.approx(40)


def test_money_expiry_and_trouble() -> None:
    cost = Cost(2, 0, 100, 0, 0, 10, 0.4, 0.2)
    life = [
        *[events.Queued(CHAT)] * 4,
        events.Held(CHAT, "two are under way"),
        events.Submitted(CHAT, "a", "j", 2),
        events.Submitted(CHAT, "b", "j", 2),
        events.Polled("b", "", 0, 2, 900.0),
        events.Ended("a", 2, 0, cost),
    ]
    seen = row(*life)
    assert (seen.cost, seen.expires_at, seen.note) == (cost, 900.0, "")
    assert row(*life[:5]).note == "held: two are under way"
    assert row(*life, events.Delayed("b", "poll", "HTTP 503", 40)).note == "cannot poll (HTTP 503), trying again"
    assert row(*life, events.Delayed("b", "poll", "HTTP 503", 0.5)).note == ""
    assert row(*life, events.Delayed("b", "poll", "x", 40), events.Polled("b", "", 0, 2)).note == ""


def test_scopes_of_a_process_are_one_view() -> None:
    first = play(*[events.Queued(CHAT)] * 2)
    second = play(events.Queued(CHAT), events.Queued(CLAUDE), events.Bypassed("h", "/p", "streaming"))
    seen = view([first, second], 60)
    assert [(row.model, row.asked) for row in seen.rows] == [(CHAT.model, 3), (CLAUDE.model, 1)]
    assert (seen.real_time, seen.elapsed) == (1, 60)


def test_times_as_people_say_them() -> None:
    assert [duration(s, tenths=True) for s in (0, 0.42, 9.99, 59.9, 61, 600, 3600, 3725, 86_399, 200_000)] == [
        "0 s", "0.4 s", "9 s", "59 s", "1 min 1 s", "10 min", "1 h", "1 h 2 min", "24 h", "2 d",
    ]  # fmt: skip
    assert [roughly(s) for s in (1, 44, 89, 95, 500)] == ["10 s", "40 s", "90 s", "2 min", "8 min"]
