"""The classic traps, walked into by real clients: what is said of them, when, and how often."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import anyio
import httpx
import pytest
import trio

from batchling import batchify, uninstall_hooks
from batchling.providers.cache_marks import has_short_cache_mark
from batchling.testing import ProviderServer
from tests.engine.calls import TLS, ask, ask_all, ask_claude, chat, gather, scope, together


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.thorough
def test_a_loop_of_calls(provider_server: ProviderServer, caplog: pytest.LogCaptureFixture) -> None:
    with scope(provider_server, batch_window_seconds=0.01):
        for number in range(5):
            ask(provider_server, f"question {number}")

    (text,) = warnings(caplog)
    assert "batches of m in a row held one request each" in text


@pytest.mark.thorough
def test_a_semaphore(provider_server: ProviderServer, caplog: pytest.LogCaptureFixture) -> None:
    async def program() -> None:
        few = asyncio.Semaphore(2)

        async def one(text: str) -> None:
            async with few:
                await gather(provider_server, [text])

        await asyncio.gather(*(one(f"question {number}") for number in range(8)))

    with scope(provider_server, **together(2)):
        asyncio.run(program())

    (text,) = warnings(caplog)
    assert "held 2 requests each" in text


@pytest.mark.thorough
def test_a_program_that_asks_at_once_is_told_nothing(
    provider_server: ProviderServer, caplog: pytest.LogCaptureFixture
) -> None:
    with scope(provider_server, **together(20)):
        ask_all(provider_server, [str(number) for number in range(20)])
        for number in range(3):
            ask(provider_server, f"once more {number}")

    assert warnings(caplog) == []


async def _post(server: ProviderServer, text: str) -> httpx.Response:
    async with httpx.AsyncClient(verify=TLS) as client:
        return await client.post(
            f"{server.openai_url}/chat/completions", json=chat(text), headers={"authorization": "Bearer sk-1"}
        )


async def by_wait_for(server: ProviderServer) -> None:
    await asyncio.wait_for(_post(server, "a"), 1000)


async def by_timeout(server: ProviderServer) -> None:
    async with asyncio.timeout(1000):
        await _post(server, "a")


async def by_anyio(server: ProviderServer) -> None:
    with anyio.fail_after(1000):
        await _post(server, "a")


async def unlimited(server: ProviderServer) -> None:
    async def idle() -> None:
        async with asyncio.timeout(1000):
            begun.set()
            await forever.wait()

    begun, forever = asyncio.Event(), asyncio.Event()
    others = asyncio.create_task(asyncio.wait_for(idle(), 1000))
    await begun.wait()
    await _post(server, "a")
    forever.set()
    await others


async def around_gather(server: ProviderServer) -> None:
    async def metric() -> None:
        await asyncio.gather(_post(server, "a"), asyncio.sleep(0))

    await asyncio.wait_for(metric(), 1000)


async def around_group(server: ProviderServer) -> None:
    async with asyncio.timeout(1000), asyncio.TaskGroup() as group:
        group.create_task(_post(server, "a"))


async def around_wait(server: ProviderServer) -> None:
    async with asyncio.timeout(1000):
        await asyncio.wait([asyncio.create_task(_post(server, "a"))])


async def around_task(server: ProviderServer) -> None:
    async with asyncio.timeout(1000):
        await asyncio.create_task(_post(server, "a"))


async def around_as_completed(server: ProviderServer) -> None:
    async with asyncio.timeout(1000):
        for one in asyncio.as_completed([_post(server, "a")]):
            await one


IN_CHILD_TASKS = [around_gather, around_group, around_wait, around_task, around_as_completed]


@pytest.mark.thorough
@pytest.mark.parametrize("program", [by_wait_for, by_timeout, by_anyio, *IN_CHILD_TASKS])
def test_a_time_limit_is_told_before_the_wait(
    provider_server: ProviderServer, caplog: pytest.LogCaptureFixture, program: Any
) -> None:
    told: list[list[str]] = []

    def listen(event: object) -> None:
        if type(event).__name__ == "Submitted":
            told.append(warnings(caplog))

    with scope(provider_server, on_event=listen):
        asyncio.run(program(provider_server))

    (text,) = told[0]
    assert "the program gives up a call to m after 17 min" in text
    assert warnings(caplog) == told[0]


@pytest.mark.thorough
def test_a_time_limit_of_trio(provider_server: ProviderServer, caplog: pytest.LogCaptureFixture) -> None:
    async def program() -> None:
        with trio.fail_after(1000):
            await _post(provider_server, "a")

    with scope(provider_server):
        trio.run(program)

    assert "after 17 min" in warnings(caplog)[0]


@pytest.mark.thorough
def test_the_limits_of_other_tasks_are_not_those_of_the_call(
    provider_server: ProviderServer, caplog: pytest.LogCaptureFixture
) -> None:
    with scope(provider_server):
        asyncio.run(unlimited(provider_server))

    assert warnings(caplog) == []


@pytest.mark.thorough
def test_a_call_that_is_answered_from_the_cache_has_no_time_to_wait(
    provider_server: ProviderServer, caplog: pytest.LogCaptureFixture
) -> None:
    with scope(provider_server):
        asyncio.run(_post(provider_server, "a"))
    with scope(provider_server):
        asyncio.run(by_wait_for(provider_server))

    assert warnings(caplog) == []


@pytest.mark.thorough
def test_short_cache_marks(provider_server: ProviderServer, caplog: pytest.LogCaptureFixture) -> None:
    def system(**more: str) -> list[dict[str, object]]:
        return [{"type": "text", "text": "long", "cache_control": {"type": "ephemeral", **more}}]

    with scope(provider_server):
        ask_claude(provider_server, "a", system=system(ttl="1h"))
    with scope(provider_server):
        ask_claude(provider_server, 'b "cache_control" {"type": "ephemeral"}')
    assert warnings(caplog) == []
    with scope(provider_server, **together(2)):
        ask_claude(provider_server, "c", system=system())
        ask_claude(provider_server, "d", system=system())

    (text,) = [each for each in warnings(caplog) if "2 batches of m in a row" not in each]
    assert '"ttl": "1h"' in text


@pytest.mark.parametrize(
    ("body", "brief"),
    [
        ({"system": [{"cache_control": {"type": "ephemeral"}}]}, True),
        ({"tools": [{"cache_control": {"type": "ephemeral", "ttl": "5m"}}]}, True),
        ({"messages": [{"content": [{"cache_control": {"type": "ephemeral"}}]}]}, True),
        ({"messages": [{"content": [{"content": [{"cache_control": {"type": "ephemeral"}}]}]}]}, True),
        ({"cache_control": {"type": "ephemeral"}}, True),
        ({"system": [{"cache_control": {"type": "ephemeral", "ttl": "1h"}}]}, False),
        ({"messages": [{"content": [{"input": {"cache_control": {"type": "ephemeral"}}}]}]}, False),
        ({"system": "cache_control", "messages": None, "tools": [None, 3, {"cache_control": None}]}, False),
    ],
)
def test_where_marks_stand(body: dict[str, Any], brief: bool) -> None:
    assert has_short_cache_mark(body) is brief


def test_a_scope_that_intercepts_nothing(provider_server: ProviderServer, caplog: pytest.LogCaptureFixture) -> None:
    with scope(provider_server):
        httpx.get(provider_server.url + "/nowhere", verify=TLS)

    (text,) = warnings(caplog)
    assert text.startswith("batchling: no call was intercepted in this scope. Likely because ")


def test_hooks_that_were_taken_out(provider_server: ProviderServer, caplog: pytest.LogCaptureFixture) -> None:
    context = scope(provider_server)
    uninstall_hooks()
    with context:
        ask(provider_server, "a")

    assert "uninstall_hooks()" in warnings(caplog)[0]


@pytest.mark.thorough
def test_what_is_no_empty_scope(provider_server: ProviderServer, caplog: pytest.LogCaptureFixture) -> None:
    with scope(provider_server):  # the inner one had them
        with scope(provider_server):
            ask(provider_server, "a")
    with pytest.raises(ZeroDivisionError), batchify():  # it did not come so far
        raise ZeroDivisionError

    assert warnings(caplog) == []


@pytest.mark.thorough
def test_the_first_call_at_full_price_is_told_before_the_scope_ends(
    provider_server: ProviderServer, caplog: pytest.LogCaptureFixture
) -> None:
    with scope(provider_server):
        for text in "ab":
            ask(provider_server, text, stream=True)
        ask(provider_server, "c")
        told = warnings(caplog)

    (text,) = told
    assert "goes real time, at full price: streaming. Send it without stream=True to have it batched" in text
    assert warnings(caplog) == told
