from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from batchling.testing import ProviderServer
from tests.engine.calls import together
from tests.sdks.scopes import scope

openai = pytest.importorskip("openai", reason="openai is not installed: tox -e sdk-newest")
pydantic = pytest.importorskip("pydantic")

HI = [{"role": "user", "content": "hi"}]


class Label(pydantic.BaseModel):  # type: ignore[name-defined, misc]
    name: str
    score: int


TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def client(key: str = "sk-1") -> Any:
    return openai.OpenAI(api_key=key)


def test_sync(server: ProviderServer) -> None:
    before = client()
    with scope(**together(8)), ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(
                lambda n: before.chat.completions.create(model="m", messages=[{"role": "user", "content": str(n)}]),
                range(8),
            )
        )
    assert len({answer.choices[0].message.content for answer in answers}) == 8
    assert len(server.creates()) == 1


def test_async(server: ProviderServer) -> None:
    async def program() -> list[Any]:
        async with openai.AsyncOpenAI(api_key="sk-1") as client:
            return await asyncio.gather(
                *(
                    client.chat.completions.create(model="m", messages=[{"role": "user", "content": str(n)}])
                    for n in range(20)
                )
            )

    with scope(**together(20)):
        assert all(answer.choices[0].message.content for answer in asyncio.run(program()))
    assert len(server.creates()) == 1


def test_with_raw_response(server: ProviderServer) -> None:
    with scope():
        raw = client().chat.completions.with_raw_response.create(model="m", messages=HI)

    assert raw.status_code == 200
    assert raw.headers["content-type"] == "application/json"
    assert raw.request_id
    assert raw.elapsed.total_seconds() > 0
    assert raw.http_version == "HTTP/1.1"
    assert raw.parse().choices[0].message.content


def test_structured_parse(server: ProviderServer) -> None:
    with scope():
        parsed = client().chat.completions.parse(model="m", messages=HI, response_format=Label)
        answered = client().responses.parse(model="m", input="hi", text_format=Label)

    assert isinstance(parsed.choices[0].message.parsed, Label)
    assert isinstance(answered.output_parsed, Label)


def test_tools(server: ProviderServer) -> None:
    with scope():
        answer = client().chat.completions.create(model="m", messages=HI, tools=[TOOL], tool_choice="required")

    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "look_up"
    assert "city" in call.function.arguments


def test_every_other_endpoint(server: ProviderServer) -> None:
    with scope(), ThreadPoolExecutor(6) as pool:
        sdk = client()
        calls = [
            pool.submit(sdk.responses.create, model="m", input="hi"),
            pool.submit(sdk.embeddings.create, model="m", input=["a", "b"], dimensions=4),
            pool.submit(sdk.completions.create, model="m", prompt="hi"),
            pool.submit(sdk.moderations.create, model="m", input="hi"),
            pool.submit(sdk.images.generate, model="m", prompt="hi"),
        ]
        response, embeddings, completion, moderation, images = [call.result() for call in calls]

    assert response.output_text
    assert [len(row.embedding) for row in embeddings.data] == [4, 4]
    assert completion.choices[0].text
    assert moderation.results[0].flagged is False
    assert images.data[0].b64_json


def test_failures_are_the_sdks_own_exceptions(server: ProviderServer) -> None:
    with scope():
        client().chat.completions.create(model="m", messages=HI)
        with pytest.raises(openai.AuthenticationError, match="Incorrect API key") as refused:
            client(key="sk-bad").chat.completions.create(model="m", messages=HI)
        with pytest.raises(openai.BadRequestError, match="Invalid 'temperature'") as bad:
            client().chat.completions.create(model="m", messages=HI, temperature=9)
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            client().chat.completions.create(model="no-such-model", messages=HI)

    assert refused.value.code == "invalid_api_key"
    assert bad.value.param == "temperature"


def test_a_dry_run_satisfies_the_sdk(provider_server_at_real_hosts: ProviderServer) -> None:
    with scope(dry_run=True):
        raw = client().chat.completions.with_raw_response.create(model="m", messages=HI)
        parsed = client().chat.completions.parse(model="m", messages=HI, response_format=Label)
        vector = client().embeddings.create(model="text-embedding-3-small", input="x")

    assert raw.headers["x-batchling-dry-run"] == "1"
    assert isinstance(parsed.choices[0].message.parsed, Label)
    assert len(vector.data[0].embedding) == 1536
    assert provider_server_at_real_hosts.calls() == []


def test_the_sdks_own_aiohttp_client(provider_server_at_real_hosts: ProviderServer) -> None:
    if openai.__version__.startswith("2"):
        pytest.importorskip("httpx_aiohttp", reason="openai 2 wants httpx_aiohttp for its aiohttp client")
    server = provider_server_at_real_hosts

    async def program() -> Any:
        async with openai.AsyncOpenAI(api_key="sk-1", http_client=openai.DefaultAioHttpClient()) as client:
            return await client.chat.completions.create(model="m", messages=HI)

    with scope():
        assert asyncio.run(program()).choices[0].message.content
    assert len(server.billed(batch=True)) == 1


def test_at_a_gateway(provider_server: ProviderServer) -> None:
    gateway = openai.OpenAI(api_key="sk-1", base_url=provider_server.openai_url)
    for _ in range(2):
        with scope(gateways=provider_server.gateways):
            assert gateway.chat.completions.create(model="m", messages=HI).choices[0].message.content

    assert len(provider_server.billed()) == len(provider_server.billed(batch=True)) == 1
