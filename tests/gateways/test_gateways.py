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
from tests.gateways.conftest import Start

pytestmark = pytest.mark.timeout(150)

TEXTS = [f"text {number}" for number in range(6)]
LITELLM = """
model_list:
  - model_name: m
    litellm_params: {model: openai/m, api_base: "%(url)s", api_key: sk-1}
files_settings:
  - {custom_llm_provider: openai, api_base: "%(url)s", api_key: sk-1}
general_settings: {master_key: sk-proxy}
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


def test_litellm(provider_server: ProviderServer, start: Start, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(LITELLM % {"url": provider_server.openai_url})
    url = start("litellm", "--config", "config.yaml", "--host", "127.0.0.1", health="/health/liveliness")
    answers = batched(url, "m")

    assert [status for status, _ in answers] == [200] * len(TEXTS)
    assert len(provider_server.billed(batch=True)) == len(TEXTS)
    assert provider_server.billed(batch=False) == []
    assert len(provider_server.creates()) == 1
    assert answers == ask(url, "m")


def test_ogx(provider_server: ProviderServer, start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """It runs the rows of a batch itself, in real time at its own upstream."""
    parts = "inference=remote::openai,batches=inline::reference,files=inline::localfs"
    url = start("ogx", "run", "--providers", parts, "--insecure", health="/v1/health")
    answers = batched(url, "openai/m")

    assert [status for status, _ in answers] == [200] * len(TEXTS)
    assert f"{len(TEXTS)} calls batched in 1 batch, 0 from cache, 0 went real time" in capsys.readouterr().err
    assert answers == ask(url, "openai/m")


def test_ogx_without_its_batch_api(
    provider_server: ProviderServer, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    url = start("ogx", "run", "--providers", "inference=remote::openai", "--insecure", health="/v1/health")
    answers = batched(url, "openai/m")

    assert [status for status, _ in answers] == [200] * len(TEXTS)
    assert "the gateway has no batch API" in capsys.readouterr().err
