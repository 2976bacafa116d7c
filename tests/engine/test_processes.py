"""Ctrl-C, fork and spawn, interpreter exit: in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from batchling.testing import ProviderServer
from tests.engine.calls import ask, ask_all, scope
from tests.engine.programs import HEAD, start_program
from tests.waiting import wait_until

PROGRAMS = {
    "async": """
with batchify(**options):
    asyncio.run(gather(server, ["a", "b", "c"]))
""",
    "async with": """
async def main():
    async with batchify(**options):
        await gather(server, ["a", "b", "c"])
asyncio.run(main())
""",
    "threads": """
with batchify(**options):
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda text: ask(server, text), "abc"))
""",
    "leaving": """
with batchify(**options):
    for text in "abc":
        threading.Thread(target=ask, args=(server, text), daemon=True).start()
    wait_until(lambda: len(next(iter(open_gates))._callers) >= 3, "all three calls wait")
""",
}


@pytest.mark.parametrize(
    "kind", ["threads", *(pytest.param(k, marks=pytest.mark.slow) for k in PROGRAMS if k != "threads")]
)
def test_ctrl_c_detaches_and_the_next_run_collects(
    provider_server: ProviderServer, batchling_cache: Path, kind: str
) -> None:
    provider_server.hold()
    process = start_program(provider_server, batchling_cache, HEAD + PROGRAMS[kind])

    def polled() -> bool:
        assert process.poll() is None
        return any(seen.status == 200 and "/batches/" in seen.path for seen in provider_server.calls("GET"))

    wait_until(polled, "a poll of the job is answered")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)

    assert process.returncode in (1, 130, -signal.SIGINT), errors
    assert "KeyboardInterrupt" in errors
    assert "Exception in thread" not in errors
    assert "1 job keeps running at the provider: run the same program again to collect" in errors

    provider_server.release()
    with scope(provider_server):
        assert [r.status_code for r in ask_all(provider_server, list("abc"))] == [200] * 3
    assert len(provider_server.creates()) == 1
    assert len(provider_server.billed()) == 3


@pytest.mark.thorough
def test_interpreter_exit_with_an_open_scope(provider_server: ProviderServer, batchling_cache: Path) -> None:
    provider_server.hold()
    program = """
scope = batchify(**options)
scope.__enter__()
threading.Thread(target=ask, args=(server, "x"), daemon=True).start()
records = Path(os.environ["BATCHLING_CACHE_DIR"], "batches")
wait_until(lambda: any(b'"running"' in path.read_bytes() for path in records.glob("*.json")), "a batch is running")
"""
    process = start_program(provider_server, batchling_cache, HEAD + program)
    _, errors = process.communicate(timeout=20)

    assert process.returncode == 0, errors
    assert "1 job keeps running at the provider" in errors
    assert "failed inside" not in errors
    provider_server.release()
    with scope(provider_server):
        assert ask(provider_server, "x").status_code == 200
    assert len(provider_server.billed()) == 1


def _in_child(server: ProviderServer, text: str, answers: object) -> None:
    answers.put(ask(server, text).status_code)  # type: ignore[attr-defined]


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.mark.thorough
@needs_fork
def test_forked_children_use_the_scope_they_were_born_in(provider_server: ProviderServer) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    address = _Address(provider_server)
    with scope(provider_server):
        assert ask(provider_server, "parent before").status_code == 200
        children = [context.Process(target=_in_child, args=(address, f"child {n}", answers)) for n in range(2)]
        for child in children:
            child.start()
        assert ask(provider_server, "parent meanwhile").status_code == 200
        for child in children:
            child.join(20)
    assert [answers.get(timeout=5) for _ in children] == [200, 200]
    assert [child.exitcode for child in children] == [0, 0]
    assert len(provider_server.billed(batch=True)) == 4
    assert provider_server.billed(batch=False) == []


def _spawned(server: _Address, text: str, answers: object) -> None:
    with scope(server):  # type: ignore[arg-type]
        answers.put(ask(server, text).status_code)  # type: ignore[attr-defined, arg-type]


@pytest.mark.thorough
def test_spawned_children_open_their_own(provider_server: ProviderServer) -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    child = context.Process(target=_spawned, args=(_Address(provider_server), "spawned", answers))
    child.start()
    child.join(30)

    assert answers.get(timeout=5) == 200
    assert len(provider_server.billed(batch=True)) == 1


class _Address:
    """What a child needs to know of the server, which itself cannot be pickled."""

    def __init__(self, server: ProviderServer) -> None:
        self.openai_url = server.openai_url
        self.gateways = server.gateways


def _pooled(server: _Address, text: str) -> int:
    return ask(server, text).status_code  # type: ignore[arg-type]


def _pooled_in_its_own_scope(server: _Address, text: str) -> int:
    with scope(server):  # type: ignore[arg-type]
        return _pooled(server, text)


@pytest.mark.parametrize("kind", ["Pool", "ProcessPoolExecutor"])
@pytest.mark.parametrize(
    "method", [pytest.param("fork", marks=needs_fork), pytest.param("spawn", marks=pytest.mark.slow)]
)
def test_pools_of_processes(provider_server: ProviderServer, kind: str, method: str) -> None:
    """Forked workers are in the scope they were born in; spawned ones open their own, on the same cache."""
    context = multiprocessing.get_context(method)
    work = partial(_pooled if method == "fork" else _pooled_in_its_own_scope, _Address(provider_server))
    with scope(provider_server):
        assert ask(provider_server, "mine").status_code == 200
        if kind == "Pool":
            with context.Pool(2) as pool:
                found = pool.map(work, ["a", "b", "mine"], chunksize=1)
        else:
            with ProcessPoolExecutor(2, mp_context=context) as executor:
                found = list(executor.map(work, ["a", "b", "mine"]))

    assert found == [200] * 3
    # A sample more of "mine" only where the worker counts on from its parent's.
    assert len(provider_server.billed(batch=True)) in (3, 4)
    assert provider_server.billed(batch=False) == []


def _wait_for_the_end(born: object) -> None:
    born.set()  # type: ignore[attr-defined]
    threading.Event().wait(30)


@needs_fork
def test_a_forked_worker_is_ended_like_any_other(provider_server: ProviderServer) -> None:
    context = multiprocessing.get_context("fork")
    born = context.Event()
    with scope(provider_server):
        child = context.Process(target=_wait_for_the_end, args=(born,))
        child.start()
        assert born.wait(10)
        child.terminate()
        child.join(20)
    assert child.exitcode == -signal.SIGTERM


@needs_fork
def test_a_handler_of_the_programs_own_goes_along_into_forked_children(provider_server: ProviderServer) -> None:
    context = multiprocessing.get_context("fork")
    seen = context.Queue()

    def in_child() -> None:
        seen.put(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)

    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        for inherited in (lambda *_: None, signal.SIG_DFL):
            signal.signal(signal.SIGTERM, inherited)
            with scope(provider_server), scope(provider_server):
                child = context.Process(target=in_child)
                child.start()
                child.join(20)
            assert seen.get(timeout=5) is (inherited is signal.SIG_DFL)
    finally:
        signal.signal(signal.SIGTERM, before)
