"""Where things stand when the interpreter ends."""

from __future__ import annotations

import pytest

from batchling.core.events import Died, Ended, Polled, Submitted
from batchling.display import standing
from batchling.display.standing import Standing
from tests.display.targets import CHAT


@pytest.fixture(autouse=True)
def nobody_elses_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "_running", {})


def test_jobs_are_counted_until_they_are_over() -> None:
    scope = Standing(kept=True)
    assert standing.text() == ""
    scope.add(Submitted(CHAT, "b1", "j1", 3))
    scope.add(Polled("b2", "in_progress", 0, 1))  # of an earlier run
    assert standing.text() == (
        "batchling: 2 jobs keep running at the provider. Run the same program again to collect the answers."
    )
    scope.add(Ended("b1", 3, 0))
    Standing(kept=True).add(Died("b2", "expired"))
    assert standing.text() == ""


def test_without_a_cache_there_is_nothing_to_collect_with() -> None:
    Standing(kept=False).add(Submitted(CHAT, "b1", "j1", 3))
    assert standing.text() == "batchling: 1 job keeps running at the provider; its record was not kept (cache=False)."
    Standing(kept=True).add(Submitted(CHAT, "b2", "j2", 3))
    assert standing.text() == (
        "batchling: 2 jobs keep running at the provider. Run the same program again to collect the answers; "
        "the records of 1 were not kept (cache=False)."
    )
