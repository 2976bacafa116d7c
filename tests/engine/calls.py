"""Plain HTTP calls to the embedded server, as programs make them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import httpx

from batchling import batchify
from batchling.testing import ProviderServer

TLS = httpx.create_ssl_context()
"""Made once: each client would take 20 ms for its own."""

QUICK = {"batch_window_seconds": 0.15, "batch_poll_interval_seconds": 0.02}


def scope(server: ProviderServer, **options: object) -> AbstractContextManager[None]:
    """A scope on the embedded server, with short times."""
    return batchify(**{"gateways": server.gateways, **QUICK, **options})  # type: ignore[arg-type]


def together(calls: int) -> dict[str, object]:
    """Options of a scope whose calls leave in one batch, however slow the machine: as many as are asked at once."""
    return {"batch_size": calls, "batch_window_seconds": 2.0}


def chat(text: str, **more: object) -> dict[str, object]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


def ask(
    server: ProviderServer, text: str, key: str = "sk-1", path: str = "chat/completions", **more: object
) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{server.openai_url}/{path}", json=chat(text, **more), headers=headers, verify=TLS)


def ask_claude(server: ProviderServer, text: str, key: str = "sk-1", **more: object) -> httpx.Response:
    headers = {"x-api-key": key, "anthropic-version": "2023-06-01"}
    body = {"max_tokens": 9, **chat(text, **more)}
    return httpx.post(f"{server.anthropic_url}/v1/messages", json=body, headers=headers, verify=TLS)


def ask_all(server: ProviderServer, texts: Sequence[str], keys: Sequence[str] = ("sk-1",)) -> list[httpx.Response]:
    """All at once, on one event loop."""
    return asyncio.run(gather(server, texts, keys))


async def gather(server: ProviderServer, texts: Sequence[str], keys: Sequence[str] = ("sk-1",)) -> list[httpx.Response]:
    async with httpx.AsyncClient(verify=TLS) as client:

        async def one(number: int, text: str) -> httpx.Response:
            headers = {"authorization": f"Bearer {keys[number % len(keys)]}"}
            return await client.post(f"{server.openai_url}/chat/completions", json=chat(text), headers=headers)

        return await asyncio.gather(*(one(n, text) for n, text in enumerate(texts)))


def post(
    server: ProviderServer, bodies: Sequence[dict[str, Any]], headers: Sequence[dict[str, str]] | None = None
) -> list[httpx.Response]:
    """All at once, on one event loop; each with its own headers."""
    more = headers or [{}] * len(bodies)

    async def all_at_once() -> list[httpx.Response]:
        async with httpx.AsyncClient(verify=TLS, headers={"authorization": "Bearer sk-1"}) as client:
            url = f"{server.openai_url}/chat/completions"
            return await asyncio.gather(
                *(client.post(url, json=body, headers=each) for body, each in zip(bodies, more, strict=True))
            )

    return asyncio.run(all_at_once())


def said(response: httpx.Response) -> str:
    return str(response.json()["choices"][0]["message"]["content"])
