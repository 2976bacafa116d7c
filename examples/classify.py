"""Classify reviews with the OpenAI SDK. Nothing here knows about batching.

batchling examples/classify.py:main --rows 20 --dry-run
OPENAI_API_KEY=... batchling examples/classify.py:main --rows 20
"""

from __future__ import annotations

import asyncio
import os

from openai import AsyncOpenAI


async def main(rows: int = 20) -> list[str | None]:
    """The labels of some made-up reviews."""
    client = AsyncOpenAI(api_key=os.environ.get("OPENAI_API_KEY", "none in a dry run"))

    async def classify(review: str) -> str | None:
        answer = await client.chat.completions.create(
            model="gpt-5-mini",
            messages=[
                {"role": "system", "content": "Answer with one word: good, bad or mixed."},
                {"role": "user", "content": review},
            ],
        )
        return answer.choices[0].message.content

    return await asyncio.gather(*(classify(f"Review {n}: it arrived {n} days late.") for n in range(rows)))
