from __future__ import annotations

import asyncio
from typing import Any

import pytest

from batchling.testing import ProviderServer
from tests.sdks.scopes import scope

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


def google() -> Any:
    models = pytest.importorskip("pydantic_ai.models.google", reason="not installed: tox -e sdk-pydantic_ai")
    providers = pytest.importorskip("pydantic_ai.providers.google")
    return models.GoogleModel("gemini-2.5-flash", provider=providers.GoogleProvider(api_key="k"))


@pytest.fixture(params=["chat", "responses", "anthropic", "google"])
def model(request: pytest.FixtureRequest, server: ProviderServer) -> Any:
    if request.param == "google":
        return google()
    if request.param == "anthropic":
        return AnthropicModel("m", provider=AnthropicProvider(api_key="sk-1"))
    kind = OpenAIChatModel if request.param == "chat" else OpenAIResponsesModel
    return kind("m", provider=OpenAIProvider(api_key="sk-1"))


def test_text(server: ProviderServer, model: Any) -> None:
    with scope():
        assert Agent(model).run_sync("hi").output


def test_output_types(server: ProviderServer, model: Any) -> None:
    with scope():
        assert isinstance(Agent(model, output_type=Label).run_sync("hi").output, Label)


def ask_an_agent_with_a_tool(model: Any) -> int:
    """How often the tool was called until the agent had its answer."""
    cities: list[str] = []
    agent = Agent(model, output_type=Label)

    @agent.tool_plain
    def look_up(city_name: str) -> str:
        cities.append(city_name)
        return "sunny"

    with scope():
        assert isinstance(agent.run_sync("hi").output, Label)
    return len(cities)


@pytest.mark.parametrize("model", ["chat", "responses", "anthropic"], indirect=True)
def test_tools(server: ProviderServer, model: Any) -> None:
    assert ask_an_agent_with_a_tool(model) == 1
    assert sum(server.jobs().values()) == 2


def test_tools_of_gemini(server: ProviderServer) -> None:
    assert ask_an_agent_with_a_tool(google()) == 1


def test_many_at_once(server: ProviderServer, model: Any) -> None:
    async def program() -> list[Any]:
        agent = Agent(model)
        return await asyncio.gather(*(agent.run(str(n)) for n in range(8)))

    with scope():
        assert len({result.output for result in asyncio.run(program())}) == 8
    assert sum(server.jobs().values()) == 8


def test_a_dry_run_satisfies_output_types(provider_server_at_real_hosts: ProviderServer) -> None:
    model = OpenAIChatModel("m", provider=OpenAIProvider(api_key="sk-1"))
    with scope(dry_run=True):
        assert isinstance(Agent(model, output_type=Label).run_sync("hi").output, Label)
    assert provider_server_at_real_hosts.calls() == []
