from __future__ import annotations

import asyncio
from typing import Any

import pytest

from batchling.testing import ProviderServer
from tests.engine.calls import together
from tests.sdks.scopes import scope

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
def test_openai(provider_server_at_real_hosts: ProviderServer, mode: str, dry_run: bool) -> None:
    client = instructor.from_openai(OpenAI(api_key="sk-1"), mode=getattr(instructor.Mode, mode))
    with scope(dry_run=dry_run):
        label = client.chat.completions.create(model="m", messages=HI, response_model=Label)

    assert isinstance(label, Label)
    assert len(provider_server_at_real_hosts.billed(batch=True)) == (not dry_run)
    assert provider_server_at_real_hosts.billed(batch=False) == []


def test_async(server: ProviderServer) -> None:
    async def program() -> list[Label]:
        client = instructor.from_openai(AsyncOpenAI(api_key="sk-1"))
        asked = ([{"role": "user", "content": str(n)}] for n in range(5))
        return await asyncio.gather(
            *(client.chat.completions.create(model="m", messages=m, response_model=Label) for m in asked)
        )

    with scope():
        assert all(isinstance(label, Label) for label in asyncio.run(program()))


def test_anthropic(server: ProviderServer) -> None:
    anthropic = pytest.importorskip("anthropic")
    client = instructor.from_anthropic(anthropic.Anthropic(api_key="sk-1"))
    with scope():
        assert isinstance(client.messages.create(model="m", max_tokens=64, messages=HI, response_model=Label), Label)


def gemini(mode: str, use_async: bool = False) -> Any:
    genai = pytest.importorskip("google.genai", reason="not installed: tox -e sdk-instructor")
    chosen = getattr(instructor.Mode, mode)
    return instructor.from_genai(genai.Client(api_key="k"), mode=chosen, use_async=use_async)


@pytest.mark.parametrize("mode", ["GENAI_TOOLS", "GENAI_STRUCTURED_OUTPUTS"])
def test_gemini(server: ProviderServer, mode: str) -> None:
    with scope():
        label = gemini(mode).chat.completions.create(model="gemini-2.5-flash", messages=HI, response_model=Label)

    assert isinstance(label, Label)


@pytest.mark.parametrize("mode", ["GENAI_TOOLS", "GENAI_STRUCTURED_OUTPUTS"])
def test_gemini_async(server: ProviderServer, mode: str) -> None:
    async def program() -> list[Label]:
        create = gemini(mode, use_async=True).chat.completions.create
        asked = ([{"role": "system", "content": "be brief"}, {"role": "user", "content": str(n)}] for n in range(5))
        return await asyncio.gather(
            *(create(model="gemini-2.5-flash", messages=m, response_model=Label) for m in asked)
        )

    with scope(**together(5)):
        assert all(isinstance(label, Label) for label in asyncio.run(program()))
    assert len(server.creates()) == 1


@pytest.mark.parametrize("mode", ["GENAI_TOOLS", "GENAI_STRUCTURED_OUTPUTS"])
def test_a_dry_run_of_gemini(provider_server_at_real_hosts: ProviderServer, mode: str) -> None:
    with scope(dry_run=True):
        label = gemini(mode).chat.completions.create(model="gemini-2.5-flash", messages=HI, response_model=Label)

    assert isinstance(label, Label)
    assert provider_server_at_real_hosts.calls() == []
