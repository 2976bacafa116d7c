"""A thousand calls through each way of calling: all answered, billed once, in the fewest batches; and once more for
nothing."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import pytest
import requests

from batchling.testing import ProviderServer
from tests.engine.calls import chat, scope

openai = pytest.importorskip("openai", reason="openai is not installed: tox -e sdk-newest")
anthropic = pytest.importorskip("anthropic", reason="anthropic is not installed: tox -e sdk-newest")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

CALLS = 1000
THREADS = 32

Program = Callable[[ProviderServer], list[str]]


def body(number: int) -> dict[str, object]:
    return {**chat(f"question {number}"), "max_tokens": 16}


def async_openai(server: ProviderServer) -> list[str]:
    async def program() -> list[str]:
        async with openai.AsyncOpenAI(api_key="k", base_url=server.openai_url) as client:
            answers = await asyncio.gather(*(client.chat.completions.create(**body(n)) for n in range(CALLS)))
            return [answer.choices[0].message.content for answer in answers]

    return asyncio.run(program())


def async_anthropic(server: ProviderServer) -> list[str]:
    async def program() -> list[str]:
        async with anthropic.AsyncAnthropic(api_key="k", base_url=server.anthropic_url) as client:
            answers = await asyncio.gather(*(client.messages.create(**body(n)) for n in range(CALLS)))
            return [answer.content[0].text for answer in answers]

    return asyncio.run(program())


def with_aiohttp(server: ProviderServer) -> list[str]:
    async def program() -> list[str]:
        async with aiohttp.ClientSession(headers={"authorization": "Bearer k"}) as session:

            async def one(number: int) -> str:
                async with session.post(f"{server.openai_url}/chat/completions", json=body(number)) as answer:
                    return str((await answer.json())["choices"][0]["message"]["content"])

            return await asyncio.gather(*map(one, range(CALLS)))

    return asyncio.run(program())


def in_threads(one: Callable[[int], str]) -> list[str]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, range(CALLS)))


def sync_openai(server: ProviderServer) -> list[str]:
    client = openai.OpenAI(api_key="k", base_url=server.openai_url)
    return in_threads(lambda n: str(client.chat.completions.create(**body(n)).choices[0].message.content))


def sync_anthropic(server: ProviderServer) -> list[str]:
    client = anthropic.Anthropic(api_key="k", base_url=server.anthropic_url)
    return in_threads(lambda n: str(client.messages.create(**body(n)).content[0].text))


def with_requests(server: ProviderServer) -> list[str]:
    url, headers = f"{server.openai_url}/chat/completions", {"authorization": "Bearer k"}
    return in_threads(
        lambda n: str(requests.post(url, json=body(n), headers=headers).json()["choices"][0]["message"]["content"])
    )


@pytest.mark.parametrize("program", [async_openai, async_anthropic, with_aiohttp])
def test_at_once(provider_server: ProviderServer, program: Program) -> None:
    check(provider_server, program, size=CALLS)


@pytest.mark.parametrize("program", [sync_openai, sync_anthropic, with_requests])
def test_in_threads(provider_server: ProviderServer, program: Program) -> None:
    """With 32 callers that wait, no batch can hold more than 32."""
    check(provider_server, program, size=THREADS)


def check(server: ProviderServer, program: Program, size: int) -> None:
    with scope(server, batch_size=size, batch_window_seconds=60):
        first = program(server)
    jobs, calls = sorted(server.jobs().values()), len(server.calls())
    with scope(server, batch_size=size, batch_window_seconds=60):
        second = program(server)

    assert len(first) == CALLS
    assert all(first)
    assert second == first
    assert len(server.billed()) == len(server.billed(batch=True)) == CALLS
    assert len(jobs) == math.ceil(CALLS / size)
    assert len(server.calls()) == calls
