"""The controls of the embedded server, at every provider: what its flows meet when one of them is set."""

from __future__ import annotations

import json
import time
from email.utils import parsedate_to_datetime
from math import inf
from typing import Any

import httpx
import pytest

from batchling.core.model import State, Status
from batchling.providers.base import Garbled, Refused, Unsettled
from batchling.testing import ProviderServer
from tests.engine.calls import TLS
from tests.providers.provider_cases import BY_NAME, PROVIDER_CASES, ProviderCase
from tests.testing.openai_jobs import OPENAI, create, get, row, upload
from tests.testing.program import Program

all_providers = pytest.mark.parametrize("provider_case", PROVIDER_CASES, ids=str)
BAD = "poison"


def texts(provider_case: ProviderCase, bad: int | None = None) -> list[str]:
    return [BAD if number == bad else f"text {number}" for number in range(provider_case.texts)]


def holds(text: str, body: object) -> bool:
    return text in json.dumps(body)


def reason(status: Status) -> str:
    return " ".join(fault.message for fault in status.errors)


@all_providers
@pytest.mark.parametrize("at", ["upload", "create", "job"])
def test_one_bad_row_spoils_its_batch(provider_server: ProviderServer, provider_case: ProviderCase, at: str) -> None:
    message = "requests[{index}], at line {line}: {key} is not to our taste"
    said = f"requests[1], at line 2: {'r' * (provider_case.name == 'vertex')}key-0001 is not to our taste"
    provider_server.refuse_batches_with(lambda body: holds(BAD, body), 422, message, at=at)  # type: ignore[arg-type]
    program = Program(provider_server, provider_case)
    fails = (at == "job" and provider_case.name != "anthropic") or (at == "upload" and provider_case.name == "vertex")

    if fails and provider_case.name != "sference":
        status = program.watch(program.submit(texts(provider_case, bad=1)))
        assert status.state is State.FAILED
        assert said in reason(status)
    else:
        with pytest.raises(Refused) as refused:
            program.submit(texts(provider_case, bad=1))
        assert refused.value.response.status == (400 if at == "job" and provider_case.name == "sference" else 422)
        assert said in refused.value.response.body.decode()
    good = program.submit(texts(provider_case))
    assert program.watch(good).state is State.ENDED
    assert provider_server.billed(batch=True) != []
    assert (program.ask(BAD).status_code, program.ask("good").status_code) == (422, 200)


@all_providers
def test_batches_that_are_too_large_or_too_small(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    provider_server.refuse_batches_of(429, "{count} requests, but 2 are left", more_than=provider_case.texts - 1)
    program = Program(provider_server, provider_case)
    with pytest.raises(Refused) as large:
        program.submit(texts(provider_case))
    provider_server.recover()
    provider_server.refuse_batches_of(400, "at least 100 requests", fewer_than=100, at="create")
    with pytest.raises(Refused) as small:
        program.submit(texts(provider_case))
    provider_server.recover()

    assert (large.value.response.status, small.value.response.status) == (429, 400)
    assert f"{provider_case.texts} requests" in large.value.response.body.decode()
    assert program.watch(program.submit(texts(provider_case))).state is State.ENDED


@all_providers
def test_jobs_fail_as_a_whole(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    if provider_case.name in ("anthropic", "sference"):
        pytest.skip("no job fails there")
    provider_server.fail_job("server_error", "we had trouble", times=2)
    program = Program(provider_server, provider_case)
    seen = [program.watch(program.submit(texts(provider_case))) for _ in range(3)]

    assert [status.state for status in seen] == [State.FAILED, State.FAILED, State.ENDED]
    assert "we had trouble" in reason(seen[0])
    assert len(provider_server.billed()) == provider_case.texts


@all_providers
def test_a_failed_job_keeps_what_ran(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    if provider_case.name == "anthropic":
        pytest.skip("no job fails there")
    provider_server.fail_job("server_error", "half-way", done=0.5)
    program = Program(provider_server, provider_case)
    job = program.submit(texts(provider_case))
    status = program.watch(job)

    assert status.word.lower() in ("failed", "job_state_failed") or provider_case.name == "xai"
    assert len(provider_server.billed()) == provider_case.texts / 2
    if status.outputs:
        assert len(program.read(job, status)) == provider_case.texts / 2


@pytest.mark.parametrize(
    "provider_case",
    [provider_case for provider_case in PROVIDER_CASES if provider_case.name not in ("anthropic", "sference", "xai")],
    ids=str,
)
def test_a_job_can_fail_without_a_word(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    provider_server.fail_job()
    program = Program(provider_server, provider_case)
    status = program.watch(program.submit(texts(provider_case)))

    assert status.state is State.FAILED
    assert reason(status) in ("", "the job failed")


@pytest.mark.parametrize("name", ["gemini", "vertex"])
@pytest.mark.parametrize(("code", "word"), [(13, "INTERNAL"), ("RESOURCE_EXHAUSTED",) * 2, ("odd", "INVALID_ARGUMENT")])
def test_a_code_of_googles(provider_server: ProviderServer, name: str, code: str | int, word: str) -> None:
    provider_server.fail_job(code, "no")
    program = Program(provider_server, BY_NAME[name])
    status = program.watch(program.submit(texts(BY_NAME[name])))

    assert [fault.code for fault in status.errors] == [word]


@all_providers
def test_rows_that_are_lost(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    provider_server.lose_rows(lambda body: holds("text 1", body), times=1)
    program = Program(provider_server, provider_case)
    job = program.submit(texts(provider_case))
    status = program.watch(job)

    assert program.read(job, status) == {f"key-{number:04}" for number in range(provider_case.texts) if number != 1}
    assert len(provider_server.billed()) == provider_case.texts
    assert status.done in (0, provider_case.texts)


@pytest.mark.thorough
def test_a_result_file_can_be_empty(provider_server: ProviderServer) -> None:
    provider_server.lose_rows(lambda body: True)
    job = create(provider_server, upload(provider_server, [row("a")]))
    ended = get(provider_server, f"batches/{job['id']}").json()

    assert ended["request_counts"] == {"total": 1, "completed": 1, "failed": 0}
    assert get(provider_server, f"files/{ended['output_file_id']}/content").content == b""


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["openai", "mistral"])
@pytest.mark.parametrize("kind", ["output", "error"])
def test_one_of_two_result_files_can_be_locked(provider_server: ProviderServer, name: str, kind: str) -> None:
    provider_server.fail_call("GET", f"_{kind}", 403, times=inf)
    job = create(provider_server, upload(provider_server, [row("a"), row("b", temperature=9)]))
    ended = get(provider_server, f"batches/{job['id']}").json()
    seen = {end: get(provider_server, f"files/{ended[f'{end}_file_id']}/content") for end in ("output", "error")}

    assert {end: answer.status_code for end, answer in seen.items()} == {"output": 200, "error": 200, kind: 403}


@all_providers
def test_success_in_another_word(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    if provider_case.name == "xai":
        pytest.skip("its jobs have no status word")
    provider_server.call_success("finalised")
    program = Program(provider_server, provider_case)
    status = program.watch(program.submit(texts(provider_case)))

    assert "finalised" in status.word.lower()
    assert len(provider_server.billed()) == provider_case.texts


@all_providers
def test_a_clock_that_is_wrong(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    provider_server.shift_clock(-7200)
    program = Program(provider_server, provider_case)
    job = program.submit(texts(provider_case))
    place = f"{provider_server.url}/{provider_case.name}"
    date = parsedate_to_datetime(httpx.get(place, verify=TLS).headers["date"]).timestamp()

    assert abs(date + 7200 - time.time()) < 60
    assert program.watch(job).state is State.ENDED


def test_a_job_is_as_old_as_the_clock_says(provider_server: ProviderServer) -> None:
    provider_server.shift_clock(600)
    job = create(provider_server, upload(provider_server, [row("a")]))

    assert abs(job["created_at"] - 600 - time.time()) < 60


@all_providers
def test_a_created_job_without_an_id(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    provider_server.lose_created(200, b'{"job": null}')
    with pytest.raises(Garbled):
        Program(provider_server, provider_case).submit(texts(provider_case))
    assert list(provider_server.jobs().values()) == [provider_case.texts]


@all_providers
@pytest.mark.parametrize("shows", ["nothing", "unreadable"])
def test_lists_that_do_not_show_the_job(
    provider_server: ProviderServer, provider_case: ProviderCase, shows: str
) -> None:
    if provider_case.name == "fireworks":
        pytest.skip("its jobs are not listed: their ids are ours")
    program = Program(provider_server, provider_case)
    job = program.submit(texts(provider_case))
    provider_server.spoil_lists(shows, times=1)  # type: ignore[arg-type]
    try:
        hidden = program.find()
    except Unsettled:
        hidden = None

    assert hidden is None
    found = program.find()
    assert found is not None
    assert found.id == job.id


@pytest.mark.parametrize("name", ["openai", "groq", "anthropic", "mistral", "xai", "vertex", "gemini", "openrouter"])
def test_a_list_that_does_not_advance(provider_server: ProviderServer, name: str) -> None:
    """Read by hand: no flow has to end here."""
    provider_case = BY_NAME[name]
    program = Program(provider_server, provider_case)
    for _ in range(3):
        program.submit(texts(provider_case))
    provider_server.spoil_lists("repeating")
    provider_server.show_per_page(2)
    path = {
        "anthropic": "/v1/messages/batches?after_id=x",
        "groq": "/openai/v1/batches?cursor=x",
        "mistral": "/v1/batch/jobs?page=2",
        "xai": "/v1/batches?pagination_token=2",
        "vertex": "/v1/projects/p/locations/us-central1/batchPredictionJobs?pageToken=2",
        "gemini": "/v1beta/batches?pageToken=2",
        "openrouter": "/api/v1/batches?after=x",
    }.get(name, "/v1/batches?after=x")
    url = f"{provider_server.url}/{provider_case.name}{path}"
    page = httpx.get(url, headers=provider_case.headers("sk-1"), verify=TLS).json()
    jobs = next(value for value in page.values() if isinstance(value, list))

    assert len(jobs) == 2
    more = [page.get(key) for key in ("has_more", "paging", "pagination_token", "nextPageToken", "total")]
    assert any(each not in (None, False, "") for each in more)


@pytest.mark.parametrize("status", [301, 307, 308])
@pytest.mark.parametrize("to", ["slash", "host"])
def test_a_call_that_is_redirected(provider_server: ProviderServer, status: int, to: str) -> None:
    provider_server.redirect_call("POST", "/files", status, to, times=inf)  # type: ignore[arg-type]
    form: dict[str, Any] = {"purpose": (None, "batch"), "file": ("in.jsonl", json.dumps(row("a")).encode() + b"\n")}
    url = f"{provider_server.openai_url}/files"
    answer = httpx.post(url, files=form, headers=OPENAI, verify=TLS)
    place = answer.headers["location"]
    there = httpx.post(place, files=form, headers=OPENAI, verify=TLS)

    assert answer.status_code == status
    assert place == (url + "/" if to == "slash" else url.replace("127.0.0.1", "localhost"))
    assert there.json()["object"] == "file"
    assert get(provider_server, "models/").status_code == (200 if to == "slash" else 404)
