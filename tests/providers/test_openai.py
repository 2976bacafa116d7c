from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchling.core.lenient import NOT_JSON
from batchling.core.model import Bypass, Fault, Item, Job, Request, Site, State, Status, Target
from batchling.providers.base import Garbled, Refused, Unsettled
from batchling.providers.compatible import TOGETHER
from batchling.providers.files import read_status
from batchling.providers.openai import OPENAI
from batchling.providers.routes import Routes
from tests.providers.flows import answer, body_of, play

URL = "https://api.openai.com/v1/chat/completions"
HEADERS = (
    ("authorization", "Bearer sk-1"),
    ("openai-organization", "org"),
    ("user-agent", "OpenAI/Python"),
    ("x-stainless-retry-count", "0"),
)
BODY = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}]}


def aim(body: dict[str, object] = BODY, headers: tuple[tuple[str, str], ...] = HEADERS, url: str = URL) -> object:
    matched = Routes({"http://localhost:4000/up": "openai"}).match("POST", url)
    assert matched is not None
    provider, route = matched
    return provider.target(route, Request("POST", url, headers, json.dumps(body).encode()), dict(body))


def site() -> Site:
    matched = Routes({}).match("POST", URL)
    assert matched is not None
    request = Request("POST", URL, HEADERS, b"{}")
    target = OPENAI.target(matched[1], request, dict(BODY))
    assert isinstance(target, Target)
    return OPENAI.site(target, matched[1], request)


@pytest.mark.parametrize(
    "path",
    [
        "chat/completions",
        "responses",
        "embeddings",
        "completions",
        "moderations",
        "images/generations",
        "images/edits",
        "videos",
    ],
)
@pytest.mark.parametrize("host", ["api", "us.api", "eu.api", "ae.api", "au.api", "in.api", "jp.api"])
def test_every_documented_endpoint_at_every_host(path: str, host: str) -> None:
    target = aim(url=f"https://{host}.openai.com/v1/{path}")

    assert isinstance(target, Target)
    assert (target.endpoint, target.base_url) == (f"/v1/{path}", f"https://{host}.openai.com/v1")


@pytest.mark.parametrize(
    "path",
    ["files", "batches", "batches/b/cancel", "responses/input_tokens", "fine_tuning/jobs", "chat/completions/c1"],
)
def test_calls_that_cost_nothing_are_not_ours(path: str) -> None:
    assert Routes({}).match("POST", f"https://api.openai.com/v1/{path}") is None


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("GET", URL),
        ("POST", "https://example.com/v1/chat/completions"),
        ("POST", "https://api.openai.com.evil.com/v1/chat/completions"),
        ("POST", "http://localhost:4000/uppity/v1/chat/completions"),
    ],
)
def test_foreign_calls_are_not_ours(method: str, url: str) -> None:
    assert Routes({"http://localhost:4000/up": "openai"}).match(method, url) is None


def test_a_paid_call_without_a_batch_form_is_reported() -> None:
    assert aim(url="https://api.openai.com/v1/audio/speech") == Bypass("endpoint without a batch form")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"stream": True}, "streaming"),
        ({"model": None}, "no model"),
        ({"background": True}, "background response"),
        ({"service_tier": "flex"}, "service tier flex"),
        ({"previous_response_id": "r"}, "continues a stored conversation"),
        ({"conversation": "c"}, "continues a stored conversation"),
    ],
)
def test_bodies_that_no_batch_carries(change: dict[str, object], reason: str) -> None:
    assert aim({**BODY, **change}) == Bypass(reason)


def test_harmless_bodies_are_carried() -> None:
    assert aim({**BODY, "stream": False, "service_tier": "auto", "previous_response_id": None}) == aim()


def test_what_may_share_a_batch() -> None:
    base = aim()
    same = aim(headers=(*HEADERS[:2], ("user-agent", "other"), ("x-stainless-retry-count", "2")))
    organisation = aim(headers=(HEADERS[0], ("openai-organization", "another")))
    credential = aim(headers=(("authorization", "Bearer sk-2"), HEADERS[1]))

    assert same == base
    assert len({base, organisation, credential}) == 3
    assert "sk-" not in repr(credential)


def test_a_gateway_keeps_its_own_headers_and_prefix() -> None:
    url = "http://localhost:4000/up/eu/v1/chat/completions"
    plain = aim(url=url)
    tenant = aim(url=url, headers=(*HEADERS, ("x-tenant", "a")))
    traced = aim(url=url, headers=(*HEADERS, ("traceparent", "00-1"), ("x-request-id", "7")))

    assert isinstance(plain, Target)
    assert plain.base_url == "http://localhost:4000/up/eu/v1"
    assert traced == plain
    assert tenant != plain


def test_submit_uploads_then_creates_once() -> None:
    items = [
        Item("k-0", Request("POST", URL, (), b'{"model": "m",\n "messages": ["\xe2\x80\xa8"]}')),
        Item("k-1", Request("POST", URL, (), b'{"model":"m","messages":[]}')),
    ]

    calls, job = play(OPENAI.submit(site(), items, "tag7"), answer({"id": "file-1"}), answer({"id": "batch_1"}))

    upload, create = calls
    assert (upload.request.url, upload.repeatable) == ("https://api.openai.com/v1/files", True)
    assert ("authorization", "Bearer sk-1") in upload.request.headers
    assert "user-agent" not in dict(upload.request.headers)
    file = body_of(upload).split(b"\r\n\r\n")[2].rsplit(b"\r\n--", 1)[0]
    rows = [json.loads(line) for line in file.split(b"\n") if line]
    assert rows == [
        {
            "custom_id": "k-0",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": json.loads(items[0].request.body),
        },
        {"custom_id": "k-1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": []}},
    ]
    assert (create.request.method, create.request.url) == ("POST", "https://api.openai.com/v1/batches")
    assert not create.repeatable
    assert json.loads(create.request.body) == {
        "input_file_id": "file-1",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": {"batchling": "tag7"},
    }
    assert job == Job("batch_1", {"input_file_id": "file-1"})


def test_a_refused_upload_creates_nothing() -> None:
    with pytest.raises(Refused) as caught:
        play(OPENAI.submit(site(), [], "t"), answer({"error": {"message": "no"}}, 401))

    assert caught.value.response.status == 401


def test_html_instead_of_json_is_garbled() -> None:
    with pytest.raises(Garbled):
        play(OPENAI.poll(site(), Job("b")), answer(b"<html>"))


def poll(**said: object) -> Status:
    return play(OPENAI.poll(site(), Job("batch_1")), answer({"id": "batch_1", **said}))[1]


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("validating", State.RUNNING),
        ("in_progress", State.RUNNING),
        ("finalizing", State.RUNNING),
        ("cancelling", State.RUNNING),
        ("Validating", State.RUNNING),
        ("completed", State.ENDED),
        ("expired", State.ENDED),
        ("cancelled", State.ENDED),
        ("failed", State.FAILED),
    ],
)
def test_status_words(word: str, state: State) -> None:
    status = poll(status=word, request_counts={"total": 3, "completed": 1, "failed": 1}, expires_at=9)

    assert (status.state, status.known, status.done, status.total, status.expires_at) == (state, True, 2, 3, 9.0)


def test_an_unknown_word_is_running_and_told() -> None:
    status = poll(status="paused")

    assert (status.state, status.known) == (State.RUNNING, False)


@pytest.mark.parametrize("absent", [None, "", {}])
def test_absent_file_ids(absent: object) -> None:
    assert poll(status="completed", output_file_id=absent, error_file_id="file-e").outputs == ("file-e",)


def test_both_files_are_read() -> None:
    status = poll(status="expired", output_file_id="file-o", error_file_id="../e?x")

    calls, _ = play(OPENAI.fetch(site(), Job("b"), status), answer(b""), answer(b""))

    assert [call.request.url.rpartition("/v1")[2] for call in calls] == [
        "/files/file-o/content",
        "/files/..%2Fe%3Fx/content",
    ]
    assert all(call.rows for call in calls)


def test_validation_faults() -> None:
    status = poll(status="failed", errors={"data": [{"code": "c", "message": "m", "param": None, "line": 7}]})

    assert status.errors == (Fault("m", "c", None, 7),)


def test_rows() -> None:
    good = OPENAI.row(
        b'{"id":"x","custom_id":"a","response":{"status_code":200,"request_id":"r","body":{ "k" : 1 }},"error":null}'
    )
    bad = OPENAI.row(b'{"custom_id":"b","response":{"status_code":400,"body":{"error":{}}},"error":null}')
    expired = OPENAI.row(b'{"custom_id":"c","response":null,"error":{"code":"batch_expired","message":"m"}}')
    nothing = OPENAI.row(b'{"custom_id":"d","response":{"status_code":0,"request_id":"","body":{}},"error":null}')

    assert good.response is not None
    assert (good.response.status, good.response.body) == (200, b'{ "k" : 1 }')
    assert ("x-request-id", "r") in good.response.headers
    assert bad.response is not None
    assert bad.response.status == 400
    assert (expired.response, expired.reason) == (None, "batch_expired")
    assert nothing.response is None


def test_what_aibrix_says() -> None:
    """A gateway that leaves out what is null, and derives no status for a failed row."""
    job = read_status(
        {"id": "b", "status": "completed", "output_file_id": "f", "request_counts": {"total": 2, "completed": 1}}
    )
    failed = OPENAI.row(b'{"id":"x","custom_id":"a","error":{"code":"inference_failed","message":"m"},"response":null}')

    assert (job.state, job.outputs, job.errors, job.done) == (State.ENDED, ("f",), (), 1)
    assert failed.response is not None
    assert (failed.response.status, failed.key) == (500, "a")


@given(st.binary(max_size=80))
def test_any_bytes_are_a_row_or_one_named_error(line: bytes) -> None:
    try:
        assert OPENAI.row(line).key is not None
    except ValueError as fault:
        assert str(fault) in (NOT_JSON, "a row without a key", "not a result line")


def jobs(*ids: str, created: int = 1000, tag: str = "other", more: bool = False) -> object:
    data = [{"id": name, "created_at": created, "metadata": {"batchling": tag}} for name in ids]
    return answer({"object": "list", "data": data, "has_more": more})


def test_find_pages_until_the_tag() -> None:
    calls, job = play(
        OPENAI.find(site(), "mine", ["k"], 1000.0, frozenset()), jobs("b1", "b2", more=True), jobs("b3", tag="mine")
    )

    assert [call.request.url.rpartition("?")[2] for call in calls] == ["limit=100", "limit=100&after=b2"]
    assert job == Job("b3", {"input_file_id": ""})


def test_find_stops_at_older_jobs() -> None:
    assert play(OPENAI.find(site(), "mine", ["k"], 1000.0, frozenset()), jobs("b1", created=100, more=True))[1] is None
    assert play(OPENAI.find(site(), "mine", ["k"], 1000.0, frozenset()), answer({"data": []}))[1] is None


def test_an_empty_page_with_more_after_it_tells_nothing() -> None:
    """As where somebody in between leaves out what is not the caller's (litellm#38738)."""
    with pytest.raises(Unsettled):
        play(OPENAI.find(site(), "mine", ["k"], 1000.0, frozenset()), answer({"data": [], "has_more": True}))


def test_a_list_that_does_not_advance_is_at_its_end() -> None:
    page = jobs("b1", created=2_000, more=True)
    calls, job = play(OPENAI.find(site(), "mine", ["k"], 1000.0, frozenset()), page, page)
    assert (len(calls), job) == (2, None)


def test_a_job_without_metadata_is_found_by_any_of_its_files() -> None:
    """An upload that was repeated made two of the same name, and the list has pages."""
    at = Site(Target("together", "https://api.together.ai/v1", "/v1/chat/completions", "m", "a"))
    first = {"data": [{"id": "f1", "filename": "batchling-mine.jsonl"}], "has_more": True}
    second = {"data": [{"id": "f2", "filename": "batchling-mine.jsonl"}, {"id": "f3", "filename": "x"}]}
    listed = answer([{"id": "b3", "input_file_id": "f3"}, {"id": "b1", "input_file_id": "f1"}])
    calls, job = play(TOGETHER.find(at, "mine", ["k"], 1000.0, frozenset()), answer(first), answer(second), listed)

    assert [call.request.url.rpartition("/v1")[2] for call in calls] == ["/files", "/files?after=f1", "/batches"]
    assert job == Job("b1", {"input_file_id": "f1"})


@pytest.mark.parametrize("first", [[100, 200], [0], [1000, 0]])
def test_find_reads_on_where_old_jobs_say_nothing_of_new_ones(first: list[int]) -> None:
    """A list may have its oldest jobs first, or not say when they were created."""
    data = [{"id": f"b{moment}", "created_at": moment, "metadata": None} for moment in first]
    page = answer({"object": "list", "data": data, "has_more": True})

    _, job = play(OPENAI.find(site(), "mine", ["k"], 1000.0, frozenset()), page, jobs("b3", tag="mine"))
    assert job == Job("b3", {"input_file_id": ""})


def test_failures_have_the_providers_shape() -> None:
    bad = OPENAI.failure(400, Fault("why", "model_not_found", "model"))

    assert bad.status == 404
    assert json.loads(bad.body) == {
        "error": {"message": "why", "type": "invalid_request_error", "param": "model", "code": "model_not_found"}
    }
