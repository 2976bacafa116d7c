from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchling.core.model import Response
from batchling.core.retry import LONGEST, LONGEST_ASKED, passing, pause, poll_interval, refused_unseen, retry_after


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
