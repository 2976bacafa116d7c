"""What `with batchify():` promises of itself: options, nesting, threads, loops, leaving."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections.abc import Sized
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import trio

from batchling import ClosedError, OptionError, batchify
from batchling.testing import ProviderServer
from tests.engine.calls import QUICK, ask, ask_all, ask_claude, chat, gather, said, scope, together
from tests.engine.open_scope import batcher
from tests.waiting import wait_until, wait_until_async


def test_it_yields_none() -> None:
    with batchify() as value:
        assert value is None  # type: ignore[func-returns-value]


def test_a_function_is_refused_and_the_right_form_shown() -> None:
    with pytest.raises(TypeError, match=r"with batchify\(\):"):
        batchify(print)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("batch_size", [0, -1, 2.5, "3", True, math.nan]),
        ("batch_window_seconds", [0, -1, math.nan, math.inf, "2", None, True]),
        ("batch_poll_interval_seconds", [0, -0.1, math.nan, "x"]),
        ("dry_run", [1, "yes", None]),
        ("cache", [0, 1, "no", None]),
        ("max_resubmissions", [-1, 1.5, "2", None, True]),
        ("max_batches_in_flight", [0, -1, 1.5, "2", True]),
        ("max_batches_per_hour", [0, -1, 1.5, "2", True]),
        ("max_waiting", [0, -1, 1.5, "2", True]),
        ("duplicates", ["all", None]),
        ("gateways", ["http://x", {"localhost:4000": "openai"}, {"http://localhost": "nobody"}, {"ftp://x": "openai"}]),
    ],
)
def test_bad_values_raise_at_the_call_and_name_the_argument(name: str, values: list[object]) -> None:
    for value in values:
        with pytest.raises(OptionError, match=name):
            batchify(**{name: value})  # type: ignore[arg-type]


@pytest.mark.thorough
def test_gateways_of_the_environment(provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    gateways = ",".join(f"{base}={name}" for base, name in provider_server.gateways.items())
    monkeypatch.setenv("BATCHLING_GATEWAYS", gateways)

    with batchify(**QUICK):  # type: ignore[arg-type]
        assert ask(provider_server, "hi").status_code == 200

    assert len(provider_server.billed(batch=True)) == 1


def test_a_scope_is_entered_once(provider_server: ProviderServer) -> None:
    context = scope(provider_server)
    with context:
        pass
    with pytest.raises(ClosedError, match="call batchify"), context:
        pass


def test_nothing_happens_nothing_is_reported(
    provider_server: ProviderServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside a warning in the log, which pytest keeps off stderr: see test_traps."""
    with scope(provider_server):
        pass

    assert capsys.readouterr().err == ""


@pytest.mark.thorough
def test_the_inner_scope_wins(provider_server: ProviderServer, capsys: pytest.CaptureFixture[str]) -> None:
    with scope(provider_server):
        ask(provider_server, "outer")
        with scope(provider_server, **together(2)):
            ask_all(provider_server, ["inner 1", "inner 2"])
        inner = capsys.readouterr().err
        ask(provider_server, "outer again")
    outer = capsys.readouterr().err

    assert "2 calls batched in 1 batch" in inner
    assert "2 calls batched in 2 batches" in outer


@pytest.mark.thorough
def test_scopes_in_several_threads_at_once(provider_server: ProviderServer) -> None:
    begin = threading.Barrier(3)

    def program(name: str) -> list[str]:
        with scope(provider_server, **together(5)):
            begin.wait(10)
            return [said(r) for r in ask_all(provider_server, [f"{name}{n}" for n in range(5)])]

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(program, "abc"))

    assert len({text for texts in answers for text in texts}) == 15
    assert len(provider_server.billed(batch=True)) == 15
    assert len(provider_server.creates()) == 3


@pytest.mark.thorough
def test_worker_threads_are_in_the_scope(provider_server: ProviderServer) -> None:
    answers: list[httpx.Response] = []
    with scope(provider_server):
        with ThreadPoolExecutor(8) as pool:
            answers += pool.map(lambda n: ask(provider_server, f"pool {n}"), range(8))
        thread = threading.Thread(target=lambda: answers.append(ask(provider_server, "thread")))
        thread.start()
        thread.join()

        async def in_executors() -> None:
            loop = asyncio.get_running_loop()
            answers.append(await loop.run_in_executor(None, ask, provider_server, "executor"))
            answers.append(await asyncio.to_thread(ask, provider_server, "to_thread"))

        asyncio.run(in_executors())

    assert [answer.status_code for answer in answers] == [200] * 11
    assert provider_server.billed(batch=False) == []


def test_asyncio_run_twice_in_one_scope(provider_server: ProviderServer) -> None:
    with scope(provider_server, **together(2)):
        first = ask_all(provider_server, ["a", "b"])
        second = ask_all(provider_server, ["c", "d"])

    assert [r.status_code for r in first + second] == [200] * 4
    assert len(provider_server.creates()) == 2


async def _in_async_with(server: ProviderServer) -> list[httpx.Response]:
    async with scope(server):  # type: ignore[attr-defined]
        return await gather(server, ["a", "b", "c"])


@pytest.mark.thorough
def test_async_with(provider_server: ProviderServer) -> None:
    assert len(asyncio.run(_in_async_with(provider_server))) == 3
    assert len(provider_server.billed(batch=True)) == 3


@pytest.mark.thorough
def test_a_sync_with_inside_a_running_loop(provider_server: ProviderServer) -> None:
    async def program() -> list[httpx.Response]:
        with scope(provider_server):
            return await gather(provider_server, ["a", "b"])

    assert len(asyncio.run(program())) == 2
    assert len(provider_server.billed(batch=True)) == 2


@pytest.mark.thorough
def test_a_blocking_call_inside_a_coroutine_blocks_only_its_loop(provider_server: ProviderServer) -> None:
    async def program() -> httpx.Response:
        with scope(provider_server):
            return ask(provider_server, "blocking")

    assert asyncio.run(program()).status_code == 200


def test_trio(provider_server: ProviderServer) -> None:
    answers: list[httpx.Response] = []

    async def one(client: httpx.AsyncClient, text: str) -> None:
        url = f"{provider_server.openai_url}/chat/completions"
        answers.append(await client.post(url, json=chat(text), headers={"authorization": "Bearer sk-1"}))

    async def program() -> None:
        async with scope(provider_server, **together(3)), httpx.AsyncClient() as client, trio.open_nursery() as nursery:  # type: ignore[attr-defined]
            for text in "abc":
                nursery.start_soon(one, client, text)

    trio.run(program)

    assert [answer.status_code for answer in answers] == [200] * 3
    assert len(provider_server.creates()) == 1


def test_leaving_waits_for_calls_of_other_threads(provider_server: ProviderServer) -> None:
    provider_server.hold()
    answers: list[httpx.Response] = []
    with scope(provider_server, batch_window_seconds=30):
        threads = [threading.Thread(target=lambda n=n: answers.append(ask(provider_server, f"{n}"))) for n in range(3)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(_waiting()) >= 3, "all three calls wait")
        provider_server.release()
    for thread in threads:
        thread.join(5)

    assert [answer.status_code for answer in answers] == [200] * 3
    assert len(provider_server.creates()) == 1


def _waiting() -> Sized:
    return batcher()._callers


def test_an_exception_submits_nothing(provider_server: ProviderServer, capsys: pytest.CaptureFixture[str]) -> None:
    async def program() -> None:
        async with scope(provider_server, batch_window_seconds=30):  # type: ignore[attr-defined]
            tasks = [asyncio.ensure_future(gather(provider_server, ["a", "b"]))]
            await wait_until_async(lambda: len(_waiting()) >= 2, "both calls wait")
            with contextlib.suppress(asyncio.CancelledError):
                tasks[0].cancel()
                await tasks[0]
            await wait_until_async(lambda: not _waiting(), "the cancelled calls are withdrawn")
            tasks = [asyncio.ensure_future(gather(provider_server, ["c"]))]
            await wait_until_async(_waiting, "the last call waits")
            raise LookupError

    with pytest.raises(LookupError):
        asyncio.run(program())

    assert provider_server.calls("POST") == []
    report = capsys.readouterr().err
    assert "1 request was never sent" in report
    assert "2 withdrawn" in report


@pytest.mark.thorough
def test_a_cancelled_caller_is_withdrawn(provider_server: ProviderServer) -> None:
    async def program() -> None:
        async with scope(provider_server, batch_window_seconds=1.0):  # type: ignore[attr-defined]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(gather(provider_server, ["impatient"]), 0.1)
            await gather(provider_server, ["patient"])

    asyncio.run(program())

    assert [bill.key for bill in provider_server.billed()] == [provider_server.billed()[0].key]
    assert sum(provider_server.jobs().values()) == 1


def test_a_caller_cancelled_after_submission_is_joined_by_the_next(provider_server: ProviderServer) -> None:
    provider_server.hold()

    async def program() -> list[httpx.Response]:
        async with scope(provider_server, batch_window_seconds=0.05):  # type: ignore[attr-defined]
            impatient = asyncio.ensure_future(gather(provider_server, ["again"]))
            await wait_until_async(provider_server.creates, "the job is created")
            impatient.cancel()
            await asyncio.wait([impatient])
            provider_server.release()
            return await gather(provider_server, ["again"])

    (answer,) = asyncio.run(program())

    assert answer.status_code == 200
    assert len(provider_server.creates()) == len(provider_server.billed()) == 1


@pytest.mark.thorough
def test_timeouts_of_the_client_do_not_kill_a_batched_call(provider_server: ProviderServer) -> None:
    with scope(provider_server, batch_window_seconds=0.5):
        headers = {"authorization": "Bearer sk-1"}
        url = f"{provider_server.openai_url}/chat/completions"
        answer = httpx.post(url, json=chat("slow"), headers=headers, timeout=0.05)

    assert answer.status_code == 200
    assert answer.elapsed.total_seconds() >= 0.5


@pytest.mark.thorough
def test_a_batch_leaves_when_it_is_full(provider_server: ProviderServer) -> None:
    with scope(provider_server, batch_size=10, batch_window_seconds=30):
        ask_all(provider_server, [f"{n}" for n in range(40)])

    assert sorted(provider_server.jobs().values()) == [10, 10, 10, 10]


@pytest.mark.thorough
def test_queues_are_strict_by_provider_endpoint_and_model(provider_server: ProviderServer) -> None:
    def job(number: int) -> int:
        match number % 4:
            case 0:
                return ask(provider_server, "x").status_code
            case 1:
                return ask(provider_server, "x", model="other").status_code
            case 2:
                return ask(provider_server, "x", path="embeddings", input="x").status_code
            case _:
                return ask_claude(provider_server, "x").status_code

    with scope(provider_server, batch_window_seconds=0.5), ThreadPoolExecutor(8) as pool:
        assert list(pool.map(job, range(8))) == [200] * 8

    assert sorted(provider_server.jobs().values()) == [2, 2, 2, 2]


@pytest.mark.thorough
def test_two_credentials_make_two_batches_and_nothing_crosses(provider_server: ProviderServer) -> None:
    for _ in range(2):
        with scope(provider_server):
            answers = ask_all(provider_server, ["same"] * 6, keys=("sk-1", "sk-2"))
        assert [r.status_code for r in answers] == [200] * 6

    assert sorted(provider_server.jobs().values()) == [3, 3]
    keys: dict[str, set[str | None]] = {}
    for bill in provider_server.billed():
        keys.setdefault(bill.account, set()).add(bill.key)
    one, other = keys.values()
    assert not one & other


@pytest.mark.thorough
def test_duplicates_are_samples_unless_they_are_joined(provider_server: ProviderServer) -> None:
    with scope(provider_server):
        ask_all(provider_server, ["same"] * 10)
    assert len(provider_server.billed()) == 10

    with scope(provider_server, duplicates="join", cache=False):
        answers = ask_all(provider_server, ["same"] * 10)
    assert len(provider_server.billed()) == 11
    assert len(answers) == 10


@pytest.mark.thorough
def test_an_sdks_retry_joins_its_first_try(provider_server: ProviderServer) -> None:
    async def program() -> list[httpx.Response]:
        url = f"{provider_server.openai_url}/chat/completions"
        async with scope(provider_server), httpx.AsyncClient() as client:  # type: ignore[attr-defined]
            headers = {"authorization": "Bearer sk-1"}
            tries = (
                client.post(url, json=chat("x"), headers={**headers, "x-stainless-retry-count": str(n)}) for n in (0, 1)
            )
            return list(await asyncio.gather(*tries))

    one, other = asyncio.run(program())

    assert one.content == other.content
    assert len(provider_server.billed()) == 1


@pytest.mark.thorough
def test_what_went_real_time_is_reported_with_the_reason(
    provider_server: ProviderServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with ThreadPoolExecutor(1) as early:
        ready = threading.Event()
        opened = threading.Event()

        def outside() -> None:
            ready.set()
            opened.wait(10)
            ask(provider_server, "outside")

        started_before = early.submit(outside)
        ready.wait(10)
        with scope(provider_server):
            opened.set()
            started_before.result(10)
            ask(provider_server, "s", stream=True)
            ask(provider_server, "m", model=None)
            url = f"{provider_server.openai_url}/chat/completions"
            httpx.post(url, files={"file": b"x"}, headers={"authorization": "Bearer sk-1"})
            httpx.post(url, content=iter([b"{}"]), headers={"authorization": "Bearer sk-1"})
            httpx.post(f"{provider_server.openai_url}/audio/speech", json={})
            ask(provider_server, "batched")

    report = capsys.readouterr().err
    assert "1 call batched in 1 batch, 0 from cache, 6 went real time" in report
    for reason in (
        "streaming",
        "no model",
        "multipart",
        "streaming upload",
        "endpoint without a batch form",
        "the task or thread started outside the scope",
    ):
        assert reason in report


@pytest.mark.thorough
def test_a_program_prints_the_same_with_and_without(provider_server: ProviderServer) -> None:
    def program() -> list[str]:
        prints = [said(r) for r in ask_all(provider_server, ["a", "b", "a"])]
        bad = ask(provider_server, "x", temperature=9)
        return [*prints, str(bad.status_code), bad.text, ask_claude(provider_server, "hi").json()["content"][0]["text"]]

    without = program()
    with scope(provider_server):
        within = program()

    assert within == without
    assert len(provider_server.billed(batch=True)) == len(provider_server.billed(batch=False)) == 4
