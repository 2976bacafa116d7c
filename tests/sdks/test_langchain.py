from __future__ import annotations

import asyncio
from typing import Any

import pytest

from batchling.testing import ProviderServer
from tests.engine.calls import together
from tests.sdks.scopes import scope

langchain_openai = pytest.importorskip("langchain_openai", reason="not installed: tox -e sdk-langchain")
langchain_anthropic = pytest.importorskip("langchain_anthropic", reason="not installed: tox -e sdk-langchain")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=["openai", "anthropic"])
def model(request: pytest.FixtureRequest, server: ProviderServer) -> Any:
    if request.param == "openai":
        return langchain_openai.ChatOpenAI(model="m", api_key="sk-1")
    return langchain_anthropic.ChatAnthropic(model="m", api_key="sk-1", max_tokens=64)


def test_invoke(server: ProviderServer, model: Any) -> None:
    with scope():
        assert model.invoke("hi").content


def test_batch(server: ProviderServer, model: Any) -> None:
    with scope(**together(6)):
        answers = model.batch([f"{n}" for n in range(6)], {"max_concurrency": 6})

    assert len({answer.content for answer in answers}) == 6
    assert len(server.creates()) == 1


def test_abatch(server: ProviderServer, model: Any) -> None:
    with scope():
        answers = asyncio.run(model.abatch([f"{n}" for n in range(12)]))

    assert len({answer.content for answer in answers}) == 12
    assert sum(server.jobs().values()) == 12


def test_structured_output(server: ProviderServer, model: Any) -> None:
    schema = {
        "title": "Label",
        "description": "A label",
        "type": "object",
        "properties": {"name": {"type": "string"}},
        "required": ["name"],
        "additionalProperties": False,
    }
    with scope():
        assert isinstance(model.with_structured_output(schema).invoke("hi")["name"], str)


def test_embeddings(server: ProviderServer) -> None:
    model = langchain_openai.OpenAIEmbeddings(
        model="text-embedding-3-small", api_key="sk-1", check_embedding_ctx_length=False
    )
    with scope():
        assert len(model.embed_query("hi")) == 1536
