from __future__ import annotations

import asyncio
from typing import Any

import pytest

from batchling.testing import ProviderServer
from tests.sdks.scopes import scope

litellm = pytest.importorskip("litellm", reason="litellm is not installed: tox -e sdk-litellm")
pytestmark = pytest.mark.filterwarnings("ignore")


PROVIDERS = ["openai", "anthropic", "gemini", "mistral", "groq", "fireworks_ai", "together_ai", "xai", "openrouter"]


def options(provider: str) -> dict[str, Any]:
    # Gemini 3 and later are called at v1alpha, which has no batches.
    model = "gemini-2.5-flash" if provider == "gemini" else "m"
    return {"model": f"{provider}/{model}", "api_key": "sk-1", "max_tokens": 32}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_completion(server: ProviderServer, provider: str) -> None:
    with scope():
        answer = litellm.completion(
            **options(provider), messages=[{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
        )

    assert answer.choices[0].message.content


@pytest.mark.parametrize("provider", PROVIDERS)
def test_acompletion(server: ProviderServer, provider: str) -> None:
    async def program() -> list[Any]:
        asked = ([{"role": "user", "content": str(n)}] for n in range(10))
        return await asyncio.gather(
            *(litellm.acompletion(**options(provider), messages=messages) for messages in asked)
        )

    with scope():
        assert all(answer.choices[0].message.content for answer in asyncio.run(program()))
    assert sum(server.jobs().values()) == 10


def test_batch_completion_runs_in_threads(server: ProviderServer) -> None:
    with scope():
        asked = [[{"role": "user", "content": str(n)}] for n in range(10)]
        answers = litellm.batch_completion(**options("openai"), messages=asked)

    assert all(answer.choices[0].message.content for answer in answers)
    assert sum(server.jobs().values()) == 10
