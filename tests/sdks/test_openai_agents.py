from __future__ import annotations

import asyncio
from typing import Any

import pytest

from batchling.testing import ProviderServer
from tests.engine.calls import scope

agents = pytest.importorskip("agents", reason="openai-agents is not installed: tox -e sdk-agents")
pytestmark = pytest.mark.filterwarnings("ignore")

from openai import AsyncOpenAI  # noqa: E402


@pytest.fixture(params=["responses", "chat"])
def agent(request: pytest.FixtureRequest, server: ProviderServer) -> Any:
    agents.set_tracing_disabled(True)
    client = AsyncOpenAI(api_key="sk-1", base_url=server.openai_url)
    kind = agents.OpenAIResponsesModel if request.param == "responses" else agents.OpenAIChatCompletionsModel
    return agents.Agent(name="a", instructions="Answer.", model=kind(model="m", openai_client=client))


def test_run_sync(server: ProviderServer, agent: Any) -> None:
    with scope(server):
        assert agents.Runner.run_sync(agent, "hi").final_output


def test_runs_at_once(server: ProviderServer, agent: Any) -> None:
    async def program() -> list[Any]:
        return await asyncio.gather(*(agents.Runner.run(agent, str(n)) for n in range(6)))

    with scope(server):
        assert len({result.final_output for result in asyncio.run(program())}) == 6
    assert sum(server.jobs().values()) == 6
