"""OpenRouter's and Sference's lost jobs, which carry no tag."""

from __future__ import annotations

import pytest

from batchling.core.model import Job, Site, Target
from batchling.providers.base import CLOCK_SLACK, LONGEST_CREATE, Unsettled
from batchling.providers.inline import OPENROUTER
from tests.providers.flows import answer, play

SINCE = 1_795_424_400.0
SITE = Site(Target("openrouter", "https://openrouter.ai/api/v1", "/v1/chat/completions", "m", "a"))


def listed(name: str, status: str, age: float) -> dict[str, object]:
    return {"id": name, "status": status, "created_at": SINCE + age, "request_counts": {"total": 1}}


def test_a_lost_job_is_found_by_its_keys_and_by_its_time() -> None:
    late = [listed(state, state, LONGEST_CREATE + 2 * CLOCK_SLACK) for state in ("in_progress", "completed")]
    rows = answer({"results": [{"custom_id": "k"}]})

    page = answer({"data": [*late, listed("mine", "completed", 10)]})
    assert play(OPENROUTER.find(SITE, "t", ["k"], SINCE, frozenset()), page, rows)[1] == Job("mine")
    assert play(OPENROUTER.find(SITE, "t", ["k"], SINCE, frozenset()), answer({"data": late}))[1] is None
    with pytest.raises(Unsettled, match="1 running"):
        play(OPENROUTER.find(SITE, "t", ["k"], SINCE, frozenset()), answer({"data": [listed("a", "in_progress", 10)]}))
