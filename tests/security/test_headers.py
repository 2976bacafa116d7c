"""Headers of a provider reach the caller's client as the real one decodes them: none raises, whatever its bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
import urllib3

from batchling.testing import ProviderServer
from tests.engine.calls import scope

HEADERS = {"authorization": "Bearer sk-1"}
BODY = {"model": "m", "messages": [{"role": "user", "content": "a"}]}
ODD = ["caf\u00e9", "\u2028\u20ac", "\U0001f600", "a\u0085b", "x" * 400]


def by(library: Any) -> Callable[[str], int]:
    return lambda url: library.post(url, headers=HEADERS, json=BODY, timeout=20).status_code


def by_async(library: Any) -> Callable[[str], int]:
    async def call(url: str) -> int:
        async with library.AsyncClient(timeout=20) as client:
            return (await client.post(url, headers=HEADERS, json=BODY)).status_code

    return lambda url: asyncio.run(call(url))


def by_aiohttp(url: str) -> int:
    async def call() -> int:
        async with aiohttp.ClientSession() as session, session.post(url, headers=HEADERS, json=BODY) as answer:
            await answer.read()
            return answer.status

    return asyncio.run(call())


def by_urllib3(url: str) -> int:
    with urllib3.PoolManager() as pool:
        return pool.request("POST", url, headers=HEADERS, body=json.dumps(BODY)).status


CLIENTS = {
    "httpx": by(httpx),
    "httpx, async": by_async(httpx),
    "httpx2": by(httpx2),
    "httpx2, async": by_async(httpx2),
    "requests": by(requests),
    "aiohttp": by_aiohttp,
    "urllib3": by_urllib3,
}


def renamed(odd: str) -> Callable[[bytes], bytes]:
    def change(body: bytes) -> bytes:
        rows = [json.loads(line) for line in body.splitlines()]
        for row in rows:
            row["response"]["request_id"] = odd
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows)

    return change


@pytest.mark.thorough
@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_a_refusal(provider_server: ProviderServer, client: Callable[[str], int]) -> None:
    url = provider_server.openai_url + "/chat/completions"
    for odd in ODD[:3]:
        provider_server.fail_call("POST", "/batches", 400, headers={"x-odd": odd, "x-request-id": odd})
        with scope(provider_server):
            assert client(url) == 400


@pytest.mark.thorough
@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_a_paid_row_now_and_from_the_cache(provider_server: ProviderServer, client: Callable[[str], int]) -> None:
    url = provider_server.openai_url + "/chat/completions"
    provider_server.change_reply("GET", "/content", renamed(ODD[0]))
    for _ in range(2):
        with scope(provider_server):
            assert client(url) == 200
    assert len(provider_server.billed()) == 1


@pytest.mark.thorough
@pytest.mark.parametrize("odd", [*ODD, "\r\nx: y", "\x00", "\ud800", ""], ids=ascii)
def test_every_odd_id_of_a_row(provider_server: ProviderServer, odd: str) -> None:
    url = provider_server.openai_url + "/chat/completions"
    provider_server.change_reply("GET", "/content", renamed(odd))
    for name, client in CLIENTS.items():
        with scope(provider_server):
            assert client(url) == 200, name
    assert len(provider_server.billed()) == 1
