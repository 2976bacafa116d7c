"""How callers wait on event loops: nobody is forgotten, and no loop outlives its program's use of it."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import trio

from batchling.core.model import Response
from batchling.hooks.waiting import wait_async
from batchling.system.pending import Pending

ANSWER = Response(200)
LOOPS = 30


def new_loop(kind: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if kind == "uvloop":
        return pytest.importorskip("uvloop", reason="uvloop is not installed").new_event_loop  # type: ignore[no-any-return]
    return asyncio.new_event_loop


def answered() -> Pending[Response]:
    """An answer that comes from another thread, a moment later."""
    future: Pending[Response] = Pending()
    threading.Timer(0.002, future.set_result, [ANSWER]).start()
    return future


def alive(loops: list[weakref.ref[Any]]) -> int:
    gc.collect()
    return sum(loop() is not None for loop in loops)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_closed_loops_are_freed(kind: str) -> None:
    make = new_loop(kind)
    loops = []
    for _ in range(LOOPS):
        loop = make()
        loops.append(weakref.ref(loop))
        assert loop.run_until_complete(wait_async(answered())) is ANSWER
        loop.close()
        del loop
    assert alive(loops) == 0


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_loops_that_never_saw_their_answer_are_freed(kind: str) -> None:
    """Answered after the loop had stopped for good, closed or not: its flags were due and nobody came for them."""
    make = new_loop(kind)
    loops = []
    for number in range(LOOPS):
        loop = make()
        loops.append(weakref.ref(loop))
        future: Pending[Response] = Pending()
        task = loop.create_task(wait_async(future))
        loop.run_until_complete(asyncio.sleep(0))
        if number % 2:
            loop.close()
        future.set_result(ANSWER)
        if not number % 2:
            loop.close()
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        del loop, task, future
    assert alive(loops) == 0


@pytest.mark.thorough
def test_withdrawn_calls_keep_no_loop() -> None:
    loops = []
    never: list[Pending[Response]] = []

    async def give_up() -> None:
        never.append(Pending())
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(wait_async(never[-1]), 0.001)

    for _ in range(LOOPS):
        loop = asyncio.new_event_loop()
        loops.append(weakref.ref(loop))
        loop.run_until_complete(give_up())
        loop.close()
        del loop
    assert all(future.cancelled() for future in never)
    never.clear()
    assert alive(loops) == 0


@pytest.mark.thorough
def test_trios_runs_are_freed() -> None:
    tokens = []

    async def program() -> None:
        tokens.append(weakref.ref(trio.lowlevel.current_trio_token()))
        assert await wait_async(answered()) is ANSWER

    for _ in range(LOOPS):
        trio.run(program)
    assert alive(tokens) == 0


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["asyncio", "uvloop", "trio"])
def test_nobody_is_forgotten_when_many_threads_answer(kind: str) -> None:
    make = new_loop(kind) if kind != "trio" else None
    calls, threads = 2_000, 8
    futures: list[Pending[Response]] = [Pending() for _ in range(calls)]
    start = threading.Barrier(threads + 1)

    def answer(number: int) -> None:
        start.wait(10)
        for future in futures[number::threads]:
            future.set_result(ANSWER)

    workers = [threading.Thread(target=answer, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    done = []

    async def one(future: Pending[Response]) -> None:
        done.append(await wait_async(future))

    async def on_trio() -> None:
        async with trio.open_nursery() as nursery:
            for future in futures:
                nursery.start_soon(one, future)
            nursery.start_soon(trio.to_thread.run_sync, start.wait)

    async def on_asyncio() -> None:
        asyncio.get_running_loop().run_in_executor(None, start.wait)
        await asyncio.gather(*map(one, futures))

    if make is None:
        trio.run(on_trio)
    else:
        loop = make()
        loop.run_until_complete(asyncio.wait_for(on_asyncio(), 30))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    for worker in workers:
        worker.join()
    assert len(done) == calls
