"""What the programs of these tests do: ask a provider some texts at once, in one scope."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx

from batchling import batchify
from tests.engine.calls import TLS, chat

TEXTS = ["a", "b", "c"]
QUICK = {"batch_window_seconds": 0.4, "batch_poll_interval_seconds": 0.01}


def ask_all(server: Any, provider: str, texts: Sequence[str], **options: Any) -> list[int]:
    """The statuses that the callers get, in the order of their texts. All leave in one batch, however slow the machine."""
    with batchify(gateways=server.gateways, **{**QUICK, "batch_size": len(texts), **options}):
        return asyncio.run(gather(server, provider, texts))


def run(server: Any, provider: str) -> list[int]:
    """The statuses of three calls, in one run of a program."""
    return ask_all(server, provider, TEXTS, batch_window_seconds=1.5)


async def gather(server: Any, provider: str, texts: Sequence[str]) -> list[int]:
    async with httpx.AsyncClient(verify=TLS) as client:
        return await asyncio.gather(*(_one(client, server, provider, text) for text in texts))


async def _one(client: httpx.AsyncClient, server: Any, provider: str, text: str) -> int:
    if provider == "openai":
        url, headers, more = f"{server.openai_url}/chat/completions", {"authorization": "Bearer sk-1"}, {}
    else:
        url, more = f"{server.anthropic_url}/v1/messages", {"max_tokens": 9}
        headers = {"x-api-key": "sk-1", "anthropic-version": "2023-06-01"}
    answer = await client.post(url, json=chat(text, **more), headers=headers)
    return answer.status_code
