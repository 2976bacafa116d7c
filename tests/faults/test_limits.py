"""Limits of providers: rows, bytes, inputs, enqueued tokens, batches at a time, batches an hour."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from batchling.cache.files import FileStore
from batchling.core.model import Target
from batchling.engine import family
from batchling.providers import PROVIDERS
from batchling.providers.base import Limits
from batchling.testing import ProviderServer
from tests.engine.calls import ask, ask_all, scope, together
from tests.faults.calls import ask_all as ask_provider
from tests.waiting import wait_for_poll, wait_until

TEXTS = [f"{n}" for n in range(12)]
FULL = {"error": {"message": "Enqueued token limit reached", "code": "token_limit_exceeded", "param": None}}


def limited(monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    """OpenAI with other limits, for the time of a test."""
    provider = replace(PROVIDERS["openai"], limits=replace(PROVIDERS["openai"].limits, **changes))  # type: ignore[type-var, arg-type]
    monkeypatch.setattr("batchling.environment.registry.PROVIDERS", {**PROVIDERS, "openai": provider})


def statuses(server: ProviderServer, texts: list[str] = TEXTS, **options: object) -> list[int]:
    with scope(server, **{**together(len(texts)), "batch_poll_interval_seconds": 0.01, **options}):
        return [answer.status_code for answer in ask_all(server, texts)]


@pytest.mark.thorough
def test_a_full_queue_with_nothing_running_is_halved_until_it_fits(provider_server: ProviderServer) -> None:
    """OpenAI says it after the create call. Halves that do not fit beside each other wait for each other."""
    provider_server.limit_queue(5)

    assert statuses(provider_server) == [200] * 12
    assert len(provider_server.billed()) == 12
    assert max(rows for rows in provider_server.jobs().values()) <= 5


@pytest.mark.thorough
def test_a_full_queue_waits_for_the_batches_that_fill_it(provider_server: ProviderServer) -> None:
    """Not halved: what is refused now fits when the first batch has ended."""
    provider_server.limit_queue(12)
    provider_server.hold()
    answers: list[int] = []
    with scope(provider_server, batch_poll_interval_seconds=0.01, **together(12)):
        first = threading.Thread(target=lambda: answers.extend(r.status_code for r in ask_all(provider_server, TEXTS)))
        first.start()
        wait_until(lambda: 12 in provider_server.jobs().values(), "the first job is created")
        second = threading.Thread(
            target=lambda: answers.extend(r.status_code for r in ask_all(provider_server, [f"b{n}" for n in range(9)]))
        )
        second.start()
        wait_until(provider_server.over, "the second job is refused")
        second.join(1.0)
        assert second.is_alive()
        provider_server.release()
        first.join()
        second.join()

    assert answers == [200] * 21
    assert sorted(rows for rows in provider_server.jobs().values() if rows) == [9, 12]


@pytest.mark.thorough
def test_a_batch_that_an_earlier_run_left_is_brought_to_its_end(
    provider_server: ProviderServer, batchling_cache: Path
) -> None:
    """Nobody drives it any more: to wait for its end would take for ever."""
    provider_server.hold()
    with pytest.raises(RuntimeError), scope(provider_server):
        threading.Thread(target=ask, args=(provider_server, "left"), daemon=True).start()
        wait_for_poll(provider_server)
        raise RuntimeError
    provider_server.release()
    provider_server.limit_queue(12)

    assert statuses(provider_server) == [200] * 12
    assert sorted(rows for rows in provider_server.jobs().values() if rows) == [1, 12]
    assert FileStore(str(batchling_cache)).in_flight(targets(batchling_cache)[0]) == frozenset()


def targets(folder: Path) -> list[Target]:
    store = FileStore(str(folder))
    records = [store.load(path.stem) for path in folder.glob("batches/*.json")]
    return [record.target for record in records if record is not None]


@pytest.mark.thorough
def test_a_queue_full_of_one_row_is_waited_for(provider_server: ProviderServer) -> None:
    provider_server.limit_queue(0)
    threading.Timer(0.5, provider_server.limit_queue, [1]).start()

    assert statuses(provider_server, ["x"]) == [200]
    assert len(provider_server.billed()) == 1


@pytest.mark.parametrize("status", [400, 429])
def test_a_full_queue_may_be_told_at_the_create_call(provider_server: ProviderServer, status: int) -> None:
    provider_server.fail_call("POST", "/batches", status, json.dumps(FULL).encode())

    assert statuses(provider_server) == [200] * 12
    assert sorted(provider_server.jobs().values()) == [6, 6]
    assert len(provider_server.billed()) == 12


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_batch_that_is_too_large_is_halved(provider_server: ProviderServer, provider: str) -> None:
    provider_server.fail_call("POST", "/files" if provider == "openai" else "/batches", 413, b"{}")

    assert ask_provider(provider_server, provider, TEXTS) == [200] * 12
    assert sorted(provider_server.jobs().values()) == [6, 6]


def test_a_row_that_is_too_large_alone_goes_real_time(
    provider_server: ProviderServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The size is that of our call, and never a 413 for the caller's."""
    provider_server.fail_call("POST", "/batches", 413, b"{}", times=100)

    with scope(provider_server, batch_window_seconds=0.02):
        assert ask(provider_server, "x").status_code == 200
    assert len(provider_server.billed(batch=False)) == 1
    assert "too large for a batch" in capsys.readouterr().err


def test_an_empty_purse_is_told_at_once(provider_server: ProviderServer) -> None:
    error = {
        "error": {"message": "You exceeded your quota", "type": "insufficient_quota", "code": "insufficient_quota"}
    }
    provider_server.fail_call("POST", "/batches", 429, json.dumps(error).encode())

    assert statuses(provider_server) == [429] * 12
    assert len(provider_server.creates()) == 1


@pytest.mark.thorough
def test_so_many_batches_at_a_time(provider_server: ProviderServer) -> None:
    provider_server.hold()
    answers: list[int] = []
    caller = threading.Thread(
        target=lambda: answers.extend(statuses(provider_server, batch_size=3, max_batches_in_flight=2))
    )
    caller.start()
    wait_until(lambda: len(provider_server.jobs()) >= 2, "two jobs are created")
    caller.join(0.3)
    assert len(provider_server.jobs()) == 2
    provider_server.release()
    caller.join()

    assert answers == [200] * 12
    assert sorted(provider_server.jobs().values()) == [3, 3, 3, 3]


@pytest.mark.thorough
def test_so_many_batches_in_an_hour(provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(family, "HOUR", 0.8)
    answers: list[int] = []
    caller = threading.Thread(
        target=lambda: answers.extend(statuses(provider_server, batch_size=3, max_batches_per_hour=2))
    )
    began = time.monotonic()
    caller.start()
    wait_until(lambda: len(provider_server.jobs()) >= 3, "a third job is created")
    assert time.monotonic() - began >= 0.8
    caller.join()

    assert answers == [200] * 12
    assert sorted(provider_server.jobs().values()) == [3, 3, 3, 3]


@pytest.mark.thorough
def test_who_gave_up_while_standing_in_line_is_not_sent(
    provider_server: ProviderServer, capsys: pytest.CaptureFixture[str]
) -> None:
    provider_server.hold()
    with scope(provider_server, batch_window_seconds=0.02, max_batches_in_flight=1):
        first = threading.Thread(target=ask, args=(provider_server, "first"))
        first.start()
        wait_until(provider_server.jobs, "the first job is created")
        with pytest.raises(TimeoutError):
            asyncio.run(_impatient(provider_server))
        provider_server.release()
        first.join()

    assert list(provider_server.jobs().values()) == [1]
    assert "1 withdrawn" in capsys.readouterr().err


async def _impatient(server: ProviderServer) -> None:
    async with httpx.AsyncClient() as client:
        body = {"model": "m", "messages": [{"role": "user", "content": "second"}]}
        headers = {"authorization": "Bearer sk-1"}
        call = client.post(f"{server.openai_url}/chat/completions", json=body, headers=headers)
        await asyncio.wait_for(call, 0.3)


@pytest.mark.thorough
def test_a_row_over_the_line_limit_goes_real_time_and_is_reported(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limited(monkeypatch, row=1_000)

    assert statuses(provider_server, ["short", "long" * 300]) == [200, 200]
    assert list(provider_server.jobs().values()) == [1]
    assert len(provider_server.billed(batch=False)) == 1
    assert "too large for a row of a batch" in capsys.readouterr().err


@pytest.mark.thorough
def test_embeddings_are_split_by_their_inputs(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limited(monkeypatch, inputs=10)
    inputs: list[object] = [["a"] * 4, ["b"] * 4, ["c"] * 4, "one", list(range(12)), ["d"] * 11]
    found = []

    def embed(asked: object) -> None:
        body = {"model": "e", "input": asked}
        headers = {"authorization": "Bearer sk-1"}
        found.append(httpx.post(f"{provider_server.openai_url}/embeddings", json=body, headers=headers).status_code)

    with scope(provider_server, **together(5)):
        threads = [threading.Thread(target=embed, args=(asked,)) for asked in inputs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert found == [200] * 6
    assert sum(provider_server.jobs().values()) == 5
    assert len(provider_server.jobs()) == 2
    assert "more inputs than a batch may hold" in capsys.readouterr().err


def test_the_limits_are_those_of_the_sheets() -> None:
    assert PROVIDERS["openai"].limits == Limits(50_000, 199_000_000, inputs=50_000, creates_per_hour=2_000)
    assert PROVIDERS["anthropic"].limits == Limits(100_000, 255_000_000)


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_a_hundred_and_twenty_thousand_are_three_batches(provider_server: ProviderServer) -> None:
    texts = [f"{n}" for n in range(120_000)]
    with scope(provider_server, batch_window_seconds=150):
        answers = ask_all(provider_server, texts)

    assert {answer.status_code for answer in answers} == {200}
    assert len(answers) == 120_000
    assert sorted(provider_server.jobs().values()) == [20_000, 50_000, 50_000]
