"""Credentials that run out while a job runs: the newest of the account is used, or a fresh one is got."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from base64 import urlsafe_b64encode
from functools import partial
from typing import Any

import httpx
import pytest

from batchling.core.model import Headers
from batchling.engine.patience import REFUSALS
from batchling.providers.azure import Azure
from batchling.testing import ProviderServer
from tests.engine.calls import TLS, chat, scope
from tests.patience import be_patient
from tests.waiting import wait_for_poll, wait_until

DENIED = b'{"error": {"code": "401", "message": "The token has expired."}}'


def entra(name: str, of: str = "me") -> str:
    """A token as Entra gives them: it tells for whom it is, and is another one each hour."""
    claims = urlsafe_b64encode(json.dumps({"tid": "tenant", "oid": of, "jti": name}).encode()).decode().rstrip("=")
    return f"ey-{name}.{claims}.signature"


def post(server: ProviderServer, token: str, text: str, **more: object) -> httpx.Response:
    url = f"{server.url}/azure/openai/v1/chat/completions"
    headers = {"authorization": f"Bearer {token}"}
    return httpx.post(url, json=chat(text, **more), headers=headers, verify=TLS, timeout=20)


@pytest.mark.thorough
@pytest.mark.parametrize("status", [401, 403])
def test_a_fresh_token_is_got_when_the_old_one_has_run_out(provider_server: ProviderServer, status: int) -> None:
    got: list[str] = []

    def renew() -> Headers:
        got.append("ey-fresh")
        return (("authorization", "Bearer ey-fresh"),)

    provider_server.fail_call("GET", "/batches/", status, DENIED)
    with scope(provider_server, providers=[Azure(deployments={"m": "m-batch"}, renew=renew)]):
        answer = post(provider_server, entra("old"), "a")

    assert answer.status_code == 200
    assert got == ["ey-fresh"]
    assert len(provider_server.billed(batch=True)) == 1


@pytest.mark.thorough
def test_a_credential_that_cannot_be_renewed_is_told(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """The callers get that 401; the job is kept, and a later run collects it."""

    def renew() -> Headers:
        raise LookupError("nobody is logged in")

    azure = Azure(deployments={"m": "m-batch"}, renew=renew)
    be_patient(monkeypatch, refusals=0.0)
    provider_server.fail_call("GET", "/batches/", 401, DENIED, times=REFUSALS)
    with scope(provider_server, providers=[azure]):
        refused = post(provider_server, entra("old"), "a")
    assert refused.status_code == 401
    assert refused.json()["error"]["message"] == "The token has expired."
    assert "azure: cannot get a fresh credential (LookupError)" in caplog.text

    with scope(provider_server, providers=[azure]):
        assert post(provider_server, entra("new"), "a").status_code == 200
    assert len(provider_server.creates()) == 1


@pytest.mark.thorough
def test_tokens_of_one_account_share_its_batches(provider_server: ProviderServer) -> None:
    """An Entra token is another one each hour; whose it is stays."""

    async def both() -> list[int]:
        url = f"{provider_server.url}/azure/openai/v1/chat/completions"
        async with httpx.AsyncClient(verify=TLS) as client:
            calls = [
                client.post(url, json=chat(text), headers={"authorization": f"Bearer {entra(text)}"})
                for text in ("a", "b")
            ]
            return [answer.status_code for answer in await asyncio.gather(*calls)]

    with scope(
        provider_server, batch_size=2, batch_window_seconds=5.0, providers=[Azure(deployments={"m": "m-batch"})]
    ):
        assert asyncio.run(both()) == [200, 200]
    assert len(provider_server.creates()) == 1


@pytest.mark.thorough
@pytest.mark.parametrize("model", ["m", "n"])
def test_a_newer_call_brings_the_token_for_an_older_job(provider_server: ProviderServer, model: str) -> None:
    """Without a source of fresh tokens: a call that comes later has one, whatever model of the account it asks."""

    def refuse() -> Headers:
        raise AssertionError("not needed")

    provider_server.hold()
    answers: list[int] = []
    azure = Azure(deployments={"m": "m-batch", "n": "n-batch"}, renew=refuse)
    options = {"batch_size": 1, "providers": [azure]}
    with scope(provider_server, **options):
        first = threading.Thread(target=lambda: answers.append(post(provider_server, entra("old"), "a").status_code))
        first.start()
        wait_for_poll(provider_server)
        newer = partial(post, provider_server, entra("new"), "b", model=model)
        second = threading.Thread(target=lambda: answers.append(newer().status_code))
        second.start()
        wait_until(lambda: len(provider_server.creates()) >= 2, "the second job is created")
        provider_server.revoke(entra("old"))
        provider_server.release()
        first.join()
        second.join()

    assert answers == [200, 200]


@pytest.mark.thorough
def test_a_refused_key_is_not_replaced_by_a_token(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That would be somebody else."""

    def renew() -> Headers:
        raise AssertionError("not asked for")

    url = f"{provider_server.url}/azure/openai/v1/chat/completions"
    be_patient(monkeypatch, refusals=0.0)
    provider_server.fail_call("GET", "/batches/", 401, DENIED, times=REFUSALS)
    with scope(provider_server, providers=[Azure(deployments={"m": "m-batch"}, renew=renew)]):
        answer = httpx.post(url, json=chat("a"), headers={"api-key": "k"}, verify=TLS, timeout=20)

    assert answer.status_code == 401


@pytest.mark.thorough
def test_a_source_of_tokens_that_does_not_answer_is_not_waited_for(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    be_patient(monkeypatch, credential=0.05)
    free = threading.Event()

    def renew() -> Headers:
        free.wait(15)
        return ()

    be_patient(monkeypatch, refusals=0.0)
    provider_server.fail_call("GET", "/batches/", 401, DENIED, times=REFUSALS)
    began = time.monotonic()
    with scope(provider_server, providers=[Azure(deployments={"m": "m-batch"}, renew=renew)]):
        refused = post(provider_server, entra("old"), "a")
    took = time.monotonic() - began
    free.set()

    assert refused.status_code == 401
    assert took < 10
    assert "azure: cannot get a fresh credential (TimeoutError)" in caplog.text
