"""Threads of the program: they see the scope, and stay what they are."""

from __future__ import annotations

import asyncio
import multiprocessing
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from typing import Any

import pytest

from batchling import install_hooks
from batchling.core.events import Spawned
from batchling.errors import Detached
from batchling.hooks.threads import _submit
from batchling.system.gate import active, current
from tests.hooks.world import RecordingGate, opened


def test_run_stays_what_it_is(gate: RecordingGate) -> None:
    """A bound method, an instance's own, a property, a read-only one: all are run, and are there afterwards."""
    seen: list[Any] = []

    class Bound(threading.Thread):
        def run(self) -> None:
            seen.append((self, current()))

    class ByProperty(threading.Thread):
        @property
        def run(self) -> Any:  # type: ignore[override]
            return lambda: seen.append((self, current()))

    class ReadOnly(Bound):
        def __setattr__(self, name: str, value: object) -> None:
            if name == "run":
                raise AttributeError("read-only")
            super().__setattr__(name, value)

    own = threading.Thread()
    own.run = lambda: seen.append((own, current()))  # type: ignore[method-assign]
    kept = own.run
    threads = [Bound(), ByProperty(), ReadOnly(), own]
    for thread in threads:
        before = getattr(thread.run, "__func__", None)
        thread.start()
        thread.join(5)
        assert getattr(thread.run, "__func__", None) is before

    assert seen == [(thread, gate) for thread in threads]
    assert own.run is kept
    own.run()
    assert seen[-1][0] is own


def test_a_thread_of_a_thread_and_its_tasks_see_the_scope(gate: RecordingGate) -> None:
    seen: list[object] = []

    async def program() -> None:
        seen.append(current())
        seen.append(await asyncio.to_thread(current))

    def outer() -> None:
        seen.append(current())
        inner = threading.Thread(target=lambda: asyncio.run(program()))
        inner.start()
        inner.join()

    thread = threading.Thread(target=outer)
    thread.start()
    thread.join()

    assert seen == [gate] * 3


def test_a_worker_that_was_started_in_a_scope_takes_jobs_from_outside(gate: RecordingGate) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(current).result() is gate
        token = active.set(None)
        assert pool.submit(current).result() is None
        active.reset(token)


def test_a_thread_pool_that_is_older_than_the_scope_is_reached() -> None:
    with ThreadPool(1) as pool:
        install_hooks()
        gate = RecordingGate()
        with opened(gate):
            seen = [
                pool.apply(current),
                pool.apply_async(func=current).get(),
                *pool.map(lambda _: current(), [1]),
                *pool.starmap(lambda a, b: current(), [(1, 2)]),
                *pool.imap(lambda _: current(), [1]),
                *pool.imap_unordered(lambda _: current(), [1]),
            ]
            token = active.set(None)
            assert pool.apply(current) is None
            active.reset(token)
            with pytest.raises(TypeError):
                pool.apply_async()  # type: ignore[call-arg]

    assert seen == [gate] * 6


def test_a_pool_of_processes_is_left_alone(gate: RecordingGate) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(abs, (-1,)) == 1
    assert gate.noticed == [Spawned("spawn")]


def test_what_goes_to_another_interpreter_is_left_alone(gate: RecordingGate) -> None:
    """Python 3.14's executor hands what it gets to an interpreter that has none of our objects."""

    class InterpreterPoolExecutor(ThreadPoolExecutor):
        pass

    taken: list[Any] = []
    for executor in (InterpreterPoolExecutor(1), ThreadPoolExecutor(1)):
        with executor:
            _submit(lambda *args, **kwargs: taken.append((args, kwargs)), executor, (len, "abc"), {"a": 1})

    assert taken[0] == ((len, "abc"), {"a": 1})
    assert taken[1][0][-2:] == (len, "abc")
    assert taken[1][0][0] is not len


def test_a_detached_thread_ends_without_a_traceback(gate: RecordingGate, capsys: pytest.CaptureFixture[str]) -> None:
    def detached() -> None:
        raise Detached

    def broken() -> None:
        raise ValueError("told")

    for target in (detached, broken):
        thread = threading.Thread(target=target)
        hook = threading.excepthook
        told: list[Any] = []
        threading.excepthook = told.append
        try:
            thread.start()
            thread.join()
        finally:
            threading.excepthook = hook
        assert [each.exc_type for each in told] == ([] if target is detached else [ValueError])
    assert "Detached" not in capsys.readouterr().err


SENTRYS_WAY = """
import threading
start = threading.Thread.start
def wrapping(self):
    run = getattr(self.run, "__func__", self.run)
    def ours(*args):
        return run(self, *args[1:])
    self.run = ours.__get__(self)
    return start(self)
"""


@pytest.mark.thorough
@pytest.mark.parametrize("first", ["theirs", "ours"])
def test_beside_others_who_wrap_run(first: str) -> None:
    """As an error tracker does it: it takes the function out of the bound method and calls it with the thread."""
    theirs, ours = SENTRYS_WAY + "threading.Thread.start = wrapping\n", "install_hooks()\n"
    program = f"""
import asyncio, faulthandler
faulthandler.dump_traceback_later(20, exit=True)
from concurrent.futures import ThreadPoolExecutor
from batchling import batchify, install_hooks
{theirs + ours if first == "theirs" else ours + theirs}
with batchify(cache=False, display="off"):
    ran = []
    thread = threading.Thread(target=ran.append, args=(1,)); thread.start(); thread.join()
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(abs, (-1, -2))) == [1, 2]
    assert asyncio.run(asyncio.to_thread(abs, -1)) == 1
    assert asyncio.run(asyncio.wait_for(asyncio.to_thread(ran.append, 2), 5)) is None
assert ran == [1, 2]
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=40)
