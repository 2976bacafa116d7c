"""Jobs at the embedded server that are polled for hours within a second: all calls are made, no time passes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any, cast

import pytest

from batchling.core.lifecycle import Phase, Record
from batchling.core.model import Item, Job, Request, Site, State, Status
from batchling.engine import polling
from batchling.engine.access import Access
from batchling.engine.batch import Batch, Tools
from batchling.engine.exchange import Exchange
from batchling.engine.patience import Patience
from batchling.engine.polling import Polling
from batchling.engine.sender import Sender
from batchling.providers import PROVIDERS
from batchling.providers.asking import request
from batchling.providers.base import Provider, Refused
from batchling.providers.files import FileDialect
from batchling.providers.openai import OPENAI
from batchling.system import clock
from batchling.testing import ProviderServer
from tests.providers.provider_cases import ProviderCase, as_bytes
from tests.waiting import wait_until_async

INTERVAL = 10.0
LISTS = ("/batches", "/batch/jobs", "/batchInferenceJobs", "/batchPredictionJobs", "/list-of-jobs")
"""How the paths of the calls that list jobs end."""


@dataclass(frozen=True)
class Elsewhere(FileDialect):
    """OpenAI, with a list that does not exist."""

    def list_call(self, at: Site, listing: str, place: str) -> Request:
        return request("GET", at, "/list-of-jobs")


def like_openai(kind: type[FileDialect], **more: Any) -> Any:
    return kind(**{field.name: getattr(OPENAI, field.name) for field in fields(OPENAI)}, **more)


class Timeline:
    """Polls jobs of one provider, each `INTERVAL` seconds after its last poll. `polls` are the times and statuses, by the
    job's id."""

    def __init__(self, server: ProviderServer, case: ProviderCase, provider: Provider | None = None) -> None:
        self.now: float = 1_000.0
        self.polls: dict[str, list[tuple[float, Status]]] = {}
        self.refused: list[str] = []
        self._server = server
        self._case = case
        self._provider = provider or {p.name: p for p in case.providers(server)}.get(case.name, PROVIDERS[case.name])
        self._sender = Sender()
        self._exchange = Exchange(self._sender, lambda _: None, Patience(), self._wait)
        self._polling = Polling(self._exchange)
        self._waits: list[tuple[float, asyncio.Future[None]]] = []
        self._watched: list[asyncio.Task[None]] = []

    async def _wait(self, seconds: float) -> None:
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waits.append((self.now + seconds, end))
        await end

    async def create(self, count: int, key: str = "sk-1") -> list[tuple[Batch, Job]]:
        """Create jobs, of as many rows as the provider needs for one."""
        pausing, self._exchange.wait = self._exchange.wait, asyncio.sleep
        made = await asyncio.gather(*(self._create(number, key) for number in range(count)))
        self._exchange.wait = pausing
        return made

    async def _create(self, number: int, key: str) -> tuple[Batch, Job]:
        tag = f"{number:08x}{key.encode().hex()[:16]:0>16}"
        bodies = [self._case.body(f"text {number} {row}") for row in range(self._provider.limits.least)]
        url = f"{self._server.url}/{self._case.name}{self._case.path}"
        asked = [Request("POST", url, tuple(self._case.headers(key).items()), as_bytes(body)) for body in bodies]
        route = self._provider.route("POST", url, official=False)
        assert route is not None
        target = cast(Any, self._provider.target(route, asked[0], bodies[0]))
        items = [Item(f"{tag}-{row}", request) for row, request in enumerate(asked)]
        record = Record(tag, target, tuple(item.key for item in items), clock.time(), Phase.RUNNING)
        access = Access(self._provider, self._provider.site(target, route, asked[0]))
        batch = Batch(Tools(cast(Any, None), self._exchange, lambda _: None), access, record, items)
        job = await self._exchange.run(batch.flow("submit"), lambda: self._provider.submit(batch.site, items, tag))
        return batch, job

    async def poll(self, made: Sequence[tuple[Batch, Job]], first: float = INTERVAL) -> None:
        """Begin to poll jobs, for the first time after so many seconds."""
        for batch, job in made:
            self._watched.append(asyncio.create_task(self._watch(batch, job, first)))
        await self.quiet()

    async def _watch(self, batch: Batch, job: Job, pause: float) -> None:
        with self._polling.watch(batch, job) as watch:
            while True:
                try:
                    status = await watch.poll(pause)
                except Refused:
                    self.refused.append(job.id)
                    return
                self.polls.setdefault(job.id, []).append((self.now, status))
                if status.state is not State.RUNNING:
                    return
                pause = INTERVAL

    def _pending(self) -> list[tuple[float, asyncio.Future[None]]]:
        self._waits = [wait for wait in self._waits if not wait[1].done()]
        return self._waits

    def _is_quiet(self) -> bool:
        return len(self._pending()) == sum(not task.done() for task in self._watched)

    async def quiet(self) -> None:
        """Let everything happen that happens now."""
        for _ in range(3):
            for _ in range(20):
                await asyncio.sleep(0)
            await wait_until_async(self._is_quiet, "every job that is polled waits again")

    async def go_on(self, seconds: float) -> list[str]:
        """Let this much time pass. Returns the paths of the calls that were made in it."""
        before, end = len(self._server.calls()), self.now + seconds
        while waits := [wait for wait in self._pending() if wait[0] <= end]:
            self.now = min(due for due, _ in waits)
            for due, wait in waits:
                if due <= self.now:
                    wait.set_result(None)
            await self.quiet()
        self.now = end
        return [call.path for call in self._server.calls()[before:]]

    async def close(self) -> None:
        for task in self._watched:
            task.cancel()
        results = await asyncio.gather(*self._watched, return_exceptions=True)
        assert [each for each in results if isinstance(each, Exception)] == []
        await self._sender.close()


@asynccontextmanager
async def timeline(
    monkeypatch: pytest.MonkeyPatch, server: ProviderServer, case: ProviderCase, provider: Provider | None = None
) -> AsyncIterator[Timeline]:
    made = Timeline(server, case, provider)
    monkeypatch.setattr(polling, "clock", SimpleNamespace(monotonic=lambda: made.now, time=clock.time))
    try:
        yield made
    finally:
        await made.close()


def lists(paths: Sequence[str]) -> int:
    """How many of these calls list jobs."""
    return sum(path.endswith(LISTS) for path in paths)
