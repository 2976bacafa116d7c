from __future__ import annotations

import asyncio
from typing import Any

import pytest

from batchling.testing import ProviderServer
from tests.engine.calls import scope

litellm = pytest.importorskip("litellm", reason="litellm is not installed: tox -e sdk-litellm")
pytestmark = pytest.mark.filterwarnings("ignore")


def options(server: ProviderServer, provider: str) -> dict[str, Any]:
    base = server.openai_url if provider == "openai" else server.anthropic_url
    return {"model": f"{provider}/m", "api_key": "sk-1", "api_base": base, "max_tokens": 32}


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_completion(server: ProviderServer, provider: str) -> None:
    with scope(server):
        answer = litellm.completion(**options(server, provider), messages=[{"role": "user", "content": "hi"}])

    assert answer.choices[0].message.content


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_acompletion(server: ProviderServer, provider: str) -> None:
    async def program() -> list[Any]:
        asked = ([{"role": "user", "content": str(n)}] for n in range(10))
        return await asyncio.gather(
            *(litellm.acompletion(**options(server, provider), messages=messages) for messages in asked)
        )

    with scope(server):
        assert all(answer.choices[0].message.content for answer in asyncio.run(program()))
    assert sum(server.jobs().values()) == 10


def test_batch_completion_runs_in_threads(server: ProviderServer) -> None:
    with scope(server):
        asked = [[{"role": "user", "content": str(n)}] for n in range(10)]
        answers = litellm.batch_completion(**options(server, "openai"), messages=asked)

    assert all(answer.choices[0].message.content for answer in answers)
    assert sum(server.jobs().values()) == 10
