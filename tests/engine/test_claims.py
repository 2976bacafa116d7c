"""Claiming a large batch lets the loop do other things in between: counted in requests per turn of the loop."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

from batchling.cache import Claim
from batchling.core.lifecycle import Record
from batchling.core.model import Item, Request, Target
from batchling.engine.background import PORTION
from batchling.engine.claims import Claims
from batchling.engine.waiter import Stage, Waiter

TARGET = Target("openai", "https://api.openai.com/v1", "/v1/chat/completions", "m", "a")


class Disk:
    """A store that grants every claim."""

    store = SimpleNamespace(claim=lambda draft: Claim(draft, {}))

    async def __call__(self, work: Any, draft: Record) -> Claim:
        claim: Claim = work(draft)
        return claim


def test_a_large_claim_leaves_the_loop_its_turns() -> None:
    items = [Item(f"key-{n}", Request("POST", "https://host/v1")) for n in range(50_000)]
    waiters = {item.key: Waiter(TARGET, item, "f", 0, stage=Stage.QUEUED) for item in items}
    moved: list[int] = []

    async def program() -> None:
        answers = SimpleNamespace(callers=SimpleNamespace(waiters=lambda keys: map(waiters.__getitem__, keys)))
        claims = Claims(cast(Any, Disk()), cast(Any, answers), cast(Any, SimpleNamespace(budget=None)))
        claiming = asyncio.ensure_future(claims.claim("b", TARGET, items, {item.key for item in items}))
        while not claiming.done():
            moved.append(sum(waiter.stage is Stage.CLAIMED for waiter in waiters.values()))
            await asyncio.sleep(0)
        await claiming
        moved.append(len(items))

    asyncio.run(program())

    assert max(after - before for before, after in pairwise(moved)) <= PORTION
    assert all(waiter.stage is Stage.CLAIMED for waiter in waiters.values())
