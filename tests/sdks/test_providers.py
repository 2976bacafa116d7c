"""The same little program through each provider's own SDK, sync and async, without batchify and twice with it: equal
answers, of the SDK's own types, every one of them billed in a batch, and once. SDKs have their default base URL; a provider
that names OpenAI's SDK as its own is asked by it, at the base URL of its documentation."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pytest

from batchling.providers.azure import Azure
from batchling.providers.google.vertex import Vertex
from batchling.testing import ProviderServer
from tests.sdks.scopes import scope

TEXTS = [f"text {number:02}" for number in range(12)]


@dataclass(frozen=True)
class Sdk:
    """`module` is what has to be installed; `sync` asks one text, `start` makes an async function that does."""

    module: str
    sync: Callable[[], Callable[[str], Any]]
    start: Callable[[], Callable[[str], Any]] | None = None


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def native(answer: Any) -> Any:
    """An answer as the SDK gives it: of which type, and all that it holds, but for what HTTP says of one exchange and for
    Anthropic's word that a batch made it."""
    whole = answer.model_dump(exclude={"sdk_http_response"})
    if whole.get("usage"):
        whole["usage"].pop("service_tier", None)
    return type(answer), whole


def calls(
    module: str, sync: str, asynchronous: str, method: str, asked: Callable[[str], dict[str, Any]], **more: Any
) -> Sdk:
    """An SDK of which `method` of a client answers; `more` are arguments of the client."""

    def bound(name: str) -> Callable[..., Any]:
        key = {} if "access_token" in more else {"api_key": "sk-1"}
        found: Any = getattr(import_module(module), name)(**key, **more)
        for part in method.split("."):
            found = getattr(found, part)
        call: Callable[..., Any] = found
        return call

    def ask() -> Callable[[str], Any]:
        call = bound(sync)
        return lambda text: native(call(**asked(text)))

    def start() -> Callable[[str], Any]:
        call = bound(asynchronous)

        async def one(text: str) -> Any:
            return native(await call(**asked(text)))

        return one

    return Sdk(module, ask, start if asynchronous else None)


def chats(module: str, sync: str, asynchronous: str, model: str = "m", **more: Any) -> Sdk:
    """An SDK whose clients have `chat.completions.create`."""

    def asked(text: str) -> dict[str, Any]:
        return {"model": model, "messages": said(text)}

    return calls(module, sync, asynchronous, "chat.completions.create", asked, **more)


def responses(module: str, sync: str, asynchronous: str, **more: Any) -> Sdk:
    """An SDK whose clients have `responses.create`."""
    return calls(module, sync, asynchronous, "responses.create", lambda text: {"model": "m", "input": text}, **more)


def claude(sync: str, asynchronous: str, **more: Any) -> Sdk:
    """Anthropic's SDK, where others offer Claude."""

    def asked(text: str) -> dict[str, Any]:
        return {"model": "m", "max_tokens": 9, "messages": said(text)}

    return calls("anthropic", sync, asynchronous, "messages.create", asked, **more)


def genai(vertex: bool, embeds: bool = False) -> Sdk:
    def client() -> Any:
        google = import_module("google.genai")
        if not vertex:
            return google.Client(api_key="k")
        token = import_module("google.oauth2.credentials").Credentials("ya29.token")
        return google.Client(vertexai=True, project="p", location="us-central1", credentials=token)

    def call(models: Any, text: str) -> Any:
        method = models.embed_content if embeds else models.generate_content
        return method(model="m", contents=text)

    def sync() -> Callable[[str], Any]:
        made = client()
        return lambda text: native(call(made.models, text))

    def start() -> Callable[[str], Any]:
        made = client()

        async def one(text: str) -> Any:
            return native(await call(made.aio.models, text))

        return one

    return Sdk("google.genai", sync, start)


def mistral(part: str, **asked: Callable[[str], Any]) -> Sdk:
    """`part` of Mistral's client, whose methods are twins."""

    def bound(ending: str) -> Callable[[str], Any]:
        found: Any = import_module("mistralai.client").Mistral(api_key="sk-1")
        for name in f"{part}{ending}".split("."):
            found = getattr(found, name)
        return lambda text: found(model="m", **{name: made(text) for name, made in asked.items()})

    def sync() -> Callable[[str], Any]:
        call = bound("")
        return lambda text: native(call(text))

    def start() -> Callable[[str], Any]:
        call = bound("_async")

        async def one(text: str) -> Any:
            return native(await call(text))

        return one

    return Sdk("mistralai", sync, start)


def voyage(call: Callable[[Any, str], Any]) -> Sdk:
    """Voyage's SDK, whose answers are plain objects."""

    def sync() -> Callable[[str], Any]:
        made = import_module("voyageai").Client(api_key="sk-1")
        return lambda text: repr_of(call(made, text))

    def start() -> Callable[[str], Any]:
        made = import_module("voyageai").AsyncClient(api_key="sk-1")

        async def one(text: str) -> Any:
            return repr_of(await call(made, text))

        return one

    return Sdk("voyageai", sync, start)


def repr_of(answer: Any) -> Any:
    return type(answer), str({name: str(value) for name, value in vars(answer).items()})


def openai(url: str, **more: Any) -> Sdk:
    return chats("openai", "OpenAI", "AsyncOpenAI", base_url=url, **more)


BEARER = {"authorization": "Bearer sk-1"}
"""What OpenRouter asks for; Anthropic's SDK sends the key in a header of its own, too."""

SDKS = {
    "google-genai": genai(vertex=False),
    "google-genai, embeddings": genai(vertex=False, embeds=True),
    "google-genai, Vertex": genai(vertex=True),
    "anthropic, Vertex": claude(
        "AnthropicVertex",
        "AsyncAnthropicVertex",
        project_id="p",
        region="us-central1",
        access_token="ya29.token",
    ),
    "mistralai": mistral("chat.complete", messages=said),
    "mistralai, embeddings": mistral("embeddings.create", inputs=lambda text: [text]),
    "mistralai, fill in the middle": mistral("fim.complete", prompt=lambda text: text),
    "groq": chats("groq", "Groq", "AsyncGroq"),
    "together": chats("together", "Together", "AsyncTogether"),
    "fireworks-ai": chats("fireworks", "Fireworks", "AsyncFireworks"),
    "cerebras": chats("cerebras.cloud.sdk", "Cerebras", "AsyncCerebras", warm_tcp_connection=False),
    "zhipuai": chats("zhipuai", "ZhipuAI", ""),  # it has no async client
    "voyageai": voyage(lambda client, text: client.embed([text], model="m", input_type="document")),
    "voyageai, rerank": voyage(lambda client, text: client.rerank(text, ["one", text], model="m")),
    "perplexityai": responses("perplexity", "Perplexity", "AsyncPerplexity"),
    "anthropic at OpenRouter": claude(
        "Anthropic", "AsyncAnthropic", base_url="https://openrouter.ai/api", default_headers=BEARER
    ),
    "openai at Azure": chats(
        "openai",
        "AzureOpenAI",
        "AsyncAzureOpenAI",
        azure_endpoint="https://mine.openai.azure.com",
        api_version="2024-10-21",
    ),
    "openai at Azure's v1": openai("https://mine.openai.azure.com/openai/v1", default_headers={"api-key": "sk-1"}),
    "openai at Gemini": openai("https://generativelanguage.googleapis.com/v1beta/openai"),
    "openai at xAI": openai("https://api.x.ai/v1"),
    "openai at Mistral": openai("https://api.mistral.ai/v1"),
    "openai at Groq": openai("https://api.groq.com/openai/v1"),
    "openai at Together": openai("https://api.together.xyz/v1"),
    "openai at Fireworks": openai("https://api.fireworks.ai/inference/v1"),
    "openai at Cerebras": openai("https://api.cerebras.ai/v1"),
    "openai at DeepInfra": openai("https://api.deepinfra.com/v1/openai"),
    "openai at Doubleword": openai("https://api.doubleword.ai/v1"),
    "openai at Parasail": openai("https://api.parasail.io/v1"),
    "openai at Novita": openai("https://api.novita.ai/openai/v1"),
    "openai at Novita's older URL": openai("https://api.novita.ai/v3/openai"),
    "openai at SiliconFlow": openai("https://api.siliconflow.cn/v1"),
    "openai at Zhipu": openai("https://open.bigmodel.cn/api/paas/v4"),
    "openai at Kimi": openai("https://api.moonshot.ai/v1", model="kimi-k2.6"),
    "openai at DashScope": openai("https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
    "openai at Perplexity": responses("openai", "OpenAI", "AsyncOpenAI", base_url="https://api.perplexity.ai"),
    "openai at OpenRouter": openai("https://openrouter.ai/api/v1"),
    "openai at Sference": openai("https://api.sference.com/v1"),
}


def run_sync(sdk: Sdk) -> list[Any]:
    ask = sdk.sync()
    with ThreadPoolExecutor(len(TEXTS)) as pool:
        return list(pool.map(ask, TEXTS))


def run_async(sdk: Sdk) -> list[Any]:
    async def program() -> list[Any]:
        assert sdk.start is not None
        ask = sdk.start()
        return await asyncio.gather(*map(ask, TEXTS))

    return asyncio.run(program())


def installed(name: str) -> Sdk:
    try:
        import_module(SDKS[name].module)
    except ImportError:
        pytest.skip(f"{SDKS[name].module} is not installed: tox -e sdk-providers")
    return SDKS[name]


def opened(**options: Any) -> AbstractContextManager[None]:
    ours = [Azure(deployments={"m": "m-batch"}), Vertex(gcs_prefix="gs://bucket/f")]
    return scope(batch_size=len(TEXTS), batch_window_seconds=40.0, providers=ours, **options)


quiet = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::DeprecationWarning",
    "ignore::UserWarning",
)


@quiet
@pytest.mark.parametrize(
    ("name", "run"),
    [
        pytest.param(name, run, id=f"{name}-{run.__name__}")
        for name, sdk in SDKS.items()
        for run in (run_sync, run_async)
        if run is run_sync or sdk.start is not None
    ],
)
def test_on_and_off_are_equal(
    provider_server_at_real_hosts: ProviderServer, name: str, run: Callable[..., list[Any]]
) -> None:
    server = provider_server_at_real_hosts
    sdk = installed(name)
    plain = run(sdk)
    gc.collect()  # of clients that nobody closed, while their warnings are ignored
    assert len(server.billed(batch=False)) == len(TEXTS), server.calls()  # how often the SDK itself asked
    assert server.creates() == []
    server.forget_bills()
    for _ in range(2):
        with opened():
            batched = run(sdk)
        gc.collect()

        assert batched == plain
        assert len(set(map(str, plain))) == len(TEXTS)
        assert len(server.billed(batch=True)) == len(TEXTS)
        assert server.billed(batch=False) == []
        assert len(server.creates()) == 1


@quiet
@pytest.mark.parametrize("name", SDKS)
def test_a_dry_run_gives_what_the_sdk_takes(provider_server_at_real_hosts: ProviderServer, name: str) -> None:
    sdk = installed(name)
    with opened(dry_run=True):
        rehearsed = run_sync(sdk)
    gc.collect()

    assert len(set(map(str, rehearsed))) == len(TEXTS)
    assert [call for call in provider_server_at_real_hosts.calls() if call.method == "POST"] == []
