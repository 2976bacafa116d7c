from __future__ import annotations

import asyncio
from typing import Any

import pytest

from batchling.testing import ProviderServer
from tests.sdks.scopes import scope

agents = pytest.importorskip("agents", reason="openai-agents is not installed: tox -e sdk-agents")
pytestmark = pytest.mark.filterwarnings("ignore")

from openai import AsyncOpenAI  # noqa: E402


@pytest.fixture(params=["responses", "chat", "as its front page"])
def agent(request: pytest.FixtureRequest, server: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> Any:
    """At api.openai.com alone openai-agents adds a `prompt_cache_key`."""
    agents.set_tracing_disabled(True)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    if request.param == "as its front page":
        return agents.Agent(name="a", instructions="Answer.", model="gpt-5-mini")
    kind = agents.OpenAIResponsesModel if request.param == "responses" else agents.OpenAIChatCompletionsModel
    return agents.Agent(name="a", instructions="Answer.", model=kind(model="m", openai_client=AsyncOpenAI()))


def test_run_sync(server: ProviderServer, agent: Any) -> None:
    with scope():
        assert agents.Runner.run_sync(agent, "hi").final_output
    assert sum(server.jobs().values()) == 1


def test_runs_at_once(server: ProviderServer, agent: Any) -> None:
    async def program() -> list[Any]:
        return await asyncio.gather(*(agents.Runner.run(agent, str(n)) for n in range(6)))

    with scope():
        assert len({result.final_output for result in asyncio.run(program())}) == 6
    assert sum(server.jobs().values()) == 6


def test_tools(server: ProviderServer, agent: Any) -> None:
    cities: list[str] = []

    @agents.function_tool
    def look_up(city: str) -> str:
        cities.append(city)
        return "sunny"

    settings = agents.ModelSettings(tool_choice="required")
    with scope():
        assert agents.Runner.run_sync(agent.clone(tools=[look_up], model_settings=settings), "hi").final_output
    assert len(cities) == 1
    assert sum(server.jobs().values()) == 2
