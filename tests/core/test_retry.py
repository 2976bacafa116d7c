from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchling.core.model import Response
from batchling.core.retry import (
    LONGEST,
    LONGEST_ASKED,
    passing,
    pause,
    poll_interval,
    refused_unseen,
    retry_after,
    spread,
)


@pytest.mark.thorough
@given(st.integers(1, 10_000), st.floats(0.01, 10), st.floats(0, 0.999), st.none() | st.floats(0, 1e5))
def test_a_pause_grows_is_bounded_and_honours_the_provider(
    attempt: int, first: float, noise: float, asked: float | None
) -> None:
    delay = pause(attempt, first, noise, asked)

    assert delay >= min(asked or 0, LONGEST_ASKED)
    assert delay <= max(LONGEST, asked or 0)
    assert delay >= min(first / 2, LONGEST / 2)


def test_not_now_and_no() -> None:
    assert [
        status for status in (200, 400, 401, 403, 404, 408, 413, 422, 425, 429, 500, 503, 529) if passing(status)
    ] == [
        408,
        425,
        429,
        500,
        503,
        529,
    ]
    # A 503 may come from a gateway behind which the create call was carried out.
    assert [status for status in (429, 500, 502, 503) if refused_unseen(status)] == [429]


def test_retry_after_in_seconds_and_as_a_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()

    def asked(value: str) -> float | None:
        return retry_after(Response(429, (("retry-after", value),)), now=784_111_770.0)

    assert asked("7") == 7.0
    assert asked("0.5") == 0.5
    assert asked("Sun, 06 Nov 1994 08:49:37 GMT") == 7.0
    assert asked("Sun, 06 Nov 1994 08:49:00 GMT") == 0.0
    assert asked("Sun Nov  6 08:49:37 1994") == asked("Sun, 06 Nov 1994 08:49:37 -0000") == 7.0
    assert [asked(value) for value in ("soon", "nan", "inf", "Fri, 99 Zzz 9999", "")] == [None] * 5
    assert retry_after(Response(429), 0.0) is None
    monkeypatch.undo()
    time.tzset()


def test_jobs_are_looked_at_as_seldom_as_the_provider_wishes_unless_on_purpose() -> None:
    assert poll_interval(10.0, 60.0) == 60.0
    assert poll_interval(10.0, 0.0) == 10.0
    assert poll_interval(300.0, 60.0) == 300.0
    assert poll_interval(5.0, 60.0) == 5.0


@given(st.lists(st.floats(0.0, 20.0), max_size=30), st.floats(10.0, 20.0), st.floats(0.001, 0.2))
def test_a_poll_is_moved_away_from_others_and_never_later(others: list[float], due: float, gap: float) -> None:
    moved = spread(due, sorted(others), gap)
    assert moved <= due
    assert all(abs(other - moved) >= gap * 0.999 for other in others)
    if all(abs(other - due) >= gap * 1.001 for other in others):
        assert moved == due


@given(st.integers(3, 100), st.floats(0.0, 0.05), st.integers(0, 9))
def test_polls_that_were_due_at_once_are_spread_and_become_no_more(count: int, latency: float, noise: int) -> None:
    """With half the room that is there for each, all find a place, interval after interval."""
    interval, polls = 1.0, [0.0] * count
    for _ in range(4):
        taken: list[float] = []
        for number, moment in enumerate(sorted(polls)):
            answered = moment + latency * (1 + (number * 7 + noise) % 10) / 10
            taken.append(spread(answered + interval, taken, interval / count / 2))
            taken.sort()
        assert all(later - earlier > interval / count / 2.01 for earlier, later in pairwise(taken))
        assert taken[0] >= min(polls) + interval / 2 - 0.001
        polls = taken
