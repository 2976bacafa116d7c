"""What of Gemini the contract does not tell."""

from __future__ import annotations

import json

import pytest

from batchling.core.model import Fault, Item, Job, Request, Response, Row, Site, State, Target
from batchling.providers.base import Garbled, Verdict
from batchling.providers.gemini import GEMINI, INLINE_ROWS
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


def test_a_full_queue_is_waited_out() -> None:
    assert GEMINI.judge(429, Fault("", "RESOURCE_EXHAUSTED")) is Verdict.LATER
    assert GEMINI.judge(400, Fault("", "API_KEY_INVALID")) is Verdict.NO
