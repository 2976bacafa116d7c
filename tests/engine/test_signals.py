"""Ctrl-C and SIGTERM beside whoever else has a say in them: other scopes, asyncio, trio, servers, the program itself."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchling import batchify
from batchling.scope.signals import Handler, Signals
from batchling.system.interrupts import finished

NUMBERS = (signal.SIGINT, signal.SIGTERM)


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in NUMBERS]


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    before = handlers()
    yield
    after = handlers()
    for number, handler in zip(NUMBERS, before, strict=True):
        signal.signal(number, handler)
    assert after == before


def sequences(scopes: int) -> list[tuple[tuple[str, int], ...]]:
    """Every order of opening and closing so many scopes; the first is opened first."""
    steps = [(what, scope) for scope in range(scopes) for what in ("open", "close")]
    return [
        order
        for order in itertools.permutations(steps)
        if [scope for what, scope in order if what == "open"] == list(range(scopes))
        and all(order.index(("open", scope)) < order.index(("close", scope)) for scope in range(scopes))
    ]


@pytest.mark.parametrize(
    "order", [*sequences(2), *sequences(3)], ids=lambda order: "".join(f"{w[0]}{s}" for w, s in order)
)
def test_handlers_are_ours_exactly_while_a_scope_is_open(order: tuple[tuple[str, int], ...]) -> None:
    before = handlers()
    detached: list[int] = []
    scopes = [Signals(lambda number=number: detached.append(number)) for number in range(3)]
    is_open: set[int] = set()
    for what, number in order:
        if what == "open":
            scopes[number].install()
            is_open.add(number)
        else:
            scopes[number].restore()
            is_open.remove(number)
        assert all(isinstance(handler, Handler) for handler in handlers()) == bool(is_open)
        for each, end in ((signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)):
            if is_open:
                detached.clear()
                with pytest.raises(end):
                    os.kill(os.getpid(), each)
                assert set(detached) == is_open
    assert handlers() == before


@pytest.mark.parametrize("times", [(0.01, 0.05), (0.05, 0.01), (0.03, 0.03)])
def test_scopes_of_one_loop_that_overlap(times: tuple[float, float]) -> None:
    """As two handlers of a web server do: the first to be opened may be the first to be closed."""
    before = handlers()

    async def program() -> None:
        opened = asyncio.Barrier(2)
        of_loop = signal.getsignal(signal.SIGINT)

        async def handler(seconds: float) -> None:
            async with batchify(cache=False, display="off"):
                await opened.wait()
                await asyncio.sleep(seconds)

        await asyncio.gather(*map(handler, times))
        assert signal.getsignal(signal.SIGINT) is of_loop

    asyncio.run(program())
    assert handlers() == before


@pytest.mark.thorough
@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["open", "close", "set", "chain", "save", "put back"]), st.integers(0, 2)),
        max_size=14,
    )
)
def test_whatever_a_program_does_its_own_handler_is_called_and_stays(steps: list[tuple[str, int]]) -> None:
    """Against a model that knows the program's own handlers alone: which of them a signal reaches, and in which order."""
    reached: list[object] = []

    def base(number: int, frame: object) -> None:
        reached.append("base")

    start = signal.signal(signal.SIGINT, base)
    scopes: dict[int, Signals] = {}
    detached: list[int] = []
    model: tuple[object, ...] = ("base",)
    """Whom a signal reaches without us, first to last."""
    saved: list[tuple[Any, tuple[object, ...]]] = []
    try:
        for step, (what, number) in enumerate(steps):
            if what == "open" and number not in scopes:
                scopes[number] = Signals(lambda number=number: detached.append(number))
                scopes[number].install()
            elif what == "close" and number in scopes:
                scopes.pop(number).restore()
            elif what in ("set", "chain"):
                previous = signal.getsignal(signal.SIGINT) if what == "chain" else None

                def own(number: int, frame: Any, step: int = step, previous: Any = previous) -> None:
                    reached.append(step)
                    if previous is not None:
                        previous(number, frame)

                signal.signal(signal.SIGINT, own)
                model = (step, *(model if what == "chain" else ()))
            elif what == "save":
                saved.append((signal.getsignal(signal.SIGINT), model))
            elif what == "put back" and saved:
                handler, model = saved[number % len(saved)]
                signal.signal(signal.SIGINT, handler)
            installed = signal.getsignal(signal.SIGINT)
            reached.clear()
            detached.clear()
            os.kill(os.getpid(), signal.SIGINT)
            assert tuple(reached) == model
            if isinstance(installed, Handler):
                assert sorted(detached) == sorted(scopes)
            assert len(detached) == len(set(detached))
        for scope in scopes.values():
            scope.restore()
        assert not isinstance(signal.getsignal(signal.SIGINT), Handler)
        reached.clear()
        os.kill(os.getpid(), signal.SIGINT)
        assert tuple(reached) == model
    finally:
        signal.signal(signal.SIGINT, start)


def test_a_handler_of_the_program_set_inside_the_scope_stays() -> None:
    own: Callable[..., None] = lambda *_: None  # noqa: E731
    with batchify(cache=False, display="off"):
        previous = signal.signal(signal.SIGINT, own)
    assert signal.getsignal(signal.SIGINT) is own
    assert isinstance(previous, Handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_an_ignored_signal_is_ignored() -> None:
    before = [signal.signal(number, signal.SIG_IGN) for number in NUMBERS]
    with batchify(cache=False, display="off"):
        assert handlers() == [signal.SIG_IGN] * 2
        for number in NUMBERS:
            os.kill(os.getpid(), number)
    assert handlers() == [signal.SIG_IGN] * 2
    for number, handler in zip(NUMBERS, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("chance", ["a signal", "another scope"])
def test_the_last_scope_is_closed_in_another_thread(chance: str) -> None:
    """Where Python lets nobody set a handler: ours does what the one before did, and goes as soon as it may."""
    before = handlers()
    heard: list[int] = []
    scope = Signals(lambda: heard.append(1))
    scope.install()
    thread = threading.Thread(target=scope.restore)
    thread.start()
    thread.join()
    if chance == "a signal":
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    other = Signals(lambda: None)
    other.install()
    other.restore()
    assert handlers() == before
    assert heard == []


def test_a_scope_of_another_thread_is_detached_too() -> None:
    heard: list[str] = []
    threads_scope, own = Signals(lambda: heard.append("thread")), Signals(lambda: heard.append("main"))
    thread = threading.Thread(target=threads_scope.install)
    thread.start()
    thread.join()
    own.install()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    own.restore()
    threads_scope.restore()
    assert heard == ["thread", "main"]


def test_asyncios_handler_of_a_run_that_is_over_is_not_put_back() -> None:
    """The scope is opened in one run and closed in another, as a fixture may do."""
    scope = Signals(lambda: None)

    async def opened() -> None:
        scope.install()

    async def closed() -> None:
        scope.restore()

    asyncio.run(opened())
    asyncio.run(closed())
    assert not finished(signal.getsignal(signal.SIGINT))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# In fresh interpreters, with real signals.

HEAD = """
import asyncio, os, signal, sys, threading, time
from batchling import batchify

def scope():
    return batchify(cache=False, display="off")

def send(number):
    os.kill(os.getpid(), number)

INT, TERM = signal.SIGINT, signal.SIGTERM
"""

OVERLAPPING = """
async def handler(seconds):
    async with scope():
        await asyncio.sleep(seconds)

async def main():
    await asyncio.gather(handler(0.02), handler(0.04))

asyncio.run(main())
"""

STALE = """
# As uvicorn's capture_signals does.
with scope():
    saved = signal.getsignal({number})
signal.signal({number}, saved)
"""

CHAINED = """
def own(number, frame):
    print("own", flush=True)
    previous(number, frame)
"""

CASES = {
    "overlapping, then Ctrl-C": (OVERLAPPING + "send(INT)", -signal.SIGINT, ""),
    "overlapping, then SIGTERM": (OVERLAPPING + "send(TERM)", -signal.SIGTERM, ""),
    "put back after the scope, SIGTERM": (STALE.format(number="TERM") + "send(TERM)", -signal.SIGTERM, ""),
    "put back after the scope, Ctrl-C": (STALE.format(number="INT") + "send(INT)", -signal.SIGINT, ""),
    "put back into a later scope": (
        STALE.format(number="TERM") + "with scope():\n    send(TERM)",
        128 + signal.SIGTERM,
        "",
    ),
    "put back, and a run": (
        STALE.format(number="INT")
        + """
async def main():
    try:
        send(INT)
        await asyncio.sleep(5)
    except asyncio.CancelledError:
        print("cancelled")
        raise
asyncio.run(main())""",
        -signal.SIGINT,
        "cancelled\n",
    ),
    "SIGTERM in the scope": (
        "try:\n    with scope():\n        send(TERM)\nfinally:\n    print('in order')",
        128 + signal.SIGTERM,
        "in order\n",
    ),
    "SIGTERM after the scope": ("with scope():\n    pass\nsend(TERM)\nprint('deaf')", -signal.SIGTERM, ""),
    "a handler that calls the previous one": (
        CHAINED + "with scope():\n    previous = signal.signal(TERM, own)\n    send(TERM)",
        128 + signal.SIGTERM,
        "own\n",
    ),
    "such a handler, after the scope": (
        CHAINED + "with scope():\n    previous = signal.signal(TERM, own)\nsend(TERM)",
        -signal.SIGTERM,
        "own\n",
    ),
    "a run in the scope is cancelled": (
        """
async def main():
    try:
        send(INT)
        await asyncio.sleep(5)
    except asyncio.CancelledError:
        print("cancelled")
        raise
with scope():
    asyncio.run(main())""",
        -signal.SIGINT,
        "cancelled\n",
    ),
    "a run in the scope that insists": (
        """
async def main():
    try:
        send(INT)
        await asyncio.sleep(5)
    except asyncio.CancelledError:
        print("cancelled")
        send(INT)
        print("deaf")
with scope():
    asyncio.run(main())""",
        -signal.SIGINT,
        "cancelled\n",
    ),
    "a run with a handler of the program in between": (
        """
def own(number, frame):
    previous(number, frame)
async def main():
    try:
        send(INT)
    except KeyboardInterrupt:
        print("not cancelled, as without a scope")
        raise
with scope():
    previous = signal.signal(INT, own)
    asyncio.run(main())""",
        -signal.SIGINT,
        "not cancelled, as without a scope\n",
    ),
    "a scope in a run": (
        """
async def main():
    async with scope():
        try:
            send(INT)
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            print("cancelled")
            raise
asyncio.run(main())""",
        -signal.SIGINT,
        "cancelled\n",
    ),
    "trio in a scope": (
        """
import trio
async def main():
    try:
        send(INT)
        await trio.sleep(5)
    except KeyboardInterrupt:
        print("interrupted")
        raise
with scope():
    trio.run(main)""",
        -signal.SIGINT,
        "interrupted\n",
    ),
    "trio in a scope, where it must not be interrupted": (
        """
import trio
async def main():
    @trio.lowlevel.enable_ki_protection
    def protected():
        send(INT)
        print("protected")
    protected()
    try:
        await trio.sleep(5)
    except KeyboardInterrupt:
        print("interrupted")
with scope():
    trio.run(main)""",
        0,
        "protected\ninterrupted\n",
    ),
    "loop.add_signal_handler before the scope": (
        """
async def main():
    heard = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(TERM, heard.set)
    async with scope():
        send(TERM)
        await asyncio.wait_for(heard.wait(), 5)
    heard.clear()
    send(TERM)
    await asyncio.wait_for(heard.wait(), 5)
    print("heard twice")
asyncio.run(main())
send(TERM)""",
        -signal.SIGTERM,
        "heard twice\n",
    ),
    "loop.add_signal_handler inside the scope": (
        """
async def main():
    heard = asyncio.Event()
    async with scope():
        asyncio.get_running_loop().add_signal_handler(TERM, heard.set)
        send(TERM)
        await asyncio.wait_for(heard.wait(), 5)
    heard.clear()
    send(TERM)
    await asyncio.wait_for(heard.wait(), 5)
    print("heard twice")
asyncio.run(main())
send(TERM)""",
        -signal.SIGTERM,
        "heard twice\n",
    ),
    "closed in a thread": (
        "s = scope()\ns.__enter__()\nt = threading.Thread(target=s.__exit__, args=(None,) * 3)\nt.start()\nt.join()\nsend(TERM)",
        -signal.SIGTERM,
        "",
    ),
    "a main thread that waits for its workers": (
        """
from concurrent.futures import ThreadPoolExecutor
over = threading.Event()
s = scope()
detach = s._batcher.detach
s._signals._detach = lambda: (over.set(), detach())
with s, ThreadPoolExecutor() as pool:
    threading.Timer(0.1, send, [INT]).start()
    pool.submit(over.wait).result()""",
        -signal.SIGINT,
        "",
    ),
}

UVICORN = {
    "around the server": (
        "with scope():\n    serve()\n    print('went on')",
        128 + signal.SIGTERM,
        "started\nstopped\n",
    ),
    "in its lifespan": ("LIFESPAN = scope\nserve()", -signal.SIGTERM, "started\nstopped\n"),
    "closed while it serves": (
        """
s = scope()
s.__enter__()
CLOSE = lambda: s.__exit__(None, None, None)
serve()""",
        -signal.SIGTERM,
        "started\nstopped\n",
    ),
    "in overlapping requests": ("OVERLAP = True\nserve()", -signal.SIGTERM, "started\noverlapped\nstopped\n"),
    "not at all": ("serve()", -signal.SIGTERM, "started\nstopped\n"),
}

SERVER = """
import contextlib, uvicorn
from tests.waiting import wait_until_async
LIFESPAN, CLOSE, OVERLAP = contextlib.nullcontext, None, False

async def app(request, receive, send_):
    assert request["type"] == "lifespan"
    await receive()
    async with contextlib.AsyncExitStack() as stack:
        with LIFESPAN():
            await send_({"type": "lifespan.startup.complete"})
            asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(later()))
            await receive()
            print("stopped", flush=True)
    await send_({"type": "lifespan.shutdown.complete"})

async def handler(seconds):
    async with scope():
        await asyncio.sleep(seconds)

async def later():
    await wait_until_async(lambda: server.started, "uvicorn has started")
    print("started", flush=True)
    if CLOSE is not None:
        CLOSE()
    if OVERLAP:
        await asyncio.gather(handler(0.02), handler(0.04))
        print("overlapped", flush=True)
    send(TERM)

server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", loop=LOOP))
serve = server.run
"""


def run(program: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-u", "-c", HEAD + textwrap.dedent(program)], capture_output=True, text=True, timeout=50
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.thorough
@pytest.mark.parametrize("case", CASES)
def test_real_signals(case: str) -> None:
    program, status, output = CASES[case]
    returned, printed, errors = run(program)
    assert (returned, printed) == (status, output), errors


@pytest.mark.thorough
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("case", UVICORN)
def test_beside_uvicorn(case: str, loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed")
    program, status, output = UVICORN[case]
    returned, printed, errors = run(f"LOOP = {loop!r}\n" + SERVER + program)
    assert (returned, printed) == (status, output), errors
