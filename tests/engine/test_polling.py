"""Many running jobs are polled with few calls, counted: one list call for an account, or else one call for each job, spread
over the interval. What a list does not show for certain is polled on its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from batchling import events
from batchling.cache.files import FileStore
from batchling.core.lifecycle import Progress
from batchling.core.model import Flow, Job, Site, State, Status
from batchling.providers.base import Lists
from batchling.providers.files import FileDialect
from batchling.providers.openai import OPENAI
from batchling.testing import ProviderServer
from tests.engine.calls import ask, ask_all, said, scope
from tests.engine.timeline import INTERVAL, Elsewhere, Timeline, like_openai, lists, timeline
from tests.providers.provider_cases import BY_NAME, PROVIDER_CASES, ProviderCase
from tests.waiting import wait_until_async

CASE = BY_NAME["openai"]


@dataclass(frozen=True)
class Forgetful(FileDialect):
    """OpenAI, with a list that does not show some jobs."""

    hidden: frozenset[str] = frozenset()

    def poll_all(self, at: Site, jobs: Sequence[Job]) -> Flow[Mapping[str, Status]]:
        found = yield from super().poll_all(at, jobs)
        return {job: status for job, status in found.items() if job not in self.hidden}


class Unlisted:
    """OpenAI, as a provider without a list."""

    def __getattr__(self, name: str) -> Any:
        if name == "poll_all":
            raise AttributeError(name)
        return getattr(OPENAI, name)


def run(
    monkeypatch: pytest.MonkeyPatch,
    server: ProviderServer,
    work: Callable[[Timeline], Awaitable[None]],
    case: ProviderCase = CASE,
    provider: Any = None,
) -> None:
    async def main() -> None:
        async with timeline(monkeypatch, server, case, provider) as time:
            await work(time)

    asyncio.run(main())


@pytest.mark.parametrize("provider_case", PROVIDER_CASES, ids=str)
def test_five_jobs_cost_one_list_call_an_interval(
    monkeypatch: pytest.MonkeyPatch, provider_server: ProviderServer, provider_case: ProviderCase
) -> None:
    """And what the list shows of a job is what its own poll would."""
    provider_server.hold()

    async def work(time: Timeline) -> None:
        made = await time.create(5)
        await time.poll(made)
        for _ in range(3):
            calls = await time.go_on(INTERVAL)
            assert (lists(calls), len(calls)) == (1, 1)
        alone = [
            await batch.tools.exchange.run(batch.flow("poll"), lambda b=batch, j=job: b.provider.poll(b.site, j))
            for batch, job in made
        ]
        assert [time.polls[job.id][-1][1] for _, job in made] == alone
        assert [len(time.polls[job.id]) for _, job in made] == [3] * 5
        assert {status.state for status in alone} == {State.RUNNING}

        provider_server.release()
        calls = await time.go_on(INTERVAL)
        assert (lists(calls), len(calls)) == (1, 1 + 5)
        assert [time.polls[job.id][-1][1].state for _, job in made] == [State.ENDED] * 5
        assert [len(time.polls[job.id]) for _, job in made] == [4] * 5

    run(monkeypatch, provider_server, work, provider_case)


@pytest.mark.parametrize(
    ("name", "pages"),
    [
        ("mistral", 2),
        pytest.param("openai", 2, marks=pytest.mark.slow),
        pytest.param("anthropic", 1, marks=pytest.mark.slow),
        pytest.param("gemini", 2, marks=pytest.mark.slow),
    ],
)
def test_two_hundred_jobs_cost_one_or_two(
    monkeypatch: pytest.MonkeyPatch, provider_server: ProviderServer, name: str, pages: int
) -> None:
    provider_server.hold()

    async def work(time: Timeline) -> None:
        made = await time.create(200)
        await time.poll(made)
        for _ in range(2):
            calls = await time.go_on(INTERVAL)
            assert (lists(calls), len(calls)) == (pages, pages)
        assert [len(time.polls[job.id]) for _, job in made] == [2] * 200

    run(monkeypatch, provider_server, work, BY_NAME[name])


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_jobs_are_polled_one_by_one(
    monkeypatch: pytest.MonkeyPatch, provider_server: ProviderServer, count: int
) -> None:
    provider_server.hold()

    async def work(time: Timeline) -> None:
        await time.poll(await time.create(count))
        assert await time.go_on(INTERVAL - 0.001) == []
        for _ in range(3):
            calls = await time.go_on(INTERVAL)
            assert (lists(calls), len(calls)) == (0, count)

    run(monkeypatch, provider_server, work)


def test_each_account_has_a_list_of_its_own(monkeypatch: pytest.MonkeyPatch, provider_server: ProviderServer) -> None:
    provider_server.hold()

    async def work(time: Timeline) -> None:
        await time.poll([*await time.create(4, "sk-1"), *await time.create(3, "sk-2"), *await time.create(2, "sk-3")])
        calls = await time.go_on(INTERVAL)
        assert (lists(calls), len(calls)) == (2, 4)
        assert len({call.account for call in provider_server.calls("GET")}) == 3
        assert [len(polls) for polls in time.polls.values()] == [1] * 9

    run(monkeypatch, provider_server, work)


def test_no_job_waits_longer_for_the_others(monkeypatch: pytest.MonkeyPatch, provider_server: ProviderServer) -> None:
    """Jobs created at different times share the call of the first that is due."""
    provider_server.hold()

    async def work(time: Timeline) -> None:
        made = await time.create(10)
        for pair in made:
            await time.poll([pair])
            await time.go_on(0.9)
        await time.go_on(3 * INTERVAL)
        for _, job in made:
            moments = [moment for moment, _ in time.polls[job.id]]
            assert max(later - earlier for earlier, later in pairwise(moments)) <= INTERVAL
        provider_server.release()
        assert lists(await time.go_on(INTERVAL)) == 1
        assert {polls[-1][1].state for polls in time.polls.values()} == {State.ENDED}

    run(monkeypatch, provider_server, work)


def test_jobs_that_are_polled_at_once_share_calls_too(
    monkeypatch: pytest.MonkeyPatch, provider_server: ProviderServer
) -> None:
    """As after a restart: nobody waits for an interval, and those that come during a list call share the next."""
    provider_server.hold()

    async def work(time: Timeline) -> None:
        made = await time.create(50)
        before = len(provider_server.calls())
        await time.poll(made, first=0.0)
        assert len(time.polls) == 50
        calls = [call.path for call in provider_server.calls()[before:]]
        assert (lists(calls), len(calls)) == (2, 2 + 3)

    run(monkeypatch, provider_server, work)


def test_without_a_list_the_calls_are_spread(monkeypatch: pytest.MonkeyPatch, provider_server: ProviderServer) -> None:
    provider = Unlisted()
    assert not isinstance(provider, Lists)
    provider_server.hold()

    async def work(time: Timeline) -> None:
        await time.poll(await time.create(40))
        assert len(await time.go_on(INTERVAL)) == 40
        await time.go_on(INTERVAL)
        for _ in range(3):
            calls = await time.go_on(INTERVAL)
            assert (lists(calls), len(calls)) == (0, 40)
        moments = sorted(moment for polls in time.polls.values() for moment, _ in polls[1:])
        assert min(later - earlier for earlier, later in pairwise(moments)) > INTERVAL / 81
        for polls in time.polls.values():
            assert max(later - earlier for (earlier, _), (later, _) in pairwise(polls)) <= INTERVAL + 0.001

    run(monkeypatch, provider_server, work, provider=provider)


@pytest.mark.parametrize("status", [400, 403, 404, 405])
def test_a_list_that_is_refused_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, provider_server: ProviderServer, status: int
) -> None:
    provider_server.hold()
    provider_server.fail_call("GET", "/list-of-jobs", status, times=float("inf"))

    async def work(time: Timeline) -> None:
        await time.poll(await time.create(5))
        calls = await time.go_on(2 * INTERVAL - 0.001)
        assert (lists(calls), len(calls)) == (1, 1 + 5)
        moments = [polls[0][0] for polls in time.polls.values()]
        assert [later - earlier for earlier, later in pairwise(moments)] == [INTERVAL / 5] * 4
        calls = await time.go_on(3 * INTERVAL)
        assert (lists(calls), len(calls)) == (0, 3 * 5)

    run(monkeypatch, provider_server, work, provider=like_openai(Elsewhere))


def test_after_ten_minutes_a_list_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, provider_server: ProviderServer
) -> None:
    provider_server.hold()
    provider_server.fail_call("GET", "/batches", 404)

    async def work(time: Timeline) -> None:
        await time.poll(await time.create(3))
        calls = await time.go_on(60 * INTERVAL)
        assert lists(calls) == 1
        assert 59 * 3 <= len(calls) - 1 <= 60 * 3
        calls = await time.go_on(4 * INTERVAL)
        assert lists(calls) in (3, 4)

    run(monkeypatch, provider_server, work)


def test_a_page_that_cannot_be_read_is_a_list_that_fails(
    monkeypatch: pytest.MonkeyPatch, provider_server: ProviderServer
) -> None:
    provider_server.hold()

    async def work(time: Timeline) -> None:
        await time.poll(await time.create(5))
        provider_server.change_reply("GET", "/batches", lambda body: body + b" " * 300_000)
        calls = await time.go_on(2 * INTERVAL - 0.001)
        assert (lists(calls), len(calls)) == (1, 1 + 5)

    run(monkeypatch, provider_server, work)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_list_call_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, provider_server: ProviderServer, status: int
) -> None:
    provider_server.hold()

    async def work(time: Timeline) -> None:
        made = await time.create(5)
        await time.poll(made[1:])
        await time.poll(made[:1], first=1.0)
        provider_server.fail_call("GET", "/batches", status, headers={"retry-after": "3"}, times=2)
        calls = await time.go_on(9.0)
        assert (lists(calls), len(calls)) == (3, 3)
        assert [len(polls) for polls in time.polls.values()] == [1] * 5

    run(monkeypatch, provider_server, work)


def test_a_job_that_the_list_does_not_show_is_polled_on_its_own(
    monkeypatch: pytest.MonkeyPatch, provider_server: ProviderServer
) -> None:
    provider_server.hold()
    provider = like_openai(Forgetful)

    async def work(time: Timeline) -> None:
        made = await time.create(12)
        missing = {job.id for _, job in made[:2]}
        object.__setattr__(provider, "hidden", missing)
        await time.poll(made)
        for _ in range(3):
            calls = await time.go_on(INTERVAL)
            assert (lists(calls), len(calls)) == (1, 3)
            assert {call.rpartition("/")[2] for call in calls if not lists([call])} == missing
        object.__setattr__(provider, "hidden", frozenset())
        await time.go_on(12 * INTERVAL)  # a list may be late by two minutes
        calls = await time.go_on(INTERVAL)
        assert (lists(calls), len(calls)) == (1, 1)

    run(monkeypatch, provider_server, work, provider=provider)


def test_a_job_that_is_gone_is_refused_by_its_own_poll(
    monkeypatch: pytest.MonkeyPatch, provider_server: ProviderServer
) -> None:
    provider_server.hold()

    async def work(time: Timeline) -> None:
        made = await time.create(5)
        batch, job = made[2]
        lost = Job(job.id.replace("batch_", "batch_x"))
        await time.poll([*made[:2], (batch, lost), *made[3:]])
        await time.go_on(INTERVAL)
        assert time.refused == [lost.id]
        assert [len(polls) for polls in time.polls.values()] == [1] * 4

    run(monkeypatch, provider_server, work)


def test_a_long_list_is_not_read_through(monkeypatch: pytest.MonkeyPatch, provider_server: ProviderServer) -> None:
    """Our jobs are behind a hundred others, one on a page."""
    provider_server.hold()
    provider_server.show_per_page(1)

    async def work(time: Timeline) -> None:
        made = await time.create(20)
        await time.create(100)
        await time.poll(made)
        calls = await time.go_on(INTERVAL)
        assert (lists(calls), len(calls)) == (5, 5 + 20)
        assert lists(await time.go_on(10 * INTERVAL)) == 0

    run(monkeypatch, provider_server, work)


def test_a_status_that_stays_the_same_is_written_once(
    monkeypatch: pytest.MonkeyPatch, provider_server: ProviderServer
) -> None:
    provider_server.hold()
    polls: list[events.Polled] = []
    written: list[str] = []
    write = FileStore.note

    def note(event: events.Event) -> None:
        if isinstance(event, events.Polled):
            polls.append(event)
            if len(polls) == 20:
                provider_server.release()

    def counted(store: FileStore, batch_id: str, progress: Progress) -> None:
        written.append(progress.word)
        write(store, batch_id, progress)

    monkeypatch.setattr(FileStore, "note", counted)
    with scope(provider_server, on_event=note):
        assert ask(provider_server, "a").status_code == 200
    assert len(polls) >= 20
    assert len(written) == len(set(written)) == len({event.word for event in polls})


def test_twenty_batches_of_a_program(provider_server: ProviderServer) -> None:
    """From one end to the other: each batch has its answer, and one poll of its own, at its end."""
    provider_server.hold()
    texts = [f"text {number}" for number in range(20)]
    polled: dict[str, int] = {}

    def note(event: events.Event) -> None:
        if isinstance(event, events.Polled):
            polled[event.batch] = polled.get(event.batch, 0) + 1

    async def main() -> list[str]:
        asked = asyncio.create_task(asyncio.to_thread(ask_all, provider_server, texts))
        await wait_until_async(lambda: len(polled) == 20 and min(polled.values()) > 3, "all batches are polled")
        provider_server.release()
        return [said(answer) for answer in await asked]

    with scope(provider_server, batch_size=1, batch_poll_interval_seconds=0.3, on_event=note):
        answers = asyncio.run(main())

    calls = [
        call.path for call in provider_server.calls("GET") if call.path.rpartition("/")[2] not in ("content", "results")
    ]
    assert len(set(answers)) == 20
    assert len(calls) - lists(calls) < 20 + 10
    assert lists(calls) < sum(polled.values()) / 5
    assert len(provider_server.billed(batch=True)) == len(provider_server.creates()) == 20
