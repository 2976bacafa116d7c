"""The one loop thread, started by whoever needs it first."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from batchling.system import loop
from batchling.system.loop import engine_loop


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch):
    """A process that has no loop yet."""
    engine: dict[str, asyncio.AbstractEventLoop] = {}
    monkeypatch.setattr(loop, "_engine", engine)
    yield
    for running in engine.values():
        running.call_soon_threadsafe(running.stop)


def is_alive(running: asyncio.AbstractEventLoop) -> bool:
    turned = threading.Event()
    running.call_soon_threadsafe(turned.set)
    return turned.wait(10)


def test_a_signal_may_come_while_the_loop_is_started(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler of Ctrl-C posts to the loop, from within whatever the main thread does."""
    make = loop.Loop
    of_handler = []

    def interrupted() -> asyncio.AbstractEventLoop:
        monkeypatch.setattr(loop, "Loop", make)
        of_handler.append(engine_loop())
        return make()

    monkeypatch.setattr(loop, "Loop", interrupted)
    assert engine_loop() is of_handler[0]
    assert is_alive(engine_loop())


def test_threads_that_need_it_at_once_get_one_loop(fresh: None) -> None:
    together = threading.Barrier(8)

    def ask(_: int) -> asyncio.AbstractEventLoop:
        together.wait(10)
        return engine_loop()

    with ThreadPoolExecutor(8) as pool:
        loops = set(pool.map(ask, range(8)))
    assert len(loops) == 1
    assert is_alive(loops.pop())
