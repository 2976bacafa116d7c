"""The embedded server by itself: plain calls, no batching."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from batchling.testing import ProviderServer
from tests.testing.openai_jobs import CHAT, OPENAI, create, get, row, upload

CLAUDE = {"x-api-key": "sk-1", "anthropic-version": "2023-06-01"}


@pytest.mark.thorough
def test_an_openai_job_from_upload_to_rows() -> None:
    with ProviderServer(polls_to_finish=3) as server:
        job = create(server, upload(server, [row("a"), row("b", temperature=9), row("c")]))
        words = [job["status"], *(get(server, f"batches/{job['id']}").json()["status"] for _ in range(3))]
        ended = get(server, f"batches/{job['id']}").json()
        lines = [
            json.loads(line)
            for name in ("output_file_id", "error_file_id")
            for line in get(server, f"files/{ended[name]}/content").content.split(b"\n")
            if line
        ]
        listed = get(server, "batches?limit=1").json()

        assert words == ["validating", "in_progress", "in_progress", "completed"]
        assert ended["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
        assert {line["custom_id"]: line["response"]["status_code"] for line in lines} == {"a": 200, "b": 400, "c": 200}
        assert [bill.key for bill in server.billed(batch=True)] == ["a", "c"]
        assert server.jobs() == {job["id"]: 3}
        assert (listed["data"][0]["id"], listed["has_more"]) == (job["id"], False)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("rows", "code", "line"),
    [
        ([row("a"), b"{"], "invalid_json_line", 2),
        ([row("a"), [1]], "invalid_json_line", 2),
        ([row("a"), row("a")], "duplicate_custom_id", 2),
        ([row("a"), row("b", model="other")], "mismatched_model", 2),
        ([row("a", stream=True)], "streaming_unsupported", 1),
        ([row("a", model=None)], "invalid_request", 1),
        ([{**row("a"), "url": "/v1/responses"}], "invalid_url", 1),
        ([{"custom_id": "a"}], "missing_required_parameter", 1),
        ([], "empty_file", None),
    ],
)
def test_openais_validation(provider_server: ProviderServer, rows: list[Any], code: str, line: int | None) -> None:
    job = create(provider_server, upload(provider_server, rows))
    failed = get(provider_server, f"batches/{job['id']}").json()

    assert failed["status"] == "failed"
    assert [(fault["code"], fault["line"]) for fault in failed["errors"]["data"]] == [(code, line)]
    assert provider_server.billed() == []


@pytest.mark.thorough
def test_accounts_do_not_see_each_other(provider_server: ProviderServer) -> None:
    file = upload(provider_server, [row("a")])
    job = create(provider_server, file)
    stranger = {"authorization": "Bearer sk-2"}

    assert get(provider_server, f"batches/{job['id']}", stranger).status_code == 404
    assert get(provider_server, f"files/{file}", stranger).status_code == 404
    assert get(provider_server, "batches", stranger).json()["data"] == []
    assert "error" in create(provider_server, file, stranger)


def test_a_cancelled_job_runs_nothing(provider_server: ProviderServer) -> None:
    job = create(provider_server, upload(provider_server, [row("a")]))
    cancelled = httpx.post(f"{provider_server.openai_url}/batches/{job['id']}/cancel", headers=OPENAI).json()
    ended = get(provider_server, f"batches/{job['id']}").json()

    assert (cancelled["status"], ended["status"], ended["output_file_id"]) == ("cancelling", "cancelled", None)
    assert b"batch_cancelled" in get(provider_server, f"files/{ended['error_file_id']}/content").content
    assert provider_server.billed() == []


@pytest.mark.thorough
def test_an_anthropic_job_from_create_to_rows(provider_server: ProviderServer) -> None:
    provider_server.hold()
    url = f"{provider_server.anthropic_url}/v1/messages/batches"
    rows = [{"custom_id": key, "params": {**CHAT, "max_tokens": tokens}} for key, tokens in (("a", 9), ("b", 10**6))]
    job = httpx.post(url, json={"requests": rows}, headers=CLAUDE).json()
    early = httpx.get(f"{url}/{job['id']}/results", headers=CLAUDE)
    provider_server.release()
    ended = httpx.get(f"{url}/{job['id']}", headers=CLAUDE).json()
    lines = httpx.get(ended["results_url"], headers=CLAUDE).content.split(b"\n")
    results = {said["custom_id"]: said["result"]["type"] for said in map(json.loads, filter(None, lines))}

    assert job["request_counts"]["processing"] == 2
    assert (early.status_code, early.json()["error"]["type"]) == (404, "not_found_error")
    assert ended["request_counts"] == {"processing": 0, "succeeded": 1, "errored": 1, "canceled": 0, "expired": 0}
    assert results == {"a": "succeeded", "b": "errored"}
    assert httpx.delete(f"{url}/{job['id']}", headers=CLAUDE).json()["type"] == "message_batch_deleted"


@pytest.mark.parametrize(
    ("requests", "part"),
    [
        ([], "at least"),
        ([{"custom_id": "a b", "params": {}}], "pattern"),
        ([{"custom_id": "a"}], "params"),
        ([{"custom_id": "a", "params": {}}] * 2, "Duplicate"),
    ],
)
def test_anthropics_envelope_is_checked(provider_server: ProviderServer, requests: list[Any], part: str) -> None:
    url = f"{provider_server.anthropic_url}/v1/messages/batches"
    refused = httpx.post(url, json={"requests": requests}, headers=CLAUDE)

    assert refused.status_code == 400
    assert part in refused.json()["error"]["message"] or part == "at least"


@pytest.mark.thorough
def test_keys_are_checked(provider_server: ProviderServer) -> None:
    bad = httpx.post(f"{provider_server.openai_url}/chat/completions", json=CHAT)
    both = {**CLAUDE, "authorization": "Bearer sk-1"}
    doubled = httpx.post(f"{provider_server.anthropic_url}/v1/messages", json=CHAT, headers=both)
    no_version = httpx.post(f"{provider_server.anthropic_url}/v1/messages", json=CHAT, headers={"x-api-key": "k"})

    assert (bad.status_code, doubled.status_code, no_version.status_code) == (401, 401, 400)


@pytest.mark.thorough
def test_faults_strike_once(provider_server: ProviderServer) -> None:
    url = f"{provider_server.openai_url}/batches"
    provider_server.fail_call("GET", "/batches", 503, b"busy")
    provider_server.drop_call("GET", "/batches")

    assert httpx.get(url, headers=OPENAI).text == "busy"
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(url, headers=OPENAI)
    assert httpx.get(url, headers=OPENAI).status_code == 200
    assert [seen.status for seen in provider_server.calls("GET", "/batches")] == [503, 0, 200]


def test_a_job_takes_its_time() -> None:
    with ProviderServer(delay=3600, retry_after="7") as server:
        url = f"{server.anthropic_url}/v1/messages/batches"
        rows = [{"custom_id": "a", "params": {**CHAT, "max_tokens": 9}}]
        job = httpx.post(url, json={"requests": rows}, headers=CLAUDE).json()
        answer = httpx.get(f"{url}/{job['id']}", headers=CLAUDE)

        assert (answer.json()["processing_status"], answer.headers["retry-after"]) == ("in_progress", "7")
