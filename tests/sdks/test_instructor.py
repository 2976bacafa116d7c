from __future__ import annotations

import pytest

from batchling.testing import ProviderServer
from tests.engine.calls import scope

instructor = pytest.importorskip("instructor", reason="not installed: tox -e sdk-instructor")
pytestmark = pytest.mark.filterwarnings("ignore")

from openai import AsyncOpenAI, OpenAI  # noqa: E402
from pydantic import BaseModel  # noqa: E402


class Label(BaseModel):
    name: str
    score: int


HI = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("mode", ["TOOLS", "JSON_SCHEMA"])
def test_openai(provider_server: ProviderServer, mode: str, dry_run: bool) -> None:
    client = instructor.from_openai(
        OpenAI(api_key="sk-1", base_url=provider_server.openai_url), mode=getattr(instructor.Mode, mode)
    )
    with scope(provider_server, dry_run=dry_run):
        label = client.chat.completions.create(model="m", messages=HI, response_model=Label)

    assert isinstance(label, Label)
    assert len(provider_server.billed(batch=True)) == (not dry_run)
    assert provider_server.billed(batch=False) == []


def test_async(server: ProviderServer) -> None:
    import asyncio

    async def program() -> list[Label]:
        client = instructor.from_openai(AsyncOpenAI(api_key="sk-1", base_url=server.openai_url))
        asked = ([{"role": "user", "content": str(n)}] for n in range(5))
        return await asyncio.gather(
            *(client.chat.completions.create(model="m", messages=m, response_model=Label) for m in asked)
        )

    with scope(server):
        assert all(isinstance(label, Label) for label in asyncio.run(program()))


def test_anthropic(server: ProviderServer) -> None:
    anthropic = pytest.importorskip("anthropic")
    client = instructor.from_anthropic(anthropic.Anthropic(api_key="sk-1", base_url=server.anthropic_url))
    with scope(server):
        assert isinstance(client.messages.create(model="m", max_tokens=64, messages=HI, response_model=Label), Label)
