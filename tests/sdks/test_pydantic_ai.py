from __future__ import annotations

import asyncio
from typing import Any

import pytest

from batchling.testing import ProviderServer
from tests.engine.calls import scope

pydantic_ai = pytest.importorskip("pydantic_ai", reason="not installed: tox -e sdk-pydantic_ai")
pytestmark = pytest.mark.filterwarnings("ignore")

from pydantic import BaseModel  # noqa: E402
from pydantic_ai import Agent  # noqa: E402
from pydantic_ai.models.anthropic import AnthropicModel  # noqa: E402
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel  # noqa: E402
from pydantic_ai.providers.anthropic import AnthropicProvider  # noqa: E402
from pydantic_ai.providers.openai import OpenAIProvider  # noqa: E402


class Label(BaseModel):
    name: str
    score: int


@pytest.fixture(params=["chat", "responses", "anthropic"])
def model(request: pytest.FixtureRequest, server: ProviderServer) -> Any:
    if request.param == "anthropic":
        return AnthropicModel("m", provider=AnthropicProvider(api_key="sk-1", base_url=server.anthropic_url))
    kind = OpenAIChatModel if request.param == "chat" else OpenAIResponsesModel
    return kind("m", provider=OpenAIProvider(api_key="sk-1", base_url=server.openai_url))


def test_text(server: ProviderServer, model: Any) -> None:
    with scope(server):
        assert Agent(model).run_sync("hi").output


def test_output_types(server: ProviderServer, model: Any) -> None:
    with scope(server):
        assert isinstance(Agent(model, output_type=Label).run_sync("hi").output, Label)


def test_many_at_once(server: ProviderServer, model: Any) -> None:
    async def program() -> list[Any]:
        agent = Agent(model)
        return await asyncio.gather(*(agent.run(str(n)) for n in range(8)))

    with scope(server):
        assert len({result.output for result in asyncio.run(program())}) == 8
    assert sum(server.jobs().values()) == 8


def test_a_dry_run_satisfies_output_types(provider_server: ProviderServer) -> None:
    model = OpenAIChatModel("m", provider=OpenAIProvider(api_key="sk-1", base_url=provider_server.openai_url))
    with scope(provider_server, dry_run=True):
        assert isinstance(Agent(model, output_type=Label).run_sync("hi").output, Label)
    assert provider_server.calls() == []
