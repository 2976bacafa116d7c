"""What no batch can carry goes real time after all, and is reported."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import aiohttp
import httpx
import pytest
import requests

from batchling import batchify
from batchling.providers import PROVIDERS
from batchling.testing import ProviderServer
from tests.engine.calls import TLS, ask_all, chat, said, scope

BODY = b'{"detail":"Not Found"}'
LITELLM = b'{"error":{"message":"%s","type":"internal_server_error","param":null,"code":"%d"}}'
NO_FILES = LITELLM % (b"files_settings is not set, set it on your config.yaml file.", 500)
NO_GROQ = LITELLM % (b"litellm.BadRequestError: LiteLLM doesn't support groq for 'create_file'.", 400)


@pytest.mark.parametrize(("status", "body"), [(404, BODY), (405, BODY), (501, BODY), (500, NO_FILES), (400, NO_GROQ)])
def test_a_gateway_without_a_batch_api(
    provider_server: ProviderServer, capsys: pytest.CaptureFixture[str], status: int, body: bytes
) -> None:
    """Found out at the first submission; the calls after it do not try again."""
    provider_server.fail_call("POST", "/files", status, body, times=9)
    with scope(provider_server, batch_size=3, batch_window_seconds=5.0):
        first = ask_all(provider_server, ["a", "b", "c"])
        second = ask_all(provider_server, ["d"])

    assert [answer.status_code for answer in [*first, *second]] == [200] * 4
    assert len({said(answer) for answer in first}) == 3
    assert len(provider_server.billed(batch=False)) == 4
    assert len(provider_server.calls("POST", "/files")) == 1
    report = capsys.readouterr().err
    assert "4 went real time" in report
    assert "the gateway has no batch API" in report


def test_a_batch_api_that_ends_after_the_upload(provider_server: ProviderServer) -> None:
    provider_server.fail_call("POST", "/batches", 405, BODY)
    with scope(provider_server, batch_size=2, batch_window_seconds=5.0):
        assert [answer.status_code for answer in ask_all(provider_server, ["a", "b"])] == [200, 200]
    assert len(provider_server.billed(batch=False)) == 2


@pytest.mark.thorough
def test_a_missing_gateway_is_not_asked_twice_for_one_call(provider_server: ProviderServer) -> None:
    """The real-time call goes out once, as the caller made it."""
    provider_server.fail_call("POST", "/files", 404, BODY)
    with scope(provider_server):
        ask_all(provider_server, ["a"])
    assert len(provider_server.calls("POST", "/chat/completions")) == 1


@pytest.mark.parametrize("library", ["httpx", "requests", "aiohttp"])
def test_calls_to_hosts_that_nobody_knows_are_reported(
    provider_server: ProviderServer, capsys: pytest.CaptureFixture[str], library: str
) -> None:
    """They leave as they came; only what looks like a call of an LLM is worth a line."""
    url = f"{provider_server.openai_url}/chat/completions"
    headers = {"authorization": "Bearer sk-1"}

    async def by_aiohttp() -> int:
        async with aiohttp.ClientSession() as session, session.post(url, json=chat("a"), headers=headers) as answer:
            return answer.status

    with batchify():
        if library == "httpx":
            status = httpx.post(url, json=chat("a"), headers=headers, verify=TLS).status_code
        elif library == "requests":
            status = requests.post(url, json=chat("a"), headers=headers, timeout=20).status_code
        else:
            status = asyncio.run(by_aiohttp())
        httpx.post(f"{provider_server.url}/orders/v1/responses/7", json={}, verify=TLS)
        httpx.get(f"{provider_server.openai_url}/models", headers=headers, verify=TLS)

    assert status == 200
    assert len(provider_server.billed(batch=False)) == 1
    report = capsys.readouterr().err
    assert "1 went real time" in report
    assert "a local server (if it leads to a provider, name it in gateways=)" in report
    assert "full price" not in report


@pytest.mark.thorough
def test_an_official_host_that_has_no_batches_for_an_account(
    provider_server: ProviderServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The batch API is there, and not for this account (tobert/kaibo#123): real time, reported."""
    root = provider_server.openai_url
    official = replace(PROVIDERS["openai"], roots=(root,))  # type: ignore[type-var]
    provider_server.fail_call("POST", "/files", 404, BODY)
    with scope(provider_server, gateways={}, providers=[official]):
        assert [answer.status_code for answer in ask_all(provider_server, ["a"])] == [200]
    assert len(provider_server.billed(batch=False)) == 1
    assert "the account has no batch API" in capsys.readouterr().err


@pytest.mark.thorough
def test_a_model_without_a_batch_form(provider_server: ProviderServer, capsys: pytest.CaptureFixture[str]) -> None:
    """The job fails because of its model; real time has it. Other models are batched all the same."""
    provider_server.fail_job("model_not_found", "The model `m` is not supported in a batch.", 1, "body.model")
    with scope(provider_server, batch_size=2, batch_window_seconds=1.0):
        first = ask_all(provider_server, ["a", "b"])
        second = ask_all(provider_server, ["c"])
        other = httpx.post(
            f"{provider_server.openai_url}/chat/completions",
            json={**chat("d"), "model": "other"},
            headers={"authorization": "Bearer sk-1"},
            verify=TLS,
        )

    assert [answer.status_code for answer in [*first, *second, other]] == [200] * 4
    assert len(provider_server.billed(batch=False)) == 3
    assert [bill.model for bill in provider_server.billed(batch=True)] == ["other"]
    assert "model without a batch form" in capsys.readouterr().err


@pytest.mark.thorough
def test_a_model_that_does_not_exist_gets_the_providers_own_answer(provider_server: ProviderServer) -> None:
    url, headers = f"{provider_server.openai_url}/chat/completions", {"authorization": "Bearer sk-1"}
    body = {**chat("a"), "model": "no-such-model"}
    plain = httpx.post(url, json=body, headers=headers, verify=TLS)
    with scope(provider_server):
        batched = httpx.post(url, json=body, headers=headers, verify=TLS)

    assert (batched.status_code, batched.json()) == (plain.status_code, plain.json())
    assert plain.status_code == 404


@pytest.mark.thorough
@pytest.mark.parametrize("library", ["httpx", "httpx async", "requests", "aiohttp"])
def test_every_library_sends_what_comes_back(provider_server: ProviderServer, library: str) -> None:
    """With the body, the headers and the time limit that it had."""
    provider_server.fail_call("POST", "/files", 404, BODY)
    url, headers = f"{provider_server.openai_url}/chat/completions", {"authorization": "Bearer sk-1"}

    async def by_aiohttp() -> Any:
        async with aiohttp.ClientSession() as session, session.post(url, json=chat("a"), headers=headers) as answer:
            return await answer.json()

    async def by_httpx() -> Any:
        async with httpx.AsyncClient(verify=TLS) as client:
            return (await client.post(url, json=chat("a"), headers=headers)).json()

    ways: dict[str, Any] = {
        "httpx": lambda: httpx.post(url, json=chat("a"), headers=headers, verify=TLS).json(),
        "httpx async": lambda: asyncio.run(by_httpx()),
        "requests": lambda: requests.post(url, json=chat("a"), headers=headers, timeout=9).json(),
        "aiohttp": lambda: asyncio.run(by_aiohttp()),
    }
    with scope(provider_server):
        answer = ways[library]()

    assert answer["choices"]
    assert len(provider_server.billed(batch=False)) == 1
    assert len(provider_server.calls("POST", "/chat/completions")) == 1


def test_too_few_for_a_batch(provider_server: ProviderServer, capsys: pytest.CaptureFixture[str]) -> None:
    headers = {"authorization": "Bearer sk-1"}
    with scope(provider_server):
        answer = httpx.post(
            f"{provider_server.url}/cerebras/v1/chat/completions", json=chat("a"), headers=headers, verify=TLS
        )

    assert answer.status_code == 200
    assert len(provider_server.billed(batch=False)) == 1
    assert "a batch needs 10 requests" in capsys.readouterr().err
