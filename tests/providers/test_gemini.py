"""What of Gemini the contract does not tell."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batchling.core.model import Bypass, Fault, Item, Job, Request, Response, Row, Site, State, Target
from batchling.providers.base import Garbled, Unsettled, Verdict
from batchling.providers.google.gemini import GEMINI, INLINE_ROWS
from batchling.providers.google.gemini_openai import GEMINI_COMPATIBLE
from tests.providers.flows import answer, body_of, play

BASE = "https://generativelanguage.googleapis.com"
TEXTS = b'{"requests": [{"content": {"parts": [{"text": "a"}]}}, {"content": {"parts": [{"text": "b"}]}}]}'


def site(method: str = ":generateContent", model: str = "m") -> Site:
    return Site(Target("gemini", BASE, method, model, "a"), (("x-goog-api-key", "k"),))


def items(count: int, body: bytes = b'{"contents": []}') -> list[Item]:
    return [Item(f"k-{n}", Request("POST", BASE, (), body)) for n in range(count)]


def test_small_batches_go_inline_and_others_by_a_file() -> None:
    named = answer({"name": "batches/j"})
    begun = Response(200, (("x-goog-upload-url", f"{BASE}/upload/x"),))
    filed = answer({"file": {"name": "files/f"}})
    small, job = play(GEMINI.submit(site(), items(INLINE_ROWS), "tag"), named)
    assert len(small) == 1
    assert job == Job("batches/j")
    assert len(json.loads(body_of(small[0]))["batch"]["inputConfig"]["requests"]["requests"]) == INLINE_ROWS

    large, _ = play(GEMINI.submit(site(), items(INLINE_ROWS + 1), "tag"), begun, filed, named)
    assert [call.repeatable for call in large] == [True, True, False]
    assert json.loads(body_of(large[2]))["batch"]["inputConfig"] == {"fileName": "files/f"}
    images, _ = play(GEMINI.submit(site(model="m-image"), items(1), "tag"), begun, filed, named)
    assert len(images) == 3


def test_the_key_goes_to_no_other_host() -> None:
    elsewhere = Response(200, (("x-goog-upload-url", "https://example.org/upload"),))
    with pytest.raises(Garbled, match="another host"):
        play(GEMINI.submit(site(model="m-image"), items(1), "tag"), elsewhere)


def test_texts_of_one_call_are_rows_and_one_answer_again() -> None:
    at = site(":batchEmbedContents")
    calls, _ = play(GEMINI.submit(at, items(2, TEXTS), "tag"), answer({"name": "batches/j"}))
    rows = json.loads(body_of(calls[0]))["batch"]["inputConfig"]["requests"]["requests"]
    assert [row["metadata"] for row in rows[:2]] == [{"key": "k-0", "part": n, "of": 2} for n in (0, 1)]

    said = [{**row, "response": {"embedding": {"values": [n]}}} for n, row in enumerate(rows)]
    said[3] = {"metadata": rows[3]["metadata"], "error": {"code": 3, "message": "too long"}}
    first, second = unpacked(at, list(reversed(said)))
    assert first.response is not None
    assert second.response is not None
    found = {row.key: row.response for row in (first, second) if row.response}
    assert json.loads(found["k-0"].body) == {"embeddings": [{"values": [0]}, {"values": [1]}]}
    assert found["k-1"].status == 400
    assert unpacked(at, said[:1]) == []  # the other text never ran


def test_parts_are_counted_as_the_calls_they_belong_to() -> None:
    """As many rows come as calls were made: more would be waited for."""
    at = site(":batchEmbedContents")
    _, job = play(GEMINI.submit(at, items(2, TEXTS), "tag"), answer({"name": "batches/j"}))
    stats = {"requestCount": "4", "successfulRequestCount": "3", "failedRequestCount": "1"}
    said = {
        "name": "batches/j",
        "metadata": {"state": "BATCH_STATE_SUCCEEDED", "batchStats": stats, "displayName": "t"},
    }
    found = play(GEMINI.find(at, "t", ["k-0", "k-1"], 0.0, frozenset()), answer({"operations": [said]}))[1]

    assert found == job
    status = play(GEMINI.poll(at, job), answer(said))[1]
    assert (status.done, status.total) == (2, 2)


def unpacked(at: Site, said: list[dict[str, object]]) -> list[Row]:
    job = answer({"metadata": {"output": {"inlinedResponses": {"inlinedResponses": said}}}})
    status = play(GEMINI.poll(at, Job("j")), answer({"metadata": {"state": "JOB_STATE_SUCCEEDED"}}))[1]
    assert status.state is State.ENDED
    call = next(GEMINI.fetch(at, Job("j"), status.__class__(State.ENDED, "", outputs=("",))))
    assert call.unpack is not None
    return [GEMINI.row(line) for line in call.unpack(job.body).split(b"\n") if line]


@pytest.mark.parametrize(
    ("code", "status"), [(3, 400), (5, 404), (7, 403), (8, 429), (13, 500), (14, 503), (404, 404), (99, 500)]
)
def test_grpc_codes(code: int, status: int) -> None:
    row = GEMINI.row(json.dumps({"key": "k", "error": {"code": code}}).encode())
    assert row.response is not None
    assert row.response.status == status
    assert json.loads(row.response.body)["error"]["code"] == status


def test_a_cancelled_row_never_ran() -> None:
    assert GEMINI.row(b'{"key": "k", "error": {"code": 1}}') == Row("k", None, "cancelled")


def test_ended_before_its_file_is_there() -> None:
    """Then the engine waits for it: rows are done, and no output is named."""
    said = {"metadata": {"state": "BATCH_STATE_SUCCEEDED", "batchStats": {"successfulRequestCount": "2"}}}
    status = play(GEMINI.poll(site(), Job("j")), answer(said))[1]
    assert (status.state, status.done, status.outputs) == (State.ENDED, 2, ())


def test_a_success_without_counters_has_run() -> None:
    """Not taken for a job of which no row ran, whose rows would be bought again."""
    said = {"metadata": {"state": "JOB_STATE_SUCCEEDED", "batchStats": {"requestCount": "2"}}}
    status = play(GEMINI.poll(site(), Job("j")), answer(said))[1]
    assert (status.state, status.done, status.outputs) == (State.ENDED, 2, ())


def test_an_operation_that_is_done_is_over_whatever_its_word() -> None:
    def polled(**said: Any) -> State:
        return play(GEMINI.poll(site(), Job("j")), answer({"metadata": {"state": "BATCH_STATE_X"}, **said}))[1].state

    assert polled() is State.RUNNING
    assert polled(done=True) is State.ENDED
    assert polled(done=True, error={"code": 13}) is State.FAILED
    cancelled = {"metadata": {"state": "BATCH_STATE_CANCELLED"}, "done": True, "error": {"code": 13}}
    assert polled(**cancelled) is State.ENDED


def test_find_reads_the_whole_list() -> None:
    """Nobody says that it is sorted."""
    old = {"name": "batches/o", "metadata": {"displayName": "other", "createTime": "2020-01-01T00:00:00Z"}}
    ours = {"name": "batches/j", "metadata": {"displayName": "t", "createTime": "2026-01-01T00:00:00Z"}}
    pages = answer({"operations": [old], "nextPageToken": "n"}), answer({"operations": [ours]})
    calls, found = play(GEMINI.find(site(), "t", ["k"], 1.7e9, frozenset()), *pages)

    assert found == Job("batches/j")
    assert [call.request.url for call in calls][1] == f"{BASE}/v1beta/batches?pageSize=100&pageToken=n"
    assert play(GEMINI.find(site(), "t", ["k"], 0.0, frozenset()), answer({}))[1] is None


@pytest.mark.parametrize(
    "text",
    [
        "models/x is not found for API version v1beta, or is not supported for batchGenerateContent.",
        "Publisher Model `publishers/google/models/x` was not found",
    ],
)
def test_a_model_without_a_batch_form_goes_real_time(text: str) -> None:
    assert GEMINI.judge(404, Fault(text, "NOT_FOUND")) is Verdict.REAL_TIME
    assert GEMINI.judge(404, Fault("File files/f not found", "NOT_FOUND")) is Verdict.LATER


def aim(headers: tuple[tuple[str, str], ...] = (), query: str = "", **body: Any) -> Target | Bypass:
    url = f"{BASE}/v1beta/models/m:generateContent{query}"
    route = GEMINI.route("POST", url, official=True)
    assert route is not None
    return GEMINI.target(route, Request("POST", url, headers), body)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"serviceTier": "flex"}, "service tier flex"),
        ({"service_tier": "priority"}, "service tier priority"),
        ({"generationConfig": {"responseJsonSchema": {"type": "object"}}}, "parameter responseJsonSchema"),
        ({"generation_config": {"response_json_schema": {"type": "object"}}}, "parameter responseJsonSchema"),
    ],
)
def test_bodies_that_no_batch_carries(body: dict[str, Any], reason: str) -> None:
    assert aim(**body) == Bypass(reason)
    assert isinstance(aim(serviceTier="standard", generationConfig={"responseSchema": {"type": "OBJECT"}}), Target)


def test_only_json_is_asked_of_a_batch() -> None:
    assert isinstance(aim(query="?$alt=json;enum-encoding=int&key=k"), Target)
    assert aim(query="?alt=sse") == Bypass("query parameters")
    assert aim(query="?fields=candidates") == Bypass("query parameters")


def test_who_asks() -> None:
    """A key in the header or in the URL is one account; of an OAuth token, which lasts an hour, the project is."""
    assert aim((("x-goog-api-key", "k"),)) == aim(query="?key=k") == aim((("x-goog-api-key", "k"),), "?key=k")
    assert aim((("x-goog-api-key", "k"),)) != aim((("x-goog-api-key", "l"),))
    old, new, other = (
        aim((("authorization", f"Bearer ya29.{token}"), ("x-goog-user-project", project)))
        for token, project in (("a", "p"), ("b", "p"), ("b", "q"))
    )
    assert old == new != other
    assert aim((("authorization", "Bearer a"),)) != aim((("authorization", "Bearer b"),))


def test_a_full_queue_is_waited_out() -> None:
    assert GEMINI.judge(429, Fault("", "RESOURCE_EXHAUSTED")) is Verdict.LATER
    assert GEMINI.judge(400, Fault("", "API_KEY_INVALID")) is Verdict.NO


COMPATIBLE = Site(Target("gemini-openai", f"{BASE}/v1beta/openai", "/v1/x", "m", "a"), (("authorization", "Bearer k"),))


def test_a_lost_compatible_job_is_found_on_any_page() -> None:
    """By any of its files: an upload that was repeated made two of the same name."""
    other, first, second = (
        {"name": f"files/{n}", "displayName": name}
        for n, name in (("0", "x"), ("1", "batchling-t"), ("2", "batchling-t"))
    )
    files = answer({"files": [other, second], "nextPageToken": "n"}), answer({"files": [first]})
    jobs = [{"id": f"batches/{n}", "input_file_id": f"files/{n}", "created_at": 1} for n in "02"]
    listed = answer({"data": jobs[:1], "has_more": True}), answer({"data": jobs[1:]})
    calls, found = play(GEMINI_COMPATIBLE.find(COMPATIBLE, "t", ["k"], 1.7e9, frozenset()), *files, *listed)

    assert found is not None
    assert found.id == "batches/2"
    assert calls[1].request.url == f"{BASE}/v1beta/files?pageSize=100&pageToken=n"
    assert dict(calls[1].request.headers) == {"x-goog-api-key": "k"}


def test_a_compatible_job_that_cannot_be_listed_is_not_bought_again() -> None:
    file = answer({"files": [{"name": "files/1", "displayName": "batchling-t"}]})
    with pytest.raises(Unsettled):
        play(GEMINI_COMPATIBLE.find(COMPATIBLE, "t", ["k"], 0.0, frozenset()), file, answer({}, 404))


def test_a_key_of_the_native_header_stays_there() -> None:
    at = Site(COMPATIBLE.target, (("x-goog-api-key", "k"),))
    calls, _ = play(GEMINI_COMPATIBLE.find(at, "t", ["k"], 0.0, frozenset()), answer({}))
    assert calls[0].request.headers == (("x-goog-api-key", "k"),)
