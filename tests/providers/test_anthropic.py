from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchling.core.lenient import NOT_JSON
from batchling.core.model import Bypass, Fault, Item, Job, Request, Response, Site, State, Target
from batchling.providers.anthropic import ANTHROPIC
from batchling.providers.base import Unsettled
from batchling.providers.routes import Routes
from tests.providers.flows import answer, body_of, play

URL = "https://api.anthropic.com/v1/messages"
HEADERS = (("x-api-key", "sk-ant"), ("anthropic-version", "2023-06-01"), ("user-agent", "Anthropic/Python"))
BODY = {"model": "claude", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}


def aim(body: dict[str, object] = BODY, headers: tuple[tuple[str, str], ...] = HEADERS, url: str = URL) -> object:
    matched = Routes({"http://gate/a": "anthropic"}).match("POST", url)
    assert matched is not None
    return matched[0].target(matched[1], Request("POST", url, headers), dict(body))


def site(url: str = URL, *more: tuple[str, str]) -> Site:
    matched = Routes({}).match("POST", url)
    assert matched is not None
    request = Request("POST", url, (*HEADERS, *more))
    target = ANTHROPIC.target(matched[1], request, dict(BODY))
    assert isinstance(target, Target)
    return ANTHROPIC.site(target, matched[1], request)


def test_messages_are_ours_and_nothing_else() -> None:
    assert isinstance(aim(), Target)
    assert isinstance(aim(url=f"{URL}?beta=true"), Target)
    assert isinstance(aim(url="http://gate/a/b/v1/messages"), Target)
    for path in ("messages/count_tokens", "messages/batches", "messages/batches/b/cancel", "files", "models"):
        assert Routes({}).match("POST", f"https://api.anthropic.com/v1/{path}") is None
    assert aim(url="https://api.anthropic.com/v1/complete") == Bypass("endpoint without a batch form")
    assert aim(url=f"{URL}?beta=false") == Bypass("query parameters")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"stream": True}, "streaming"),
        ({"model": ""}, "no model"),
        ({"max_tokens": 0}, "max_tokens of 0"),
        ({"speed": "fast"}, "parameter speed"),
        ({"store": True}, "parameter store"),
        ({"cache_hint": {}}, "parameter cache_hint"),
        ({"bill_to": "user_profile"}, "research preview or billing parameter"),
    ],
)
def test_bodies_that_no_batch_carries(change: dict[str, object], reason: str) -> None:
    assert aim({**BODY, **change}) == Bypass(reason)


def test_what_may_share_a_batch() -> None:
    def with_headers(*more: tuple[str, str]) -> object:
        return aim(headers=(*HEADERS, *more))

    assert with_headers(("anthropic-beta", "b,a")) == with_headers(("anthropic-beta", "a"), ("anthropic-beta", "b"))
    different = [
        aim(),
        aim(url=f"{URL}?beta=true"),
        with_headers(("anthropic-beta", "a")),
        with_headers(("anthropic-workspace-id", "w")),
        with_headers(("anthropic-user-profile-id", "u")),
        aim(headers=(HEADERS[0], ("anthropic-version", "2026-10-21"))),
        aim(headers=(("x-api-key", "sk-other"), HEADERS[1])),
    ]
    assert len(set(different)) == len(different)
    # One key under both headers: a newer SDK is not another account.
    assert aim(headers=(("authorization", "Bearer sk-ant"), HEADERS[1])) == aim()


def test_submit_is_one_call_that_is_never_repeated() -> None:
    items = [Item(f"k-{n}", Request("POST", URL, (), json.dumps(BODY, indent=1).encode())) for n in range(2)]

    calls, job = play(
        ANTHROPIC.submit(site(f"{URL}?beta=true", ("anthropic-beta", "x")), items, "t"), answer({"id": "msgbatch_1"})
    )

    (create,) = calls
    assert create.request.url == f"{URL}/batches?beta=true"
    assert not create.repeatable
    assert dict(create.request.headers) == {
        "x-api-key": "sk-ant",
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "x",
        "content-type": "application/json",
    }
    assert json.loads(body_of(create)) == {
        "requests": [{"custom_id": "k-0", "params": BODY}, {"custom_id": "k-1", "params": BODY}]
    }
    assert job == Job("msgbatch_1")


def test_polls() -> None:
    counts = {"processing": 2, "succeeded": 1, "errored": 0, "canceled": 0, "expired": 0}
    said = {"processing_status": "in_progress", "request_counts": counts, "expires_at": "1970-01-01T00:01:00Z"}
    running = play(ANTHROPIC.poll(site(), Job("j")), answer(said, headers=(("retry-after", "10"),)))[1]
    ended = play(ANTHROPIC.poll(site(), Job("j")), answer({**said, "processing_status": "ended"}))[1]
    strange = play(ANTHROPIC.poll(site(), Job("j")), answer({"processing_status": "resting"}))[1]

    assert (running.state, running.done, running.total, running.retry_after) == (State.RUNNING, 1, 3, 10.0)
    assert (ended.state, ended.outputs, ended.expires_at) == (State.ENDED, ("results",), 60.0)
    assert (strange.state, strange.known) == (State.RUNNING, False)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("invalid_request_error", 400),
        ("authentication_error", 401),
        ("permission_error", 403),
        ("not_found_error", 404),
        ("request_too_large", 413),
        ("rate_limit_error", 429),
        ("api_error", 500),
        ("timeout_error", 504),
        ("overloaded_error", 529),
        ("conflict_error", 409),
        ("memory_path_conflict_error", 409),
        ("memory_precondition_failed_error", 409),
        ("new_error", 500),
    ],
)
def test_errored_rows_have_the_status_of_their_type(kind: str, status: int) -> None:
    error = {"type": "error", "error": {"type": kind, "message": "m", "details": None}, "request_id": None}
    row = ANTHROPIC.row(json.dumps({"custom_id": "a", "result": {"type": "errored", "error": error}}).encode())

    assert row.response is not None
    assert (row.response.status, json.loads(row.response.body)) == (status, error)


def test_other_rows() -> None:
    good = ANTHROPIC.row(b'{"result":{"message":{"id": 1},"type":"succeeded"},"custom_id":"a"}')
    expired = ANTHROPIC.row(b'{"custom_id":"b","result":{"type":"expired"}}')

    assert (good.key, good.response) == ("a", Response(200, (("content-type", "application/json"),), b'{"id": 1}'))
    assert (expired.response, expired.reason) == (None, "expired")


@given(st.binary(max_size=80))
def test_any_bytes_are_a_row_or_one_named_error(line: bytes) -> None:
    try:
        assert ANTHROPIC.row(line).key is not None
    except ValueError as fault:
        assert str(fault) in (NOT_JSON, "a row without a key", "not a result line")


def listed(name: str, status: str, rows: int, created: str = "2026-11-23T09:00:00Z") -> dict[str, object]:
    counts = {"processing": rows} if status == "in_progress" else {"succeeded": rows}
    return {"id": name, "processing_status": status, "request_counts": counts, "created_at": created}


SINCE = 1795424400.0  # 2026-11-23T09:00:00Z


def test_find_confirms_an_ended_job_by_its_keys() -> None:
    page = {
        "data": [listed("a", "ended", 2), listed("b", "ended", 3), listed("c", "ended", 2)],
        "has_more": False,
    }
    row = '{"custom_id":"%s","result":{"type":"expired"}}\n'

    calls, job = play(
        ANTHROPIC.find(site(), "t", ["k-0", "k-1"], SINCE, frozenset()),
        answer(page),
        answer((row % "stranger").encode()),
        answer((row % "k-1").encode()),
    )

    assert [call.request.url.rpartition("/")[2] for call in calls] == ["batches?limit=100", "results", "results"]
    assert all(call.peek for call in calls[1:])
    assert job == Job("c")


def test_find_waits_while_a_running_job_could_be_it() -> None:
    with pytest.raises(Unsettled, match="1 running"):
        play(ANTHROPIC.find(site(), "t", ["k"], SINCE, frozenset()), answer({"data": [listed("a", "in_progress", 1)]}))


def test_find_says_none_when_nothing_fits() -> None:
    old = listed("a", "in_progress", 1, "2026-11-23T08:00:00Z")
    late = [listed("c", state, 1, "2026-11-23T12:00:00Z") for state in ("in_progress", "ended")]
    page = {"data": [*late, listed("b", "in_progress", 5), old], "has_more": True}

    assert play(ANTHROPIC.find(site(), "t", ["k"], SINCE, frozenset()), answer(page))[1] is None


def test_failures_have_the_providers_shape() -> None:
    assert json.loads(ANTHROPIC.failure(424, Fault("why")).body) == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "why"},
    }
