"""The table of moves of a waiting request, how its tries are counted, and how its key is looked up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from itertools import product

import httpx
import pytest

from batchling.cache.memory import MemoryStore
from batchling.core.lifecycle import IllegalMove
from batchling.core.model import Item, Request, Target
from batchling.core.retry import BLAMELESS
from batchling.engine.waiter import STAGES, Stage, Tries, Waiter
from batchling.testing import ProviderServer
from tests.engine.calls import TLS, scope

TARGET = Target("openai", "https://api.openai.com/v1", "/v1/chat/completions", "m", "a")
HEADERS = {"authorization": "Bearer sk-1"}


def body(text: str) -> dict[str, object]:
    return {"model": "m", "messages": [{"role": "user", "content": text}]}


def waiter(stage: Stage) -> Waiter:
    request = Request("POST", "https://api.openai.com/v1/chat/completions", (), b"{}")
    return Waiter(TARGET, Item("key", request), "print", 0, stage=stage)


@pytest.mark.parametrize(("before", "after"), list(product(Stage, Stage)))
def test_only_moves_of_the_table_are_made(before: Stage, after: Stage) -> None:
    one = waiter(before)
    if after in STAGES[before]:
        one.move(after)
        assert one.stage is after
    else:
        with pytest.raises(IllegalMove):
            one.move(after)
        assert one.stage is before


def test_an_answer_says_still_whose_batch_it_came_from() -> None:
    one = waiter(Stage.FOLLOWED)
    one.followed = True
    one.move(Stage.ANSWERED)
    assert one.followed
    other = waiter(Stage.NEW)
    other.move(Stage.FOLLOWED)
    other.move(Stage.QUEUED)
    other.move(Stage.CLAIMED)
    other.move(Stage.ANSWERED)
    assert not other.followed


def test_a_request_is_unsent_until_a_batch_has_it() -> None:
    assert {stage for stage in Stage if waiter(stage).is_unsent} == {Stage.NEW, Stage.QUEUED}


def test_tries_that_nobody_is_to_blame_for_do_not_use_up_the_others() -> None:
    tries = Tries()
    assert not tries
    for _ in range(BLAMELESS):
        assert tries.allow(0, blameless=True)
        assert not tries.allow(0, blameless=False)
        tries = tries.one_more(blameless=True)
    assert tries
    assert not tries.allow(5, blameless=True)
    counted = Tries().one_more(blameless=False).doubtful()
    assert (counted.counted, counted.blameless, counted.doubts) == (1, 0, 1)
    assert counted.allow(2, blameless=False)
    assert not counted.allow(1, blameless=False)


def test_many_keys_are_looked_up_at_once_and_off_the_loop_thread(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store may be far away."""
    asked: list[tuple[str, int]] = []
    lookup = MemoryStore.lookup

    def counted(store: MemoryStore, keys: Iterable[str]) -> dict[str, str]:
        keys = tuple(keys)
        asked.append((threading.current_thread().name, len(keys)))
        return lookup(store, keys)

    monkeypatch.setattr(MemoryStore, "lookup", counted)

    async def ask(count: int) -> list[int]:
        async with httpx.AsyncClient(verify=TLS, timeout=30) as client:
            calls = (
                client.post(f"{provider_server.openai_url}/chat/completions", json=body(str(n)), headers=HEADERS)
                for n in range(count)
            )
            return [answer.status_code for answer in await asyncio.gather(*calls)]

    with scope(provider_server, cache=False, batch_size=100):
        assert asyncio.run(ask(100)) == [200] * 100
    assert {thread.partition("_")[0] for thread, _ in asked} == {"batchling-disk"}
    assert sum(count for _, count in asked) == 100
    assert len(asked) < 50


def test_a_store_that_cannot_be_asked_costs_no_hang(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(store: MemoryStore, keys: Iterable[str]) -> dict[str, str]:
        raise ConnectionError("the store is gone")

    monkeypatch.setattr(MemoryStore, "lookup", broken)
    with scope(provider_server, cache=False), httpx.Client(verify=TLS) as client:
        answer = client.post(f"{provider_server.openai_url}/chat/completions", json=body("a"), headers=HEADERS)
    assert answer.status_code == 424
    assert "batchling failed to handle this request (ConnectionError)" in answer.text
    assert not provider_server.billed()
