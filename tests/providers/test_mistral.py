"""What of Mistral the contract does not tell."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batchling.core.model import Bypass, Fault, Item, Job, Request, Site, State, Target
from batchling.providers.mistral import INLINE_ROWS, MISTRAL
from tests.providers.flows import answer, body_of, play

ROOT = "https://api.mistral.ai/v1"
AT = Site(Target("mistral", ROOT, "/v1/chat/completions", "m", "a"))


def items(count: int) -> list[Item]:
    return [Item(f"k-{n}", Request("POST", ROOT, (), b'{"model": "m", "stream": false, "n": 1}')) for n in range(count)]


def test_small_batches_go_inline_and_others_by_a_file() -> None:
    made = answer({"id": "j"})
    (small,), _ = play(MISTRAL.submit(AT, items(2), "t"), made)
    order = json.loads(body_of(small))
    assert order["requests"] == [{"custom_id": f"k-{n}", "body": {"n": 1}} for n in range(2)]
    assert (order["model"], order["metadata"], order["timeout_hours"]) == ("m", {"batchling": "t"}, 24)

    large, _ = play(MISTRAL.submit(AT, items(INLINE_ROWS + 1), "t"), answer({"id": "f"}), made)
    assert [call.repeatable for call in large] == [True, False]
    assert json.loads(body_of(large[1]))["input_files"] == ["f"]


def polled(**said: Any) -> Any:
    return play(MISTRAL.poll(AT, Job("j")), answer({"id": "j", **said}))[1]


def test_where_the_rows_are() -> None:
    both = {"output_file": "o", "error_file": "e", "input_files": ["i"]}
    assert polled(status="TIMEOUT_EXCEEDED", **both).outputs == ("o", "e")
    assert polled(status="SUCCESS", outputs=[{}], input_files=["i"]).outputs == ("",)
    # Rows that came inline and are told only to who asks for them.
    assert polled(status="CANCELLED", outputs=None, input_files=[]).outputs == ("",)
    assert polled(status="SUCCESS", outputs=None, input_files=["i"], completed_requests=2).outputs == ()
    assert polled(status="CANCELLATION_REQUESTED").state is State.RUNNING


def test_find_reads_from_the_newest_job_on() -> None:
    """Page by page, however few jobs are on one."""

    def page(*jobs: tuple[str, str, int]) -> Any:
        data = [{"id": name, "metadata": {"batchling": tag}, "created_at": made} for name, tag, made in jobs]
        return answer({"data": data, "total": 3})

    find = MISTRAL.find
    calls, job = play(find(AT, "t", ["k"], 1000.0, frozenset()), page(("a", "x", 2000)), page(("b", "t", 1500)))
    assert job == Job("b")
    assert "order_by=-created" in calls[0].request.url
    assert play(find(AT, "t", ["k"], 1000.0, frozenset()), page(("a", "x", 2000), ("c", "x", 100)))[1] is None


def test_rows_and_failures_have_mistrals_shape() -> None:
    line = {"custom_id": "a", "response": {"status_code": 429, "body": None}, "error": "Rate limit exceeded"}
    failed = MISTRAL.row(json.dumps(line).encode()).response
    assert failed is not None
    assert failed.status == 429
    assert json.loads(failed.body)["message"] == "Rate limit exceeded"
    assert json.loads(MISTRAL.failure(424, Fault("why")).body)["message"] == "why"
    own = {"custom_id": "a", "response": {"status_code": 422, "body": {"detail": []}}, "error": None}
    assert (MISTRAL.row(json.dumps(own).encode()).response or failed).body == b'{"detail": []}'


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/conversations", {"model": "m", "inputs": "hi", "store": False}, Target),
        ("/conversations", {"model": "m", "inputs": "hi"}, Bypass("stored conversation")),
        ("/conversations", {"agent_id": "a", "inputs": "hi", "store": False}, Bypass("no model")),
        ("/conversations/c1", {"inputs": "hi"}, Bypass("endpoint without a batch form")),
        ("/audio/transcriptions", {"model": "m", "file_url": "u"}, Bypass("endpoint without a batch form")),
    ],
)
def test_conversations(path: str, body: dict[str, Any], expected: Any) -> None:
    """They are paid for, other than at OpenAI: none passes unreported."""
    route = MISTRAL.route("POST", ROOT + path, official=True)
    assert route is not None
    found = MISTRAL.target(route, Request("POST", ROOT + path), body)
    assert found == expected or (expected is Target and isinstance(found, Target))
