"""`max_waiting`: no more calls than that wait for an answer at a time, whatever ends their waiting, and none is lost."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
import trio
from hypothesis import given
from hypothesis import strategies as st

from batchling import Detached, events
from batchling.engine.room import Room
from batchling.engine.waiter import Arrival
from batchling.testing import ProviderServer
from tests.engine.calls import TLS, ask, ask_all, chat, scope
from tests.waiting import wait_until, wait_until_async

HOUR = 3600.0
"""A window that no test waits for: batches leave when they, or the room, are full."""

KEY = {"authorization": "Bearer sk-1"}


class Watch:
    """Listens to a scope: how many calls wait for an answer, how many at most, and how many wait for room."""

    def __init__(self) -> None:
        self.inside = self.most = self.answered = self.outside = self.throttled = 0

    def has(self, calls: int) -> bool:
        """Whether so many calls wait, inside or outside."""
        return self.inside + self.outside == calls

    def __call__(self, event: events.Event) -> None:
        match event:
            case events.Queued() | events.Hit():
                self.inside += 0 if event.again else event.calls
                self.most = max(self.most, self.inside)
            case events.Answered():
                self.inside -= event.calls
                self.answered += event.calls
            case events.Withdrawn() | events.GaveUp():
                self.inside -= 1
            case events.Throttled():
                self.outside = event.waiting
                self.throttled += event.calls


def url(server: ProviderServer) -> str:
    return f"{server.openai_url}/chat/completions"


def sizes(server: ProviderServer) -> list[int]:
    return list(server.jobs().values())


async def with_httpx(library: Any, server: ProviderServer, calls: int) -> list[int]:
    async with library.AsyncClient(verify=TLS if library is httpx else True, headers=KEY) as client:
        asked = (client.post(url(server), json=chat(f"question {number}")) for number in range(calls))
        return [answer.status_code for answer in await asyncio.gather(*asked)]


async def with_aiohttp(server: ProviderServer, calls: int) -> list[int]:
    async with aiohttp.ClientSession(headers=KEY) as session:

        async def one(number: int) -> int:
            async with session.post(url(server), json=chat(f"question {number}")) as answer:
                return answer.status

        return list(await asyncio.gather(*map(one, range(calls))))


async def on_trio(server: ProviderServer, calls: int) -> list[int]:
    found: list[int] = []
    async with httpx.AsyncClient(verify=TLS, headers=KEY) as client, trio.open_nursery() as nursery:

        async def one(number: int) -> None:
            found.append((await client.post(url(server), json=chat(f"question {number}"))).status_code)

        for number in range(calls):
            nursery.start_soon(one, number)
    return found


def in_threads(one: Callable[[int], Any], calls: int) -> list[int]:
    with ThreadPoolExecutor(calls) as pool:
        return [answer.status_code for answer in pool.map(one, range(calls))]


CLIENTS: dict[str, Callable[[ProviderServer, int], list[int]]] = {
    "httpx": lambda server, calls: asyncio.run(with_httpx(httpx, server, calls)),
    "httpx2": lambda server, calls: asyncio.run(with_httpx(httpx2, server, calls)),
    "aiohttp": lambda server, calls: asyncio.run(with_aiohttp(server, calls)),
    "trio": lambda server, calls: trio.run(on_trio, server, calls),
    "httpx in threads": lambda server, calls: in_threads(lambda number: ask(server, f"question {number}"), calls),
    "requests in threads": lambda server, calls: in_threads(
        lambda number: requests.post(url(server), json=chat(f"question {number}"), headers=KEY), calls
    ),
}


@pytest.mark.parametrize("client", CLIENTS)
def test_calls_wait_for_room_in_every_client(provider_server: ProviderServer, client: str) -> None:
    watch = Watch()
    context = scope(provider_server, max_waiting=2, batch_window_seconds=HOUR, on_event=watch)
    with context:
        assert CLIENTS[client](provider_server, 6) == [200] * 6

    assert sizes(provider_server) == [2, 2, 2]
    assert watch.most == 2
    assert context.receipt.throttled == 4  # type: ignore[attr-defined]


@pytest.mark.thorough
def test_two_thousand_requests_with_room_for_a_hundred(
    provider_server: ProviderServer, capsys: pytest.CaptureFixture[str]
) -> None:
    watch = Watch()
    with scope(provider_server, max_waiting=100, batch_window_seconds=HOUR, on_event=watch):
        assert len(ask_all(provider_server, [f"question {number}" for number in range(2000)])) == 2000

    assert watch.most == 100
    assert watch.answered == 2000
    assert sizes(provider_server) == [100] * 20
    billed = provider_server.billed()
    assert len(billed) == len({bill.key for bill in billed}) == 2000
    assert "1,900 waited for room" in capsys.readouterr().err


def test_first_come_first_served(provider_server: ProviderServer) -> None:
    asked: list[str] = []

    async def program() -> None:
        async with httpx.AsyncClient(verify=TLS, headers=KEY) as client:

            async def one(number: int) -> None:
                await client.post(url(provider_server), json=chat(f"{number}"))
                asked.append(f"{number}")

            await asyncio.gather(*map(one, range(5)))

    with scope(provider_server, max_waiting=1, batch_window_seconds=HOUR):
        asyncio.run(program())

    assert asked == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("size", [None, 2, 100])
def test_without_the_option_or_below_it_no_call_waits_for_room(
    provider_server: ProviderServer, size: int | None
) -> None:
    watch = Watch()
    context = scope(provider_server, max_waiting=size, batch_size=2, on_event=watch)
    with context:
        ask_all(provider_server, ["one", "two"])

    assert context.receipt.throttled == watch.throttled == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("ends", ["cancelled", "timed out"])
def test_a_caller_that_gives_up_makes_room_wherever_it_waits(provider_server: ProviderServer, ends: str) -> None:
    """Of two calls inside and three outside, one of each gives up: one goes in, one still waits, and both places are
    there afterwards."""
    watch = Watch()

    async def program() -> None:
        async with httpx.AsyncClient(verify=TLS, headers=KEY) as client:

            async def one(text: str) -> int:
                return (await client.post(url(provider_server), json=chat(text))).status_code

            async def give_up(number: int) -> None:
                if ends == "cancelled":
                    tasks[number].cancel()
                    await asyncio.wait([tasks[number]])
                else:
                    with pytest.raises(TimeoutError):
                        await asyncio.wait_for(tasks[number], 0.01)

            tasks = []
            for number in range(5):
                tasks.append(asyncio.create_task(one(f"first {number}")))
                await wait_until_async(partial(watch.has, number + 1), "it waits")
            await wait_until_async(lambda: provider_server.jobs(), "the windows have left")
            await give_up(3)
            await wait_until_async(lambda: watch.outside == 2, "one outside has given up")
            await give_up(0)
            await wait_until_async(lambda: watch.outside == 1 and watch.inside == 2, "the next one is inside")
            provider_server.release()
            assert list(await asyncio.gather(tasks[1], tasks[2], tasks[4])) == [200] * 3
            await wait_until_async(lambda: watch.inside == 0, "nobody waits")
            watch.most = 0  # one who gives up is replaced before it is counted
            assert await asyncio.gather(*(one(f"then {number}") for number in range(4))) == [200] * 4

    provider_server.hold()
    context = scope(provider_server, max_waiting=2, batch_window_seconds=0.5, on_event=watch)
    with context:
        asyncio.run(program())

    assert watch.most == 2
    assert context.receipt.withdrawn == 1  # type: ignore[attr-defined]


def test_a_scope_that_is_left_lets_all_of_them_in(provider_server: ProviderServer) -> None:
    watch = Watch()
    with ThreadPoolExecutor(5) as pool:
        provider_server.hold()
        with scope(provider_server, max_waiting=2, batch_window_seconds=HOUR, on_event=watch):
            answers = [pool.submit(ask, provider_server, f"{number}") for number in range(5)]
            wait_until(lambda: watch.outside == 3, "three wait for room")
            provider_server.release()

        assert [answer.result(30).status_code for answer in answers] == [200] * 5
    assert sizes(provider_server) == [2, 2, 1]


def test_a_scope_that_is_left_early_detaches_all_of_them(
    provider_server: ProviderServer, capsys: pytest.CaptureFixture[str]
) -> None:
    watch = Watch()
    with ThreadPoolExecutor(5) as pool:
        provider_server.hold()
        with (
            pytest.raises(KeyboardInterrupt),
            scope(provider_server, max_waiting=2, batch_window_seconds=HOUR, on_event=watch),
        ):
            answers = [pool.submit(ask, provider_server, f"{number}") for number in range(5)]
            wait_until(lambda: watch.outside == 3 and provider_server.jobs(), "three wait for room")
            raise KeyboardInterrupt

        assert [type(answer.exception(30)) for answer in answers] == [Detached] * 5
    assert sizes(provider_server) == [2]
    assert "3 requests were never sent" in capsys.readouterr().err


def test_calls_that_go_real_time_do_not_wait_for_room(provider_server: ProviderServer) -> None:
    watch = Watch()
    provider_server.hold()
    with (
        ThreadPoolExecutor(2) as pool,
        scope(provider_server, max_waiting=1, batch_window_seconds=HOUR, on_event=watch),
    ):
        answers = [pool.submit(ask, provider_server, f"{number}") for number in range(2)]
        wait_until(lambda: watch.outside == 1, "the room is full")
        assert ask(provider_server, "at once", stream=True).status_code == 200
        assert not any(answer.done() for answer in answers)
        provider_server.release()


def test_each_scope_has_its_own_room(provider_server: ProviderServer) -> None:
    watch = Watch()
    with scope(provider_server, max_waiting=1, batch_window_seconds=HOUR, on_event=watch):
        with scope(provider_server, batch_size=3, batch_window_seconds=HOUR):
            assert [answer.status_code for answer in ask_all(provider_server, ["1", "2", "3"])] == [200] * 3
        ask_all(provider_server, ["4", "5"])

    assert sizes(provider_server) == [3, 1, 1]
    assert watch.throttled == 1


def test_a_dry_run(provider_server: ProviderServer) -> None:
    context = scope(provider_server, max_waiting=2, batch_window_seconds=HOUR, dry_run=True)
    with context:
        answers = ask_all(provider_server, [f"{number}" for number in range(6)])

    assert [answer.headers["x-batchling-dry-run"] for answer in answers] == ["1"] * 6
    assert [line.estimate.batches for line in context.receipt.lines] == [3]  # type: ignore[attr-defined]
    assert not provider_server.calls()


def test_a_second_run_from_the_cache(provider_server: ProviderServer) -> None:
    texts = [f"{number}" for number in range(6)]
    for _ in range(2):
        watch = Watch()
        with scope(provider_server, max_waiting=2, batch_window_seconds=HOUR, on_event=watch):
            ask_all(provider_server, texts)
        assert (watch.most, watch.answered) == (2, 6)

    assert len(provider_server.billed()) == 6


def test_requests_that_are_submitted_again_fill_the_room_too(provider_server: ProviderServer) -> None:
    """They come back into windows from batches, while others wait for room."""
    provider_server.expire_job(done=0.0)
    with scope(provider_server, max_waiting=2, batch_window_seconds=HOUR):
        ask_all(provider_server, [f"{number}" for number in range(4)])

    assert sizes(provider_server) == [2, 2, 2]
    assert len(provider_server.billed()) == 4


def test_identical_calls_may_wait_for_one_answer(provider_server: ProviderServer) -> None:
    with scope(provider_server, max_waiting=2, batch_window_seconds=HOUR, duplicates="join"):
        assert [answer.status_code for answer in ask_all(provider_server, ["same"] * 5)] == [200] * 5

    assert len(provider_server.billed()) == 1


@pytest.mark.thorough
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_starts_afresh(provider_server: ProviderServer) -> None:
    watch = Watch()
    fork: Any = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()
    with (
        ThreadPoolExecutor(2) as pool,
        scope(provider_server, max_waiting=1, batch_window_seconds=0.1, on_event=watch),
    ):
        provider_server.hold()
        asked = [pool.submit(ask, provider_server, f"{number}") for number in range(2)]
        wait_until(lambda: watch.outside == 1, "the room is full")
        child = fork.Process(target=lambda: answers.put(ask(provider_server, "child").status_code))
        child.start()
        wait_until(lambda: len(provider_server.jobs()) == 2, "the child has submitted a batch of its own")
        provider_server.release()
        assert answers.get() == 200
        child.join(20)
        assert [answer.result(30).status_code for answer in asked] == [200] * 2


def test_that_calls_wait_for_room_is_logged_once(
    provider_server: ProviderServer, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.INFO, "batchling"),
        scope(provider_server, max_waiting=1, batch_window_seconds=HOUR),
    ):
        ask_all(provider_server, ["1", "2", "3"])
        ask_all(provider_server, ["4", "5", "6"])

    lines = [line.getMessage() for line in caplog.records if "wait for room" in line.getMessage()]
    assert lines == ["batchling: further calls wait for room: max_waiting=1"]


Step = tuple[str, int]


@given(st.integers(1, 4), st.lists(st.tuples(st.sampled_from(["arrive", "answer", "cancel", "work"]), st.integers(0))))
def test_places_are_never_lost_nor_given_twice(size: int, steps: list[Step]) -> None:
    """Calls arrive, are answered and cancelled in any order, at any moment of the engine's own work."""

    async def play() -> None:
        entered: list[Arrival] = []
        mail: deque[Callable[[], None]] = deque()

        async def nothing() -> None: ...

        queues: Any = type("Empty", (), {"__len__": lambda _: 0, "placed": lambda _: nothing()})()
        answers: Any = SimpleNamespace(emit=lambda _: None, callers=[None])
        room = Room(size, queues, answers, SimpleNamespace(post=mail.append), entered.append)  # type: ignore[arg-type]
        calls: list[Arrival] = []
        for what, number in steps:
            inside = [call for call in entered if not call.done()]
            waiting = [call for call in calls if not call.done()]
            match what:
                case "arrive":
                    calls.append(Arrival((None, None), None, None, ""))  # type: ignore[arg-type]
                    room.arrive(calls[-1])
                case "answer" if inside:
                    inside[number % len(inside)].set_result(None)  # type: ignore[arg-type]
                case "cancel" if waiting:
                    waiting[number % len(waiting)].cancel()
                case "work" if mail:
                    mail.popleft()()
            assert sum(not call.done() for call in entered) <= size
        while mail:
            mail.popleft()()
        waiting = [call for call in calls if not call.done()]
        assert [call for call in entered if not call.done()] == waiting[:size]
        assert len(room) == max(0, len(waiting) - size)
        assert entered == [call for call in calls if call in entered], "first come, first served"

    answers: Coroutine[Any, Any, None] = play()
    asyncio.run(answers)
