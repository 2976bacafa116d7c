"""The flows against recorded traffic. The recordings are not part of the repository: skipped where they are absent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batchling.core.model import Job, Response, Site, State, Target
from batchling.providers.anthropic import ANTHROPIC
from batchling.providers.openai import OPENAI
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
