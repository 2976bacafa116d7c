from __future__ import annotations

import asyncio
from typing import Any

import pytest

from batchling.testing import ProviderServer
from tests.sdks.scopes import scope

pytest.importorskip("llama_index.llms.openai", reason="not installed: tox -e sdk-llama_index")
pytestmark = pytest.mark.filterwarnings("ignore")

from llama_index.core.llms import ChatMessage  # noqa: E402
from llama_index.core.workflow import StartEvent, StopEvent, Workflow, step  # noqa: E402
from llama_index.llms.openai import OpenAI, OpenAIResponses  # noqa: E402
from pydantic import BaseModel  # noqa: E402


class Label(BaseModel):
    name: str
    score: int


@pytest.fixture(params=["chat", "responses"])
def llm(request: pytest.FixtureRequest, server: ProviderServer) -> Any:
    kind = OpenAI if request.param == "chat" else OpenAIResponses
    return kind(model="gpt-5-mini", api_key="sk-1")


def test_sync(server: ProviderServer, llm: Any) -> None:
    with scope():
        assert llm.complete("hi").text
        assert llm.chat([ChatMessage(role="user", content="hello")]).message.content


def test_async(server: ProviderServer, llm: Any) -> None:
    async def program() -> list[Any]:
        return await asyncio.gather(*(llm.acomplete(str(n)) for n in range(8)))

    with scope():
        assert len({answer.text for answer in asyncio.run(program())}) == 8
    assert sum(server.jobs().values()) == 8


def test_structured(server: ProviderServer, llm: Any) -> None:
    with scope():
        assert isinstance(llm.as_structured_llm(Label).complete("hi").raw, Label)


def test_workflow(server: ProviderServer, llm: Any) -> None:
    """Its steps run in tasks and threads of the library's own."""

    class Asks(Workflow):
        @step
        async def ask(self, start: StartEvent) -> StopEvent:
            return StopEvent(result=(await llm.acomplete("async")).text)

    class AsksInAThread(Workflow):
        @step
        def ask(self, start: StartEvent) -> StopEvent:
            return StopEvent(result=llm.complete("sync").text)

    async def program() -> list[str]:
        return list(await asyncio.gather(Asks(timeout=None).run(), AsksInAThread(timeout=None).run()))

    with scope():
        assert all(asyncio.run(program()))
    assert sum(server.jobs().values()) == 2
