"""The same calls through a real gateway, with batches and without: equal answers, all of them by the gateway's own batch API."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from batchling import batchify
from batchling.testing import ProviderServer
from tests.engine.calls import TLS, chat
from tests.gateways.conftest import PATIENCE, Start

pytestmark = pytest.mark.timeout(PATIENCE + 120)

TEXTS = [f"text {number}" for number in range(6)]
LITELLM = """
model_list:
  - model_name: m
    litellm_params: {model: openai/m, api_base: "%(url)s", api_key: sk-1}
  - model_name: no-such-model
    litellm_params: {model: openai/m, api_base: "%(url)s", api_key: sk-1}
general_settings: {master_key: sk-proxy}
"""
FILES = """
files_settings:
  - {custom_llm_provider: openai, api_base: "%(url)s", api_key: sk-1}
"""


def ask(url: str, model: str) -> list[Any]:
    def one(text: str) -> Any:
        headers = {"authorization": "Bearer sk-proxy"}
        body = {**chat(text), "model": model}
        answer = httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, verify=TLS, timeout=60)
        return answer.status_code, answer.json()["choices"][0]["message"]["content"]

    with ThreadPoolExecutor(len(TEXTS)) as pool:
        return list(pool.map(one, TEXTS))


def batched(url: str, model: str) -> list[Any]:
    with batchify(gateways={url: "openai"}, batch_size=len(TEXTS), batch_poll_interval_seconds=0.2):
        return ask(url, model)


def litellm(server: ProviderServer, start: Start, folder: Path, config: str) -> str:
    (folder / "config.yaml").write_text(config % {"url": server.openai_url})
    return start("litellm", "--config", "config.yaml", "--host", "127.0.0.1", health="/health/liveliness")


def are_equal(batched: list[Any], plain: list[Any]) -> bool:
    """Equal, and each an answer of its own."""
    return batched == plain and len(set(plain)) == len(TEXTS) and {status for status, _ in plain} == {200}


def test_litellm(
    provider_server: ProviderServer, start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = litellm(provider_server, start, tmp_path, LITELLM + FILES)
    answers = batched(url, "m")

    assert len(provider_server.billed(batch=True)) == len(TEXTS)
    assert provider_server.billed(batch=False) == []
    assert len(provider_server.creates()) == 1
    assert are_equal(answers, ask(url, "m"))

    # A name of the proxy's own reaches the upstream as it is, which knows no such model.
    provider_server.forget_bills()
    renamed = batched(url, "no-such-model")
    assert "model without a batch form" in capsys.readouterr().err
    assert len(provider_server.billed(batch=False)) == len(TEXTS)
    assert are_equal(renamed, answers)


def test_litellm_without_its_batch_api(
    provider_server: ProviderServer, start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Most are set up like this; they answer 500 to an upload."""
    url = litellm(provider_server, start, tmp_path, LITELLM)
    answers = batched(url, "m")

    report = capsys.readouterr().err
    assert f"0 calls batched, 0 from cache, {len(TEXTS)} went real time" in report
    assert "the gateway has no batch API" in report
    assert len(provider_server.billed(batch=False)) == len(TEXTS)
    assert are_equal(answers, ask(url, "m"))


def test_ogx(provider_server: ProviderServer, start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """It runs the rows of a batch itself, in real time at its own upstream."""
    parts = "inference=remote::openai,batches=inline::reference,files=inline::localfs"
    url = start("ogx", "run", "--providers", parts, "--insecure", health="/v1/health")
    answers = batched(url, "openai/m")

    assert f"{len(TEXTS)} calls batched in 1 batch, 0 from cache, 0 went real time" in capsys.readouterr().err
    assert len(provider_server.billed()) == len(TEXTS)
    assert are_equal(answers, ask(url, "openai/m"))


def test_ogx_without_its_batch_api(
    provider_server: ProviderServer, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    url = start("ogx", "run", "--providers", "inference=remote::openai", "--insecure", health="/v1/health")
    answers = batched(url, "openai/m")

    assert "the gateway has no batch API" in capsys.readouterr().err
    assert len(provider_server.billed(batch=False)) == len(TEXTS)
    assert are_equal(answers, ask(url, "openai/m"))
