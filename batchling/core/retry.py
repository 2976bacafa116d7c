"""Which fault is worth another attempt, and after what delay. Decides; never sleeps."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from math import isfinite

from batchling.core.model import Response, header

LONGEST = 300.0
"""At most so many seconds between two attempts, unless the provider itself asks for more."""

LONGEST_ASKED = 3_600.0
"""The longest wait in seconds that a provider may ask for: an hourly limit is the longest known."""

POLL_SECONDS = 10.0
"""Seconds between two polls of a job, unless the scope sets another value."""

RESUBMISSIONS = 2
"""How many times a request without a final answer is put into another batch, unless the scope sets another value."""

BLAMELESS = 20
"""How many times a request may lose its batch because that was never sent, or its record is gone."""


def passing(status: int) -> bool:
    """Whether a response with this status means "not now" rather than "no"."""
    return status in (408, 425, 429) or (status >= 500 and status != 501)


def refused_unseen(status: int) -> bool:
    """Whether this status means that the call was rejected before it did anything, so repeating it is safe even if it
    creates something."""
    return status in (425, 429)


def pause(attempt: int, first: float, noise: float, asked: float | None = None) -> float:
    """Seconds before attempt number `attempt + 1`: doubling from `first`, spread by `noise` in [0, 1), and never less
    than the provider `asked` for."""
    delay = min(first * 2.0 ** min(attempt - 1, 20), LONGEST) * (0.5 + noise / 2)
    return max(delay, min(asked or 0.0, LONGEST_ASKED))


def retry_after(response: Response, now: float) -> float | None:
    """The seconds that a Retry-After header asks for, whether given as seconds or as an HTTP date; None without one."""
    value = header(response.headers, "retry-after")
    if value is None:
        return None
    try:
        seconds = float(value)
        return max(0.0, seconds) if isfinite(seconds) else None
    except ValueError:
        pass
    at = moment(value)
    return None if at is None else max(0.0, at - now)


def moment(value: str | None) -> float | None:
    """The Unix seconds of an HTTP date; None for anything else."""
    try:
        found = parsedate_to_datetime(value or "")
        # HTTP dates are in GMT, whether or not they say so.
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def spread(due: float, others: Sequence[float], gap: float) -> float:
    """When to poll a job that is due then, if others of its account are due at these times (sorted): not within `gap`
    seconds of them, but never later."""
    for other in reversed(others[: bisect_left(others, due + gap)]):
        if other <= due - gap:
            break
        due = other - gap
    return due


def poll_interval(asked: float, wished: float) -> float:
    """Seconds between two polls of a job: what the scope asks for, but no less than the provider asks for. If the scope
    asks for less than the default, that is deliberate and wins."""
    return asked if asked < POLL_SECONDS else max(asked, wished)
