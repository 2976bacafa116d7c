"""Lists of jobs in which many are polled at once: which calls are made, where reading ends, and what is taken from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from batchling.core.model import JSON, Job, Site, State, Target
from batchling.providers import PROVIDERS
from batchling.providers.base import Garbled, Lists, Refused, Unlisted
from tests.providers.flows import answer, play

MISTRAL_LIST = (
    "/batch/jobs?page=0&page_size=100&order_by=-created&status=CANCELLATION_REQUESTED&status=QUEUED&status=RUNNING"
)


def at(name: str, root: str = "") -> Site:
    root = root or PROVIDERS[name].roots[0].replace("*", "r")
    return Site(Target(name, root, "/v1/chat/completions", "m", "a"), (("authorization", "Bearer sk-1"),))


def named(count: int, prefix: str = "b") -> list[Job]:
    return [Job(f"{prefix}{number}") for number in range(count)]


def provider(name: str) -> Any:
    found = PROVIDERS[name]
    assert isinstance(found, Lists)
    return found


def running(jobs: Sequence[Job], **more: JSON) -> dict[str, JSON]:
    counts: JSON = {"total": 5, "completed": 2, "failed": 1}
    return {"data": [{"id": job.id, "status": "in_progress", "request_counts": counts} for job in jobs], **more}


def urls(name: str, jobs: Sequence[Job], *answers: Any) -> list[str]:
    root = at(name).target.base_url
    return [call.request.url.removeprefix(root) for call in play(provider(name).poll_all(at(name), jobs), *answers)[0]]


def test_every_provider_lists() -> None:
    assert [name for name, each in PROVIDERS.items() if not isinstance(each, Lists)] == []


@pytest.mark.parametrize(
    ("name", "jobs", "first"),
    [
        ("openai", 3, "/batches?limit=20"),
        ("openai", 40, "/batches?limit=80"),
        ("openai", 300, "/batches?limit=100"),
        ("anthropic", 300, "/messages/batches?limit=600"),
        ("anthropic", 900, "/messages/batches?limit=1000"),
        ("groq", 3, "/batches"),
        ("together", 3, "/batches"),
        ("doubleword", 3, "/batches?limit=20"),
        ("dashscope", 3, "/batches?limit=20"),
        ("openrouter", 3, "/batches?limit=20"),
        ("xai", 3, "/batches?limit=20"),
        ("gemini", 3, "/v1beta/batches?pageSize=20"),
        ("vertex", 3, "/batchPredictionJobs?filter=labels.batchling%3A%2A&pageSize=20"),
        (
            "mistral",
            3,
            MISTRAL_LIST,
        ),
    ],
)
def test_the_first_page(name: str, jobs: int, first: str) -> None:
    assert urls(name, named(jobs), answer({})) == [first]


@pytest.mark.parametrize(
    ("name", "page", "second"),
    [
        ("openai", running(named(3), has_more=True), "/batches?limit=20&after=b2"),
        ("groq", running(named(3), paging={"next_cursor": "n/1"}), "/batches?cursor=n%2F1"),
        (
            "anthropic",
            {"data": [{"id": "b1", "processing_status": "in_progress"}], "has_more": True},
            "/messages/batches?limit=20&after_id=b1",
        ),
        ("xai", {"batches": [{"batch_id": "b1"}], "pagination_token": "n"}, "/batches?limit=20&pagination_token=n"),
        ("gemini", {"operations": [{"name": "b1"}], "nextPageToken": "n"}, "/v1beta/batches?pageSize=20&pageToken=n"),
        ("openrouter", running(named(3), has_more=True), "/batches?limit=20&after=b2"),
    ],
)
def test_the_second_page(name: str, page: dict[str, JSON], second: str) -> None:
    assert urls(name, named(6), answer(page), answer({}))[1:] == [second]


def test_mistral_numbers_its_pages() -> None:
    full = {"data": [{"id": f"b{number}", "status": "RUNNING"} for number in range(100)]}
    first, second = urls("mistral", named(150), answer(full), answer({"data": full["data"][:3]}))
    assert ("?page=0&" in first, "?page=1&" in second) == (True, True)


def test_reading_ends_with_the_last_job_that_is_looked_for() -> None:
    flow = provider("openai").poll_all(at("openai"), named(3))
    _, found = play(flow, answer(running([*named(9, "x"), *named(3)], has_more=True)))
    assert sorted(found) == ["b0", "b1", "b2"]
    assert {(each.state, each.word, each.done, each.total) for each in found.values()} == {
        (State.RUNNING, "in_progress", 3, 5)
    }


def test_nothing_is_read_for_one_last_job() -> None:
    """A page more would cost as much as its own poll."""
    flow = provider("openai").poll_all(at("openai"), named(4))
    assert len(play(flow, answer(running(named(3), has_more=True)))[1]) == 3


@pytest.mark.parametrize(("jobs", "calls"), [(3, 2), (4, 3), (5, 4), (6, 5), (200, 5)])
def test_few_pages_are_read_in_vain(jobs: int, calls: int) -> None:
    pages = [answer(running(named(9, f"x{page}-"), has_more=True)) for page in range(calls)]
    assert play(provider("openai").poll_all(at("openai"), named(jobs)), *pages)[1] == {}


def test_a_list_that_does_not_advance_is_not_read_for_ever() -> None:
    same = answer(running(named(3), has_more=True))
    assert len(play(provider("openai").poll_all(at("openai"), named(50)), same, same)[1]) == 3
    token = answer({"operations": [{"name": "b1"}], "nextPageToken": "n"})
    assert len(play(provider("gemini").poll_all(at("gemini"), named(50)), token, token)[1]) == 1


def test_a_page_with_results_in_it_is_not_read_again() -> None:
    long = answer({"operations": [{"name": "b0", "response": "x" * 150_000}]})
    with pytest.raises(Unlisted):
        play(provider("gemini").poll_all(at("gemini"), named(3)), long)


def test_what_is_no_list() -> None:
    flow = provider("openai").poll_all
    with pytest.raises(Refused):
        play(flow(at("openai"), named(3)), answer({}, 404))
    with pytest.raises(Garbled):
        play(flow(at("openai"), named(3)), answer(b"<html>"))
    odd = answer({"data": [7, {}, {"id": {}}, {"id": "b1", "status": None}]})
    assert list(play(flow(at("openai"), named(3)), odd)[1]) == ["b1"]


def test_a_stopped_job_of_xai_is_polled_on_its_own() -> None:
    """Its counters keep changing for a while, which one look at a list cannot tell."""
    stopped = {"batch_id": "b0", "cancel_time": "2026-08-10", "state": {"num_requests": 3, "num_success": 1}}
    at_work = {"batch_id": "b1", "state": {"num_requests": 3, "num_pending": 3}}
    _, found = play(provider("xai").poll_all(at("xai"), named(2)), answer({"batches": [stopped, at_work]}))
    assert list(found) == ["b1"]


def test_a_job_of_gemini_is_counted_in_calls() -> None:
    stats: JSON = {"requestCount": "40", "successfulRequestCount": "20"}
    listed: JSON = {"name": "batches/b", "metadata": {"state": "BATCH_STATE_RUNNING", "batchStats": stats}}
    jobs = [Job("batches/b", {"calls": "4"}), Job("batches/c")]
    _, found = play(provider("gemini").poll_all(at("gemini"), jobs), answer({"operations": [listed]}))
    assert [(each.done, each.total) for each in found.values()] == [(2, 4)]
