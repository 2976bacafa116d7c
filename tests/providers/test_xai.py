"""What of xAI the contract does not tell: there is no status, and the counters lag behind."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batchling.core.model import Fault, Job, Response, Site, State, Status, Target
from batchling.providers.xai import XAI
from tests.providers.flows import answer, play

AT = Site(Target("xai", "https://api.x.ai/v1", "/v1/chat/completions", "m", "a"))


def job(pending: int = 0, good: int = 0, bad: int = 0, cancelled: int = 0, total: int = 3, **more: Any) -> Response:
    state = {"num_requests": total, "num_pending": pending, "num_success": good, "num_error": bad}
    return answer({"batch_id": "j", "state": {**state, "num_cancelled": cancelled}, **more})


def polled(*looks: Response) -> Status:
    return play(XAI.poll(AT, Job("j")), *looks)[1]


STOPPED = {"cancel_time": "2026-11-23"}
REFUSED = {"cancel_by_xai_message": "a malformed line"}


def test_the_counters_tell_how_a_job_stands() -> None:
    assert polled(job(total=0)).word == "reading"
    assert polled(job(pending=1, good=2)).state is State.RUNNING
    assert polled(job(good=2, bad=1)).outputs == ("results",)
    assert polled(job(pending=1, good=1, **STOPPED)).word == "cancelling"
    assert polled(job(good=1, cancelled=2, **STOPPED)).state is State.ENDED


def test_rows_that_ran_before_a_job_was_refused_are_read() -> None:
    """Also when all of them are errors: they have been answered."""
    assert polled(job(total=0, **REFUSED)).errors == (Fault("a malformed line"),)
    assert polled(job(bad=1, cancelled=2, **REFUSED)).state is State.ENDED
    assert polled(job(pending=2, bad=1, **REFUSED)).state is State.RUNNING


def test_a_stopped_job_is_over_when_several_looks_find_it_unchanged() -> None:
    """Its counters may still change, and need not add up."""
    odd = job(good=1, **STOPPED)
    calls, status = play(XAI.poll(AT, Job("j")), odd, odd, odd, odd)
    assert (status.state, status.done, status.outputs) == (State.ENDED, 1, ("results",))
    assert all(call.pause for call in calls[1:])
    assert polled(odd, odd, job(good=2, **STOPPED)).state is State.RUNNING
    never_read = job(total=0, **STOPPED)
    assert polled(*[never_read] * 4).state is State.ENDED


def row(key: str, **result: Any) -> dict[str, Any]:
    return {"batch_request_id": key, "batch_result": result}


def test_results_that_cannot_be_seen_yet_are_waited_for() -> None:
    """Taken for rows that never ran, they would be bought again."""
    good = row("a", response={"chat_get_completion": {"choices": []}})
    unseen = row("b", error="Batch request not yet visible in ClickHouse")
    late = row("b", error="Maximum number of tokens must be positive")
    pages = ([], [good, unseen], [good, late])
    answers = [answer({"results": rows, "pagination_token": None}) for rows in pages]
    calls, _ = play(XAI.fetch(AT, Job("j"), Status(State.ENDED, "done", done=2)), *answers)
    assert [call.pause > 0 for call in calls] == [False, True, True]

    empty = answer({"results": []})
    assert len(play(XAI.fetch(AT, Job("j"), Status(State.ENDED, "cancelled")), empty)[0]) == 1
    assert len(play(XAI.fetch(AT, Job("j"), Status(State.ENDED, "done", done=2)), *[empty] * 12)[0]) == 12


@pytest.mark.parametrize(("text", "status"), [("max_tokens must be positive", 400), ("it broke", 500)])
def test_errors_have_xais_shape(text: str, status: int) -> None:
    failed = XAI.row(json.dumps(row("a", error=text)).encode()).response
    assert failed is not None
    assert failed.status == status
    assert json.loads(failed.body)["error"] == text
    assert json.loads(XAI.failure(424, Fault("why", "batchling_failed")).body) == {
        "code": "batchling_failed",
        "error": "why",
    }


def test_find_reads_the_whole_list() -> None:
    """Nobody says that it is sorted, and times are dates."""
    old = {"batch_id": "o", "name": "other", "create_time": "2020-01-01"}
    pages = answer({"batches": [old], "pagination_token": "n"}), answer({"batches": [{"batch_id": "j", "name": "t"}]})
    assert play(XAI.find(AT, "t", ["k"], 1.7e9, frozenset()), *pages)[1] == Job("j")
