"""The same little program through each provider's own SDK, with batchify and without: equal answers, and every one of
them billed in a batch."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pytest

from batchling.providers.azure import Azure
from batchling.providers.vertex import Vertex
from batchling.testing import ProviderServer
from tests.engine.calls import scope

TEXTS = [f"text {number:02}" for number in range(12)]


@dataclass(frozen=True)
class Sdk:
    """`module` is what has to be installed; `sync` asks one text, `start` makes an async function that does."""

    module: str
    sync: Callable[[ProviderServer], Callable[[str], Any]]
    start: Callable[[ProviderServer], Callable[[str], Any]] | None = None


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def chats(module: str, sync: str, asynchronous: str, **more: Any) -> Sdk:
    """An SDK whose clients have `chat.completions.create`; `more` are arguments of the client, made from the server."""
    model = more.pop("model", "m")

    def client(server: ProviderServer, name: str) -> Any:
        chosen = {key: value(server) if callable(value) else value for key, value in more.items()}
        return getattr(import_module(module), name)(**{"api_key": "sk-1", **chosen})

    def ask(server: ProviderServer) -> Callable[[str], Any]:
        made = client(server, sync)
        return lambda text: made.chat.completions.create(model=model, messages=said(text)).choices[0].message.content

    def start(server: ProviderServer) -> Callable[[str], Any]:
        made = client(server, asynchronous)

        async def one(text: str) -> Any:
            return (await made.chat.completions.create(model=model, messages=said(text))).choices[0].message.content

        return one

    return Sdk(module, ask, start if asynchronous else None)


def base(path: str) -> Callable[[ProviderServer], str]:
    return lambda server: server.url + path


def genai(vertex: bool) -> Sdk:
    def client(server: ProviderServer) -> Any:
        google = import_module("google.genai")
        url = google.types.HttpOptions(base_url=f"{server.url}/{'vertex' if vertex else 'gemini'}")
        if not vertex:
            return google.Client(api_key="k", http_options=url)
        token = import_module("google.oauth2.credentials").Credentials("ya29.token")
        return google.Client(vertexai=True, project="p", location="us-central1", credentials=token, http_options=url)

    def sync(server: ProviderServer) -> Callable[[str], Any]:
        made = client(server)
        return lambda text: made.models.generate_content(model="m", contents=text).text

    def start(server: ProviderServer) -> Callable[[str], Any]:
        made = client(server)

        async def one(text: str) -> Any:
            return (await made.aio.models.generate_content(model="m", contents=text)).text

        return one

    return Sdk("google.genai", sync, start)


def mistral() -> Sdk:
    def client(server: ProviderServer) -> Any:
        return import_module("mistralai.client").Mistral(api_key="sk-1", server_url=f"{server.url}/mistral")

    def sync(server: ProviderServer) -> Callable[[str], Any]:
        made = client(server)
        return lambda text: made.chat.complete(model="m", messages=said(text)).choices[0].message.content

    def start(server: ProviderServer) -> Callable[[str], Any]:
        made = client(server)

        async def one(text: str) -> Any:
            return (await made.chat.complete_async(model="m", messages=said(text))).choices[0].message.content

        return one

    return Sdk("mistralai", sync, start)


def voyage() -> Sdk:
    def sync(server: ProviderServer) -> Callable[[str], Any]:
        made = import_module("voyageai").Client(api_key="sk-1", base_url=f"{server.url}/voyage/v1")
        return lambda text: made.embed([text], model="m", input_type="document").embeddings

    def start(server: ProviderServer) -> Callable[[str], Any]:
        made = import_module("voyageai").AsyncClient(api_key="sk-1", base_url=f"{server.url}/voyage/v1")

        async def one(text: str) -> Any:
            return (await made.embed([text], model="m", input_type="document")).embeddings

        return one

    return Sdk("voyageai", sync, start)


def responses(module: str, sync: str, asynchronous: str, **more: Any) -> Sdk:
    """An SDK whose clients have `responses.create`."""

    def client(server: ProviderServer, name: str) -> Any:
        chosen = {key: value(server) if callable(value) else value for key, value in more.items()}
        return getattr(import_module(module), name)(**{"api_key": "sk-1", **chosen})

    def ask(server: ProviderServer) -> Callable[[str], Any]:
        made = client(server, sync)
        return lambda text: made.responses.create(model="m", input=text).output[0].content[0].text

    def start(server: ProviderServer) -> Callable[[str], Any]:
        made = client(server, asynchronous)

        async def one(text: str) -> Any:
            return (await made.responses.create(model="m", input=text)).output[0].content[0].text

        return one

    return Sdk(module, ask, start)


def openai(path: str, **more: Any) -> Sdk:
    return chats("openai", "OpenAI", "AsyncOpenAI", base_url=base(path), **more)


SDKS = {
    "google-genai": genai(vertex=False),
    "google-genai, Vertex": genai(vertex=True),
    "mistralai": mistral(),
    "groq": chats("groq", "Groq", "AsyncGroq", base_url=base("/groq")),
    "together": chats("together", "Together", "AsyncTogether", base_url=base("/together")),
    "fireworks-ai": chats("fireworks", "Fireworks", "AsyncFireworks", base_url=base("/fireworks/inference")),
    "cerebras": chats(
        "cerebras.cloud.sdk", "Cerebras", "AsyncCerebras", base_url=base("/cerebras"), warm_tcp_connection=False
    ),
    "zhipuai": chats("zhipuai", "ZhipuAI", "", base_url=base("/zhipu/api/paas/v4")),
    "voyageai": voyage(),
    "perplexityai": responses("perplexity", "Perplexity", "AsyncPerplexity", base_url=base("/perplexity")),
    "openai at Azure": chats(
        "openai", "AzureOpenAI", "AsyncAzureOpenAI", azure_endpoint=base("/azure"), api_version="2024-10-21"
    ),
    "openai at Azure's v1": openai("/azure/openai/v1", default_headers={"api-key": "sk-1"}),
    "openai at Gemini": openai("/gemini-openai/v1beta/openai"),
    "openai at xAI": openai("/xai/v1"),
    "openai at DeepInfra": openai("/deepinfra/v1/openai"),
    "openai at Doubleword": openai("/doubleword/v1"),
    "openai at Kimi": openai("/kimi/v1", model="kimi-k2.6"),
    "openai at DashScope": openai("/dashscope/compatible-mode/v1"),
    "openai at OpenRouter": openai("/openrouter/api/v1"),
}


def run_sync(sdk: Sdk, server: ProviderServer) -> list[Any]:
    ask = sdk.sync(server)
    with ThreadPoolExecutor(len(TEXTS)) as pool:
        return list(pool.map(ask, TEXTS))


def run_async(sdk: Sdk, server: ProviderServer) -> list[Any]:
    async def program() -> list[Any]:
        assert sdk.start is not None
        ask = sdk.start(server)
        return await asyncio.gather(*map(ask, TEXTS))

    return asyncio.run(program())


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("run", [run_sync, run_async])
@pytest.mark.parametrize("name", SDKS)
def test_on_and_off_are_equal(provider_server: ProviderServer, name: str, run: Callable[..., list[Any]]) -> None:
    sdk = SDKS[name]
    try:
        import_module(sdk.module)
    except ImportError:
        pytest.skip(f"{sdk.module} is not installed: tox -e sdk-providers")
    if run is run_async and sdk.start is None:
        pytest.skip(f"{name} has no async client")
    ours = [
        Azure(deployments={"m": "m-batch"}),
        Vertex(gcs_prefix="gs://bucket/f", storage=f"{provider_server.url}/vertex/storage"),
    ]
    plain = run(sdk, provider_server)
    gc.collect()  # of clients that nobody closed, while their warnings are ignored
    provider_server.forget_bills()
    with scope(provider_server, batch_size=len(TEXTS), batch_window_seconds=10.0, providers=ours):
        batched = run(sdk, provider_server)
    gc.collect()

    assert batched == plain
    assert len(set(map(str, plain))) == len(TEXTS)
    assert len(provider_server.billed(batch=True)) == len(TEXTS)
    assert provider_server.billed(batch=False) == []
    assert len(provider_server.creates()) == 1
