"""The program that `batchling demo` runs: it classifies support tickets and knows nothing about batching.

Half of the calls are asynchronous (httpx), half run in threads (requests), as in programs that grew over time.
"""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import requests

SUBJECTS = ("invoice", "login", "delivery", "refund", "crash", "password", "contract", "speed")
MOODS = ("is wrong", "does not work", "came too late", "was charged twice", "needs a change")
LABELS = ["billing", "account", "shipping", "technical", "other"]


def tickets(count: int) -> list[str]:
    """Short made-up support tickets, all different."""
    return [f"Ticket {n}: my {SUBJECTS[n % len(SUBJECTS)]} {MOODS[n % len(MOODS)]}." for n in range(count)]


def question(ticket: str) -> dict[str, object]:
    """A chat completion that answers with one of the labels."""
    schema = {
        "type": "object",
        "properties": {"label": {"type": "string", "enum": LABELS}},
        "required": ["label"],
        "additionalProperties": False,
    }
    return {
        "model": "gpt-5-mini",
        "messages": [{"role": "system", "content": "Classify the ticket."}, {"role": "user", "content": ticket}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "label", "schema": schema, "strict": True}},
    }


def label(answer: dict[str, object]) -> str:
    """The label that an answer holds."""
    choices = answer["choices"]
    assert isinstance(choices, list)
    return str(json.loads(choices[0]["message"]["content"])["label"])


async def classify_async(url: str, key: str, texts: list[str]) -> list[str]:
    """All at once on one event loop."""
    async with httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {key}"}) as client:

        async def one(text: str) -> str:
            return label((await client.post("chat/completions", json=question(text))).raise_for_status().json())

        return await asyncio.gather(*map(one, texts))


def classify_in_threads(url: str, key: str, texts: list[str]) -> list[str]:
    """Each in its own thread."""

    def one(text: str) -> str:
        headers = {"authorization": f"Bearer {key}"}
        response = requests.post(f"{url}/chat/completions", json=question(text), headers=headers, timeout=60)
        response.raise_for_status()
        return label(response.json())

    with ThreadPoolExecutor(len(texts) or 1) as pool:
        return list(pool.map(one, texts))


async def main(url: str, key: str, count: int) -> list[str]:
    """Classify `count` tickets, half of them in each style; returns the answers in the tickets' order."""
    texts = tickets(count)
    half = count // 2
    asynchronous, threaded = await asyncio.gather(
        classify_async(url, key, texts[:half]), asyncio.to_thread(classify_in_threads, url, key, texts[half:])
    )
    return [*asynchronous, *threaded]
