"""The flows against recorded traffic. The recordings are not part of the repository: skipped where they are absent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batchling.core.model import Flow, Job, Response, Site, State, Status, Target
from batchling.providers.anthropic import ANTHROPIC
from batchling.providers.base import Provider
from batchling.providers.compatible import GROQ
from batchling.providers.google.gemini import GEMINI
from batchling.providers.mistral import MISTRAL
from batchling.providers.openai import OPENAI
from batchling.providers.xai import XAI
from tests.providers.flows import play

FOLDER = Path(__file__).parents[3] / "shared" / "recordings"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no recordings beside the checkout ({FOLDER.name}/)")


def recorded(name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (FOLDER / name).read_bytes().split(b"\n") if line]


def response(entry: dict[str, object]) -> Response:
    headers = entry["headers"]
    assert isinstance(headers, dict)
    return Response(int(str(entry["status"])), tuple(headers.items()), str(entry["body"]).encode())


def site(provider: str, base: str) -> Site:
    return Site(Target(provider, base, "/v1/responses", "m", "a"))


@pytest.mark.parametrize("name", ["openai/ruby_llm_responses.jsonl", "openai/ruby_llm_embeddings.jsonl"])
def test_openai_from_the_first_poll_to_the_rows(name: str) -> None:
    at = site("openai", "https://api.openai.com/v1")
    polls = [e for e in recorded(name) if e["method"] == "GET" and "/batches/" in str(e["url"])]
    statuses = [play(OPENAI.poll(at, Job("b")), response(entry))[1] for entry in polls]
    contents = [e for e in recorded(name) if str(e["url"]).endswith("/content")]
    rows = [OPENAI.row(line) for e in contents for line in str(e["body"]).encode().split(b"\n") if line]

    assert all(status.known for status in statuses)
    assert statuses[0].state is State.RUNNING
    assert statuses[-1].state is State.ENDED
    assert statuses[-1].outputs
    assert {row.key for row in rows} >= {"0", "1"}
    assert all(row.response is not None and row.response.ok for row in rows)


def test_openai_lists_of_every_status_are_understood() -> None:
    at = site("openai", "https://api.openai.com/v1")
    pages = [json.loads(str(e["body"])) for e in recorded("openai/dotnet_ListBatchesProtocol_pages.jsonl")]
    jobs = [job for page in pages for job in page["data"]]
    statuses = [play(OPENAI.poll(at, Job("b")), Response(200, (), json.dumps(job).encode()))[1] for job in jobs]

    assert len(jobs) > 100
    assert all(status.known and status.expires_at for status in statuses)
    assert {status.state for status in statuses} == {State.RUNNING, State.ENDED}


def test_openai_jobs_are_found_in_lists_of_two_years() -> None:
    at = site("openai", "https://api.openai.com/v1")
    pages = recorded("openai/dotnet_ListBatchesProtocol_pages.jsonl")
    listed = [job for page in pages for job in json.loads(str(page["body"]))["data"]]
    alone = {
        job["id"]: play(OPENAI.poll(at, Job("b")), Response(200, (), json.dumps(job).encode()))[1] for job in listed
    }
    calls, found = play(OPENAI.poll_all(at, [Job(name) for name in alone]), *map(response, pages))

    assert found == alone
    assert len(calls) == len(pages)


def test_anthropic_from_the_first_poll_to_the_rows() -> None:
    at = site("anthropic", "https://api.anthropic.com/v1")
    entries = recorded("anthropic/ruby_llm_answers.jsonl")
    polls = [
        e for e in entries if e["method"] == "GET" and not str(e["url"]).endswith("/results") and e["status"] == 200
    ]
    statuses = [play(ANTHROPIC.poll(at, Job("b")), response(entry))[1] for entry in polls]
    results = next(e for e in entries if str(e["url"]).endswith("/results") and e["status"] == 200)
    rows = [ANTHROPIC.row(line) for line in str(results["body"]).encode().split(b"\n") if line]

    assert [status.retry_after for status in statuses if status.state is State.RUNNING][:1] == [10.0]
    assert statuses[-1].state is State.ENDED
    assert len(rows) == 2
    assert all(row.response is not None and row.response.ok for row in rows)


def lines(flow: Flow[None], *entries: dict[str, object]) -> list[bytes]:
    """The rows that a download keeps when its calls get these answers."""
    kept: list[bytes] = []
    queue = [response(entry) for entry in entries]
    call = next(flow, None)
    while call is not None:
        answer = queue.pop(0)
        kept += call.unpack(answer.body).split(b"\n") if call.unpack else answer.body.split(b"\n")
        try:
            call = flow.send(answer)
        except StopIteration:
            call = None
    assert not queue
    return [line for line in kept if line]


def polled(provider: Provider, at: Site, entries: list[dict[str, object]]) -> list[Status]:
    return [play(provider.poll(at, Job("b")), response(entry))[1] for entry in entries]


def test_gemini_from_pending_to_the_rows() -> None:
    at = site("gemini", "https://generativelanguage.googleapis.com")
    entries = recorded("gemini/ruby_llm_inline.jsonl")
    polls = [entry for entry in entries if entry["method"] == "GET"]
    statuses = polled(GEMINI, at, polls)
    # Whoever recorded this named the key after OpenAI's.
    last = {**polls[-1], "body": str(polls[-1]["body"]).replace("custom_id", "key")}
    rows = [GEMINI.row(line) for line in lines(GEMINI.fetch(at, Job("b"), statuses[-1]), last)]

    assert {status.word for status in statuses} <= {"pending", "running", "succeeded"}
    assert all(status.known for status in statuses)
    assert statuses[-1].state is State.ENDED
    assert statuses[-1].done == statuses[-1].total == len(rows)
    assert all(row.response is not None and row.response.ok for row in rows)


def test_gemini_by_a_file() -> None:
    saved = json.loads((FOLDER / "gemini/ellmer_state-capitals-gemini.json").read_bytes())
    at = site("gemini", "https://generativelanguage.googleapis.com")
    body = json.dumps(saved["batch"]).encode()
    status = play(GEMINI.poll(at, Job("b")), Response(200, (), body))[1]

    assert (status.state, status.done, status.total) == (State.ENDED, 4, 4)
    assert status.outputs == (saved["batch"]["response"]["responsesFile"],)


def test_mistral_from_queued_to_the_rows() -> None:
    at = site("mistral", "https://api.mistral.ai/v1")
    entries = recorded("mistral/ruby_llm_answers.jsonl")
    polls = [entry for entry in entries if entry["method"] == "GET" and "inline" not in str(entry["url"])]
    statuses = polled(MISTRAL, at, polls)
    inline = next(entry for entry in entries if "inline" in str(entry["url"]))
    rows = [
        MISTRAL.row(line) for line in lines(MISTRAL.fetch(at, Job("b"), Status(State.ENDED, "", outputs=("",))), inline)
    ]

    assert [status.state for status in statuses] == [State.RUNNING, State.RUNNING, State.ENDED]
    assert all(status.known for status in statuses)
    assert statuses[-1].outputs
    assert {row.key for row in rows} == {"0", "1"}
    assert all(row.response is not None and row.response.ok for row in rows)


def test_xai_from_reading_to_the_rows() -> None:
    at = site("xai", "https://api.x.ai/v1")
    entries = recorded("xai/ruby_llm_answers.jsonl")
    polls = [entry for entry in entries if entry["method"] == "GET" and "results" not in str(entry["url"])]
    statuses = polled(XAI, at, polls)
    pages = [entry for entry in entries if "results" in str(entry["url"])]
    rows = [XAI.row(line) for line in lines(XAI.fetch(at, Job("b"), statuses[-1]), *pages)]

    assert statuses[0].state is State.RUNNING
    assert statuses[-1].state is State.ENDED
    assert statuses[-1].done == statuses[-1].total == len(rows) == 2
    assert all(row.response is not None and b'"chat.completion"' in row.response.body for row in rows)


def test_groq_with_empty_objects_for_nulls() -> None:
    saved = json.loads((FOLDER / "groq/ellmer_state-capitals-groq.json").read_bytes())
    at = site("groq", "https://api.groq.com/openai/v1")
    status = play(GROQ.poll(at, Job("b")), Response(200, (), json.dumps(saved["batch"]).encode()))[1]

    assert (status.state, status.done, status.errors) == (State.ENDED, 4, ())
    assert status.outputs == (saved["batch"]["output_file_id"],)
