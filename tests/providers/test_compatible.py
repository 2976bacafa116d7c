"""What the providers of OpenAI's dialect do each in its own way, beyond the contract that holds for all."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from batchling.core.fingerprint import decode_body
from batchling.core.model import Bypass, Item, Job, Request, Response, Site, State, Target
from batchling.providers import PROVIDERS, compatible
from batchling.providers.compatible import DOUBLEWORD, GROQ, NOVITA, PARASAIL, TOGETHER
from batchling.providers.reading import read_fault
from batchling.providers.routes import Routes
from batchling.providers.voyage import VOYAGE
from batchling.testing import ProviderServer
from batchling.testing.dialects import DIALECTS
from tests.engine.calls import TLS
from tests.providers.calls import ask, ask_real_time, texts
from tests.providers.flows import answer, play
from tests.providers.provider_cases import BY_NAME

CHAT = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'


def judged(place: str, **body: Any) -> Target | Bypass:
    provider, route = Routes({}).match("POST", place) or pytest.fail("not matched")
    said = {"model": "m", **body}
    return provider.target(
        route, Request("POST", place, (("authorization", "Bearer k"),), json.dumps(said).encode()), said
    )


def site(name: str, endpoint: str = "/v1/chat/completions") -> Site:
    return Site(Target(name, "https://host/v1", endpoint, "m", "a"))


def lines(node: ast.Assign | ast.keyword) -> int:
    return (node.end_lineno or 0) - node.lineno + 1


def test_each_takes_fewer_than_15_lines_beside_its_facts() -> None:
    lengths = {}
    for each in ast.parse(Path(str(compatible.__file__)).read_text()).body:
        if isinstance(each, ast.Assign) and isinstance(each.value, ast.Call):
            facts = [keyword for keyword in each.value.keywords if keyword.arg == "facts"]
            if facts:
                lengths[ast.unparse(each.targets[0])] = lines(each) - sum(map(lines, facts))

    assert set(lengths) == {provider.name.upper() for provider in compatible.COMPATIBLE}
    assert {name: count for name, count in lengths.items() if count >= 15} == {}


@pytest.mark.parametrize("name", DIALECTS)
def test_limits_are_within_what_the_server_takes(name: str) -> None:
    dialect, provider = DIALECTS[name], PROVIDERS[name]
    limits = provider.limits

    assert limits.rows <= dialect.most
    assert limits.bytes < dialect.file_bytes
    assert (limits.row or 0) <= dialect.row_bytes
    assert (
        limits.row is not None
        or dialect.row_bytes >= dialect.file_bytes
        or name in ("siliconflow", "dashscope", "voyage")
    )
    assert limits.least == dialect.least


@pytest.mark.thorough
def test_a_job_is_found_by_either_file_of_an_upload_that_was_repeated(provider_server: ProviderServer) -> None:
    provider_case = BY_NAME["together"]
    provider_server.lose_reply("POST", "/files/upload")
    provider_server.lose_created(0)
    answers = ask(provider_server, provider_case, texts(provider_case))

    assert [each.status_code for each in answers] == [200] * provider_case.texts
    assert len(provider_server.calls("POST", "/files/upload")) == 2
    assert len(provider_server.jobs()) == 1


def test_files_are_looked_through_to_the_last_page() -> None:
    first = answer({"data": [{"id": "f1", "filename": "another.jsonl"}], "has_more": True})
    second = answer({"data": [{"id": "f2", "filename": "batchling-tag.jsonl"}], "has_more": False})
    jobs = answer({"data": [{"id": "j", "input_file_id": "f2", "created_at": 5.0}]})
    calls, job = play(NOVITA.find(site("novita"), "tag", ["k"], 0.0, frozenset()), first, second, jobs)

    assert job == Job("j", {"input_file_id": "f2"})
    assert calls[1].request.url.endswith("/files?after=f1")


def test_a_job_without_metadata_is_known_by_its_file_where_the_echo_is_unsure() -> None:
    listed = [
        {"id": "theirs", "created_at": 1_000.0, "input_file_id": "f1", "metadata": {"of": "others"}},
        {"id": "taken", "created_at": 1_000.0, "input_file_id": "f2", "metadata": None},
        {"id": "old", "created_at": 1.0, "input_file_id": "f3", "metadata": None},
        {"id": "gone", "created_at": 1_000.0, "input_file_id": "f4"},
        {"id": "ours", "created_at": 1_000.0, "input_file_id": "f5", "metadata": {}},
    ]
    flow = PARASAIL.find(site("parasail"), "tag", ["k"], 1_000.0, frozenset({"taken"}))
    found = play(flow, answer({"data": listed}), answer({}, 404), answer({"filename": "batchling-tag.jsonl"}))[1]
    assert found == Job("ours", {"input_file_id": "f5"})
    assert play(GROQ.find(site("groq"), "tag", ["k"], 1_000.0, frozenset()), answer({"data": listed}))[1] is None


def test_a_refused_window_is_replaced_once() -> None:
    items = [Item("k-0", Request("POST", "", (), CHAT))]
    refused = answer({"code": 400, "message": "completion_window must be 24h"}, 400)
    calls, job = play(NOVITA.submit(site("novita"), items, "t"), answer({"id": "f"}), refused, answer({"id": "b"}))
    orders = [decode_body(call.request.body) or {} for call in calls[1:]]

    assert [order["completion_window"] for order in orders] == ["24h", "48h"]
    assert not any(call.repeatable for call in calls[1:])
    assert job.id == "b"


def test_an_hour_at_doubleword(provider_server: ProviderServer) -> None:
    provider_case = BY_NAME["doubleword"]
    answers = ask(provider_server, provider_case, texts(provider_case), providers=[replace(DOUBLEWORD, window="1h")])
    assert [each.status_code for each in answers] == [200] * provider_case.texts
    refused = ask(provider_server, provider_case, ["another"], providers=[replace(DOUBLEWORD, window="2h")])[0]
    assert (refused.status_code, refused.text) == (400, "Invalid value for 'completion_window'.")


def test_a_failed_job_whose_rows_ran_has_their_answers() -> None:
    said = {"id": "b", "status": "failed", "errors": None, "output_file_id": "o", "error_file_id": "e"}
    ran = play(DOUBLEWORD.poll(site("doubleword"), Job("b")), answer({**said, "request_counts": {"failed": 2}}))[1]
    refused = play(DOUBLEWORD.poll(site("doubleword"), Job("b")), answer({**said, "request_counts": {"failed": 0}}))[1]

    assert (ran.state, ran.outputs) == (State.ENDED, ("o", "e"))
    assert refused.state is State.FAILED


@pytest.mark.parametrize(
    ("url", "body", "reason"),
    [
        ("https://api.moonshot.ai/v1/chat/completions", {"model": "kimi-k2.6", "top_p": None}, "parameter top_p"),
        (
            "https://api.siliconflow.cn/v1/chat/completions",
            {"messages": [{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}]},
            "last message not from user",
        ),
        ("https://api.groq.com/openai/v1/audio/transcriptions", {}, "audio without the address of a recording"),
        (
            "https://api.groq.com/openai/v1/audio/translations",
            {"url": "https://example.org/a.mp3", "response_format": "text"},
            "audio as text, which is not JSON",
        ),
        ("https://api.together.ai/v1/audio/transcriptions", {"file": "file-1"}, "audio without"),
        ("https://api.parasail.io/v1/chat/completions", {"max_tokens": 16_385}, "max_tokens above 16,384"),
        ("https://api.parasail.io/v1/chat/completions", {"max_completion_tokens": 99_999}, "max_completion_tokens"),
        ("https://openrouter.ai/api/v1/chat/completions", {"model": "x:online"}, "variant"),
        ("https://openrouter.ai/api/v1/chat/completions", {"provider": {"zdr": True}}, "zero data retention"),
    ],
)
def test_bodies_without_a_batch_form(url: str, body: dict[str, Any], reason: str) -> None:
    found = judged(url, **body)
    assert isinstance(found, Bypass)
    assert reason in found.reason


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("https://api.novita.ai/v3/openai/chat/completions", "https://api.novita.ai/openai/v1"),
        ("https://api.perplexity.ai/responses", "https://api.perplexity.ai/v1"),
        ("https://api.doubleword.ai/v1/messages", "https://api.doubleword.ai/v1"),
        ("https://api.parasail.io/v1/chat/completions", "https://api.parasail.io/v1"),
    ],
)
def test_where_batches_live(url: str, root: str) -> None:
    found = judged(url, messages=[], max_tokens=9)
    assert isinstance(found, Target)
    assert found.base_url == root


def test_rows_of_audio() -> None:
    body = b'{"model": "whisper-large-v3", "url": "https://example.org/a.mp3"}'
    items = [Item("k-0", Request("POST", "", (), body))]
    groq = site("groq", "/v1/audio/transcriptions")
    order = decode_body(
        play(GROQ.submit(groq, items, "t"), answer({"id": "f"}), answer({"id": "b"}))[0][1].request.body
    )
    assert order is not None
    assert order["endpoint"] == "/v1/chat/completions"
    assert json.loads(b"".join(GROQ.rows(groq, items)))["method"] == "POST"
    assert json.loads(b"".join(TOGETHER.rows(site("together", "/v1/audio/translations"), items)))["method"] == "FILE"
    assert json.loads(b"".join(TOGETHER.rows(site("together"), items)))["method"] == "POST"


def test_googles_models_at_openrouter_have_one_response_format_a_batch() -> None:
    url = "https://openrouter.ai/api/v1/chat/completions"
    for model, batches in (("google/gemini", 2), ("openai/gpt", 1)):
        targets = {judged(url, model=model, response_format={"type": kind}) for kind in ("text", "json_object")}
        assert len(targets) == batches
    said = judged(url, model="google/gemini", response_format={"type": "text"}, provider={"only": ["a"]})
    assert isinstance(said, Target)
    items = [Item("k-0", Request("POST", url, (), CHAT))]
    call = play(PROVIDERS["openrouter"].submit(Site(said), items, "t"), answer({"id": "b"}, 202))[0][0]
    order = json.loads(b"".join(call.chunks))
    assert list(order) == ["endpoint", "model", "completion_window", "provider", "requests"]


def test_voyages_errors_have_the_form_that_its_sdk_reads(provider_server: ProviderServer) -> None:
    provider_case = BY_NAME["voyage"]
    provider_server.fail_rows(lambda body: True, 400, {"detail": "too long"})
    answers = ask(provider_server, provider_case, texts(provider_case))
    plain = ask_real_time(provider_server, provider_case, texts(provider_case))

    assert (
        [each.json() for each in answers]
        == [each.json() for each in plain]
        == [{"detail": "too long"}] * provider_case.texts
    )
    assert VOYAGE.failure(424, read_fault(Response(424, (), b"gone"))).body == b'{"detail":"gone"}'


def test_a_repeated_create_at_perplexity_is_harmless(provider_server: ProviderServer) -> None:
    root = f"{provider_server.url}/perplexity/v1"
    headers = {"authorization": "Bearer sk-1", "idempotency-key": "q"}
    row = b'{"custom_id":"k","method":"POST","url":"/v1/responses","body":{"model":"m","input":"a"}}\n'
    with httpx.Client(verify=TLS, headers=headers) as client:
        file = client.post(root + "/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", row)}).json()
        order = {"input_file_id": file["id"], "endpoint": "/v1/responses"}
        jobs = [client.post(root + "/batches", json=order).json()["id"] for _ in range(2)]
    assert jobs[0] == jobs[1]


def test_a_completed_job_without_files_and_counts_is_asked_again(provider_server: ProviderServer) -> None:
    provider_case = BY_NAME["together"]

    def hide(body: bytes) -> bytes:
        return json.dumps({**json.loads(body), "output_file_id": "", "error_file_id": None}).encode()

    provider_server.change_reply("GET", "/together/v1/batches/", hide)
    answers = ask(provider_server, provider_case, texts(provider_case))

    assert [each.status_code for each in answers] == [200] * provider_case.texts
    assert len(provider_server.creates()) == 1


def test_faults_in_plain_words_and_in_html() -> None:
    assert read_fault(Response(402, (), b"No credits\nleft.")).message == "No credits left."
    assert read_fault(Response(502, (), b"<html>")).message == "HTTP 502"
    assert read_fault(Response(502, (), b"")).message == "HTTP 502"


def test_a_list_with_the_oldest_first_is_read_to_its_end() -> None:
    first = answer({"data": [{"id": "a", "created_at": 1.0}, {"id": "b", "created_at": 2.0}], "has_more": True})
    second = answer({"data": [{"id": "ours", "created_at": 1_000.0, "metadata": {"batchling": "tag"}}]})
    found = play(DOUBLEWORD.find(site("doubleword"), "tag", ["k"], 1_000.0, frozenset()), first, second)[1]
    assert found is not None
    assert found.id == "ours"


def test_an_empty_page_before_the_last() -> None:
    first = answer({"data": [], "paging": {"next_cursor": "c"}})
    assert play(GROQ.find(site("groq"), "tag", ["k"], 1_000.0, frozenset()), first, answer({"data": []}))[1] is None


def test_a_token_that_ends_before_the_job_goes_real_time() -> None:
    url = "https://open.bigmodel.cn/api/paas/v4/chat/completions"
    provider, route = Routes({}).match("POST", url) or pytest.fail("not matched")
    for credential, kind in (("id.secret", Target), ("eyJhbGciOi.eyJhcGlfa2V5Ijo.c2ln", Bypass)):
        request = Request("POST", url, (("authorization", f"Bearer {credential}"),), CHAT)
        assert isinstance(provider.target(route, request, {"model": "m"}), kind)
