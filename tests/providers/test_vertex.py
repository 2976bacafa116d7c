from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchling.core.lenient import NOT_JSON
from batchling.core.model import Bypass, Fault, Item, Job, Request, Response, Site, State, Status, Target
from batchling.providers.base import Refused, Verdict
from batchling.providers.google.vertex import VERTEX, Vertex
from tests.providers.flows import answer, body_of, play

ROOT = "https://us-central1-aiplatform.googleapis.com/v1"
BASE = f"{ROOT}/projects/p/locations/us-central1"
URL = f"{BASE}/publishers/google/models/gemini-3-flash:generateContent"
CLAUDE = f"{BASE}/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict"
HEADERS = (("authorization", "Bearer ya29.a"), ("user-agent", "google-genai-sdk/1"))
BODY: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generationConfig": {"topK": 1}}
STORE = Vertex(gcs_prefix="gs://bkt/a b/")
THERE = replace(STORE, storage="http://gate:1/storage")
STORAGE = "https://storage.googleapis.com"


def aim(
    body: dict[str, Any] = BODY,
    headers: tuple[tuple[str, str], ...] = HEADERS,
    url: str = URL,
    provider: Vertex = STORE,
    official: bool = True,
) -> Any:
    route = provider.route("POST", url, official=official)
    assert route is not None
    return provider.target(route, Request("POST", url, headers), body)


def site(url: str = URL, headers: tuple[tuple[str, str], ...] = HEADERS, official: bool = True) -> Site:
    store = STORE if official else THERE
    route = store.route("POST", url, official=official)
    assert route is not None
    request = Request("POST", url, headers)
    target = store.target(route, request, BODY)
    assert isinstance(target, Target)
    return store.site(target, route, request)


def with_tool(schema: dict[str, Any]) -> dict[str, Any]:
    return {**BODY, "tools": [{"functionDeclarations": [{"name": "f", "parameters": schema}]}]}


def deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"x": 1}
    for _ in range(levels - 1):
        value = {"x": value}
    return value


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
@pytest.mark.parametrize("host", ["europe-west4-aiplatform.googleapis.com", "aiplatform.googleapis.com"])
def test_regional_and_global_hosts(host: str, version: str) -> None:
    base = f"https://{host}/{version}/projects/p/locations/global"
    target = aim(url=f"{base}/publishers/google/models/m:generateContent")
    assert (target.base_url, target.endpoint, target.model) == (base, ":generateContent", "m")


def test_a_gateway_may_be_anywhere() -> None:
    base = "http://gate:1/vertex/v1/projects/p/locations/l"
    url = f"{base}/publishers/google/models/m:generateContent"
    target = aim(url=url, provider=THERE, official=False)
    assert (target.base_url, target.model) == (base, "m")
    assert "not sent to Cloud Storage" in aim(url=url, official=False).reason


def test_claude() -> None:
    target = aim({"anthropic_version": "v", "messages": [{"role": "user", "content": "hi"}]}, url=CLAUDE)
    assert (target.endpoint, target.model) == (":rawPredict", "claude-sonnet-4-5@20250929")
    assert aim(url=CLAUDE.replace("@", "%40")).model == "claude-sonnet-4-5@20250929"


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("GET", URL),
        ("POST", URL.replace("generateContent", "countTokens")),
        ("POST", f"{BASE}/batchPredictionJobs"),
        ("POST", f"{BASE}/cachedContents"),
        ("POST", URL.replace("https://us-central1-aiplatform.googleapis.com", "https://evil.example")),
        ("POST", URL.replace("aiplatform.googleapis.com", "aiplatform.googleapis.com.evil.example")),
    ],
)
def test_not_ours(method: str, url: str) -> None:
    assert STORE.route(method, url, official=True) is None


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (URL.replace(":generateContent", ":streamGenerateContent"), "endpoint without a batch form"),
        (CLAUDE.replace(":rawPredict", ":streamRawPredict"), "endpoint without a batch form"),
        (URL.replace(":generateContent", ":predict"), "endpoint without a batch form"),
        (f"{BASE}/publishers/meta/models/llama:rawPredict", "endpoint without a batch form"),
        (f"{BASE}/endpoints/openapi/chat/completions", "endpoint without a batch form"),
        (f"{ROOT}/publishers/google/models/m:generateContent?key=AIza", "endpoint without a batch form"),
        (f"{BASE}/endpoints/123:generateContent", "tuned model"),
        (f"{BASE}/models/123:generateContent", "tuned model"),
        (f"{URL}?key=AIza", "query parameters"),
        (CLAUDE.replace("locations/us-central1", "locations/global"), "Claude has no batches at the global location"),
    ],
)
def test_calls_that_no_batch_carries(url: str, reason: str) -> None:
    assert aim(url=url) == Bypass(reason)


def test_headers_that_no_batch_carries() -> None:
    assert "capacity" in aim(headers=(*HEADERS, ("x-vertex-ai-llm-request-type", "dedicated"))).reason
    assert aim(url=CLAUDE, headers=(*HEADERS, ("anthropic-beta", "b"))).reason == "anthropic-beta header"
    assert "OAuth" in aim(headers=(("x-goog-api-key", "AIza"),)).reason


def test_without_a_folder_nothing_is_batched() -> None:
    assert aim(provider=VERTEX) == Bypass(
        "no gcs_prefix: batchify(providers=[Vertex(gcs_prefix='gs://...')]) or BATCHLING_GCS_PREFIX"
    )
    with pytest.raises(ValueError, match="gs://bucket"):
        Vertex(gcs_prefix="bucket/folder")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"stream": True}, "streaming"),
        ({"anthropic_beta": ["b"]}, "parameter anthropic_beta"),
        ({"cachedContent": "projects/p/cachedContents/1"}, "explicit context cache"),
        ({"tools": [{"retrieval": {"vertexRagStore": {"ragCorpora": ["c"]}}}]}, "RAG grounding"),
        ({"generationConfig": {"imageConfig": {"imageSize": "4K"}}}, "images larger than 1K"),
        ({"tools": [{"googleSearch": {}}]}, "an empty object"),
        (with_tool({"$defs": {"a": 1}}), "key $defs begins with $"),
        (with_tool({"properties": {"first name": {"type": "STRING"}}}), "key 'first name' is not a legal column name"),
        (with_tool({"properties": {"": 1}}), "key '' is not a legal column name"),
        (with_tool({"properties": {"A": 1, "a": 1}}), "keys that differ only in upper and lower case"),
        ({"x": deep(15)}, "nesting deeper than 15"),
        ({"x": [[1]]}, "a list of lists"),
        ({"x": [{"y": 1}, {"y": "1"}]}, "key x[].y has several types"),
    ],
)
def test_bodies_that_no_batch_carries(more: dict[str, Any], reason: str) -> None:
    assert aim({**BODY, **more}) == Bypass(reason)


def test_what_the_importer_can_take() -> None:
    body = {**BODY, "x": deep(14), "y": [1, 1.5], "z": None, "stream": False}
    assert isinstance(aim(body), Target)


def test_only_bodies_of_one_shape_share_a_batch() -> None:
    def said(*parts: dict[str, Any]) -> dict[str, Any]:
        return {"contents": [{"role": "user", "parts": list(parts)}]}

    text, image = {"text": "a"}, {"fileData": {"fileUri": "gs://b/i"}}
    assert aim(said(text)) == aim(said({"text": "b"}, {"text": "c"}))
    assert aim(said(text, image)) == aim(said(image, image, text))
    assert aim({**BODY, "x": None}) == aim()
    others = [said(text), said(text, image), {**said(text), "x": 1}, {**said(text), "x": "1"}, {**said(text), "x": [1]}]
    others += [{**said(text), "x": 1.5}, {**said(text), "x": True}]
    assert len({aim(body) for body in others}) == len(others)


def test_an_account_is_a_project_and_not_its_token() -> None:
    assert aim(headers=(("authorization", "Bearer ya29.b"),)) == aim()
    assert aim(headers=(*HEADERS, ("x-goog-user-project", "q"))) != aim()
    assert aim(url=URL.replace("projects/p/", "projects/q/")).account != aim().account
    assert aim(url=URL.replace("us-central1", "us-east1")) != aim()
    one, other = (
        aim(headers=headers, provider=THERE, official=False) for headers in (HEADERS, (*HEADERS, ("x-tenant", "t")))
    )
    assert one.account != other.account


def submitted(*uploads: Response) -> tuple[list[Any], Job]:
    raw = json.dumps(BODY, indent=1).encode()
    items = [Item(f"1{n}", Request("POST", URL, (), raw)) for n in range(2)]
    created = answer({"name": "projects/9/locations/us-central1/batchPredictionJobs/77"})
    return play(STORE.submit(site(), items, "t1"), *uploads, created)


def test_submit_uploads_and_then_creates_once() -> None:
    (upload, create), job = submitted(answer({"name": "x"}))

    assert upload.request.url == (
        f"{STORAGE}/upload/storage/v1/b/bkt/o?uploadType=media&name=a%20b%2Fin%2Ft1.jsonl&ifGenerationMatch=0"
    )
    assert dict(upload.request.headers) == {
        "authorization": "Bearer ya29.a",
        "content-type": "application/jsonl",
    }
    lines = [json.loads(line) for line in body_of(upload).splitlines()]
    assert lines == [{"custom_id": "r10", "request": BODY}, {"custom_id": "r11", "request": BODY}]
    assert (upload.repeatable, create.repeatable) == (True, False)
    assert (create.request.method, create.request.url) == ("POST", f"{BASE}/batchPredictionJobs")
    assert json.loads(create.request.body) == {
        "displayName": "batchling-t1",
        "model": "publishers/google/models/gemini-3-flash",
        "labels": {"batchling": "t1"},
        "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": ["gs://bkt/a b/in/t1.jsonl"]}},
        "outputConfig": {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": "gs://bkt/a b/out/t1"}},
    }
    assert job == Job("projects/9/locations/us-central1/batchPredictionJobs/77", {"output": "gs://bkt/a b/out/t1"})


def test_an_upload_that_is_there_already_is_no_fault() -> None:
    calls, job = submitted(answer({}, 412))
    assert job.id.endswith("/77")
    assert len(calls) == 2
    with pytest.raises(Refused):
        submitted(answer({}, 403))


def test_storage_learns_nothing_of_a_gateway() -> None:
    at = site(headers=(*HEADERS, ("x-gate-key", "secret")), official=False)
    flow = THERE.submit(at, [Item("k", Request("POST", URL, (), b"{}"))], "t")
    assert ("x-gate-key", "secret") not in next(flow).request.headers
    assert ("x-gate-key", "secret") in flow.send(answer({})).request.headers


def polled(said: dict[str, Any]) -> Status:
    job = Job("projects/9/locations/l/batchPredictionJobs/77", {"output": "gs://bkt/out/t1"})
    (call,), status = play(STORE.poll(site(), job), answer(said))
    assert call.request.url == f"{BASE}/batchPredictionJobs/77"
    return status


@pytest.mark.parametrize("word", ["UNSPECIFIED", "QUEUED", "PENDING", "RUNNING", "CANCELLING", "PAUSED", "UPDATING"])
def test_running_words(word: str) -> None:
    status = polled({"state": f"JOB_STATE_{word}"})
    assert (status.state, status.known, status.outputs) == (State.RUNNING, True, ())


@pytest.mark.parametrize("word", ["SUCCEEDED", "CANCELLED", "EXPIRED", "PARTIALLY_SUCCEEDED", "succeeded"])
def test_ended_words(word: str) -> None:
    counts = {"successfulCount": "2", "failedCount": "1", "incompleteCount": "-1"}
    folder = "gs://bkt/out/t1/prediction-model-2026"
    status = polled(
        {"state": f"JOB_STATE_{word}", "completionStats": counts, "outputInfo": {"gcsOutputDirectory": folder}}
    )
    assert (status.state, status.done, status.total, status.outputs) == (State.ENDED, 3, 3, (folder,))
    assert polled({"state": f"JOB_STATE_{word}"}).outputs == ("gs://bkt/out/t1",)


def test_failed_jobs() -> None:
    error = {"code": 9, "message": "no such bucket"}
    failed = polled({"state": "JOB_STATE_FAILED", "error": error})
    paid = polled({"state": "JOB_STATE_FAILED", "error": error, "completionStats": {"successfulCount": "1"}})

    assert (failed.state, failed.errors[0].message, failed.outputs) == (State.FAILED, "no such bucket", ())
    assert (paid.state, paid.done, paid.outputs) == (State.ENDED, 1, ("gs://bkt/out/t1",))


def test_an_unknown_word_is_no_end() -> None:
    status = polled({"state": "JOB_STATE_DAYDREAMING"})
    assert (status.state, status.known) == (State.RUNNING, False)


def test_fetch_reads_every_shard_of_every_page() -> None:
    status = Status(State.ENDED, "succeeded", outputs=("gs://bkt/out/t1/",))
    names = ["out/t1/p-1/predictions_0.jsonl", "out/t1/p-1/predictions_1.jsonl"]
    first = {"items": [{"name": names[0]}, {"name": "out/t1/errors.jsonl"}], "nextPageToken": "n/1"}
    second = {"items": [{"name": names[1]}, {"name": names[0]}, {"name": 5}]}

    calls, _ = play(STORE.fetch(site(), Job("j"), status), answer(first), answer(second), answer(b""), answer(b""))

    objects = f"{STORAGE}/storage/v1/b/bkt/o"
    assert [call.request.url for call in calls] == [
        f"{objects}?prefix=out%2Ft1%2F",
        f"{objects}?prefix=out%2Ft1%2F&pageToken=n%2F1",
        f"{objects}/out%2Ft1%2Fp-1%2Fpredictions_0.jsonl?alt=media",
        f"{objects}/out%2Ft1%2Fp-1%2Fpredictions_1.jsonl?alt=media",
    ]
    assert [call.rows for call in calls] == [False, False, True, True]
    assert all(dict(call.request.headers) == {"authorization": "Bearer ya29.a"} for call in calls)


def test_a_list_that_turns_in_circles_is_left() -> None:
    status = Status(State.ENDED, "succeeded", outputs=("gs://bkt/o",))
    page = answer({"nextPageToken": "a"})
    assert len(play(STORE.fetch(site(), Job("j"), status), page, page)[0]) == 2
    assert play(STORE.find(site(), "t", ["k"], 0.0, frozenset()), page, page)[1] is None


def row(key: str = "rk-0", **said: Any) -> Any:
    return STORE.row(json.dumps({**said, "custom_id": key}).encode())


def test_good_rows() -> None:
    good = row(status="", response={"candidates": [1.0]}, request=BODY)
    assert good.key == "k-0"
    assert (good.response.status, json.loads(good.response.body)) == (200, {"candidates": [1.0]})


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ('Bad Request: {"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}', 400),
        ('{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}', 429),
        ('Something: {"error":{"code":8,"message":"m"}}', 429),
        ('Too Many Requests: {"error":{"message":"m"}}', 429),
        ('Whatever: {"error":{"type":"overloaded_error","message":"m"}} (end)', 529),
        ('Odd: {"error":{"code":1e99,"message":"m"}}', 500),
    ],
)
def test_failed_rows_have_the_json_of_their_status(text: str, status: int) -> None:
    failed = row(status=text, response={}).response
    assert failed.status == status
    assert failed.body.decode() == text[text.index("{") : text.rindex("}") + 1]


@pytest.mark.parametrize(
    ("text", "status"), [("Bad Request: no JSON", 400), ("Not Found: {oops}", 404), ("It broke", 500), ("500 {}", 500)]
)
def test_failed_rows_without_json_keep_their_text(text: str, status: int) -> None:
    failed = row(status=text).response
    assert failed.status == status
    assert json.loads(failed.body)["error"]["message"] == text


def test_claudes_errors_have_the_status_of_their_type() -> None:
    error = {"type": "error", "error": {"type": "rate_limit_error", "message": "m"}}
    failed = row(status="", response=error).response
    assert (failed.status, json.loads(failed.body)) == (429, error)
    assert row(status="", response={"type": "message", "content": []}).response.status == 200


@pytest.mark.parametrize("text", ["", "Cancelled", 'Client Closed: {"error":{"code":499}}', 'X: {"error":{"code":1}}'])
def test_rows_that_never_ran(text: str) -> None:
    assert row(status=text, response={}).response is None


@pytest.mark.thorough
@given(
    st.binary(max_size=80)
    | st.builds(
        lambda status, response: json.dumps({"custom_id": "rk", "status": status, "response": response}).encode(),
        st.text(max_size=20) | st.integers() | st.sampled_from([f'{{"error":{{"code":{10**30}}}}}', "{" * 3_000]),
        st.none() | st.text(max_size=5) | st.dictionaries(st.sampled_from(["type", "error"]), st.text(max_size=5)),
    )
)
def test_any_bytes_are_a_row_or_one_named_error(line: bytes) -> None:
    try:
        found = STORE.row(line)
    except ValueError as fault:
        assert str(fault) in (NOT_JSON, "a row without a key", "not a result line")
    else:
        assert found.response is None or 200 <= found.response.status <= 599


def test_find_by_label() -> None:
    other = {"name": "projects/9/locations/l/batchPredictionJobs/1", "createTime": "2026-11-23T09:00:00Z"}
    destination = {"gcsDestination": {"outputUriPrefix": "gs://old/out/t1"}}
    ours = {"name": "projects/9/locations/l/batchPredictionJobs/2", "labels": {"batchling": "t1"}}
    since = 1795424400.0  # 2026-11-23T09:00:00Z

    def found(*pages: dict[str, Any]) -> tuple[list[str], Job | None]:
        calls, job = play(STORE.find(site(), "t1", ["k"], since, frozenset()), *map(answer, pages))
        return [call.request.url for call in calls], job

    first = f"{BASE}/batchPredictionJobs?filter=labels.batchling%3Dt1&pageSize=100"
    assert found({}) == ([first], None)
    assert found({"batchPredictionJobs": [other], "nextPageToken": "n"}, {"batchPredictionJobs": [ours]}) == (
        [first, f"{first}&pageToken=n"],
        Job(str(ours["name"]), {"output": "gs://bkt/a b/out/t1"}),
    )
    assert found({"batchPredictionJobs": [{**ours, "outputConfig": destination}]})[1] == Job(
        str(ours["name"]), {"output": "gs://old/out/t1"}
    )
    old = {**other, "createTime": "2026-11-23T08:00:00Z"}
    assert found({"batchPredictionJobs": [old], "nextPageToken": "n"}, {"batchPredictionJobs": [ours]})[1] is not None


def test_cancel() -> None:
    over = {"error": {"code": 400, "status": "FAILED_PRECONDITION", "message": "m"}}
    (call,), _ = play(STORE.cancel(site(), Job("projects/9/locations/l/batchPredictionJobs/7")), answer({}))
    assert (call.request.method, call.request.url) == ("POST", f"{BASE}/batchPredictionJobs/7:cancel")
    play(STORE.cancel(site(), Job("7")), answer(over, 400))
    with pytest.raises(Refused):
        play(STORE.cancel(site(), Job("7")), answer({}, 404))


def test_verdicts() -> None:
    missing = Fault("Publisher Model `projects/p/x` was not found or your project has no access", "NOT_FOUND")
    assert VERTEX.judge(404, missing) is Verdict.REAL_TIME
    assert VERTEX.judge(404, Fault("The specified bucket does not exist.")) is Verdict.NO
    assert VERTEX.judge(429, Fault("m", "RESOURCE_EXHAUSTED")) is Verdict.LATER
    assert VERTEX.judge(400, Fault("m", "RESOURCE_EXHAUSTED")) is Verdict.FULL
    assert VERTEX.judge(413, Fault("m")) is Verdict.LARGE


def test_failures_and_samples_have_the_providers_shape() -> None:
    failed = json.loads(VERTEX.failure(424, Fault("why")).body)["error"]
    assert (failed["code"], failed["message"]) == (424, "why")
    assert "candidates" in json.loads(VERTEX.rehearse(aim(), BODY).body)
    said = json.loads(VERTEX.rehearse(aim(url=CLAUDE), {"messages": [{"role": "user", "content": "hi"}]}).body)
    assert (said["type"], said["model"]) == ("message", "claude-sonnet-4-5@20250929")
