"""A program to be killed: it runs in a process of its own, which a warm server of forks starts in milliseconds."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Generator, Sequence
from dataclasses import replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from batchling.cache.files import FileStore
from batchling.engine import patience
from batchling.money import prices
from batchling.system import loop
from batchling.testing import ProviderServer
from tests.faults.calls import ask_all

prices.load()  # takes longer than all else that a short scope does

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["__main__", "tests.faults.victim"])


def start(
    server: ProviderServer,
    provider: str,
    texts: Sequence[str],
    folder: Path,
    *,
    kill_at: int = 0,
    ticks: Any = None,
    **options: object,
) -> ForkServerProcess:
    """A process that asks these texts in one scope and exits with 0 when each was answered with 200. It kills itself at
    its `kill_at`th tick; `ticks` (a shared value) tells how many there were."""
    place = (server.openai_url, server.anthropic_url, server.gateways)
    process = FORKS.Process(target=_main, args=(place, provider, list(texts), str(folder), kill_at, ticks, options))
    process.start()
    return process


def _main(
    place: tuple[str, str, dict[str, str]],
    provider: str,
    texts: list[str],
    folder: str,
    kill_at: int,
    ticks: Any,
    options: dict[str, Any],
) -> None:
    os.environ["BATCHLING_CACHE_DIR"] = folder
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    patience.USUAL = replace(patience.USUAL, listing=0.3)
    server = SimpleNamespace(openai_url=place[0], anthropic_url=place[1], gateways=place[2])
    counter = _Counter(kill_at)
    if kill_at or ticks is not None:
        counter.watch()
    statuses = ask_all(server, provider, texts, **options)
    if ticks is not None:
        ticks.value = counter.ticks
    os._exit(0 if statuses == [200] * len(texts) else 1)


class _Counter:
    """Ticks at every await of the engine, and before and after every call of the store and every write that has to last."""

    def __init__(self, kill_at: int) -> None:
        self._kill_at = kill_at
        self._lock = threading.Lock()
        self.ticks = 0

    def tick(self) -> None:
        with self._lock:
            self.ticks += 1
            if self.ticks == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        loop.engine_loop().call_soon_threadsafe(
            loop.engine_loop().set_task_factory,
            lambda on, work, **more: asyncio.Task(_Counted(work, self), loop=on, **more),
        )
        for name in ("claim", "load", "save", "drive", "release", "has_rows", "find_rows", "jobs", "in_flight"):
            setattr(FileStore, name, self._around(getattr(FileStore, name)))
        for name in ("fsync", "replace", "open", "unlink"):
            setattr(os, name, self._around(getattr(os, name)))

    def _around(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.tick()
            try:
                return work(*args, **kwargs)
            finally:
                self.tick()

        return counted


class _Counted(Coroutine[Any, Any, Any]):
    """A coroutine that ticks each time it goes on."""

    def __init__(self, work: Any, counter: _Counter) -> None:
        self._work = work
        self._counter = counter

    def send(self, value: Any) -> Any:
        self._counter.tick()
        return self._work.send(value)

    def throw(self, *fault: Any) -> Any:
        return self._work.throw(*fault)

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._work.__await__()  # type: ignore[no-any-return]
