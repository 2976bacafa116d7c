"""Processes killed at random, many at a time, on a wire that fails at random: the embedded server's ledger is the judge."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from batchling.testing import ProviderServer
from tests.faults.victim import start
from tests.waiting import wait_for_poll

SECONDS = 60


def bills(server: ProviderServer) -> list[int]:
    """How often each request was charged."""
    assert server.billed(batch=False) == []
    return list(Counter(bill.body for bill in server.billed()).values())


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_killed_at_random_a_hundred_times(tmp_path: Path, provider: str) -> None:
    """Programs of five requests, each started again until it comes to its end; replies get lost, jobs expire."""
    seed = int.from_bytes(os.urandom(4), "big")
    chance = random.Random(seed)
    kills = programs = 0
    with ProviderServer(polls_to_finish=3) as server:
        while kills < 110:
            texts = [f"{provider} {programs} {n}" for n in range(5)]
            programs += 1
            disturb(server, chance)
            while (code := run_until(chance.uniform(0.0, 0.9), server, provider, texts, tmp_path)) != 0:
                assert code == -signal.SIGKILL, f"seed {seed}"
                kills += 1
    print(f"{provider}: {kills} kills of {programs} programs, {len(bills(server))} requests, seed {seed}")
    assert bills(server) == [1] * (5 * programs), f"seed {seed}"


def disturb(server: ProviderServer, chance: random.Random) -> None:
    match chance.randrange(6):
        case 0:
            server.lose_reply("POST", "/batches", status=chance.choice([0, 500]))
        case 1:
            server.drop_call("POST", "/batches")
        case 2:
            server.expire_job(chance.random())
        case 3:
            server.fail_call("GET", "/batches", chance.choice([429, 500, 503]), times=chance.randrange(1, 4))
        case 4:
            server.cut_reply("GET", chance.choice(["/content", "/results"]))


def run_until(
    seconds: float, server: ProviderServer, provider: str, texts: list[str], folder: Path, **options: object
) -> int | None:
    """The exit code of a program that is killed after this time, if it is still there."""
    victim = start(server, provider, texts, folder, **options)
    victim.join(seconds)
    if victim.is_alive():
        victim.kill()
    victim.join(SECONDS)
    return victim.exitcode


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_eight_processes_share_two_thousand_requests(tmp_path: Path) -> None:
    """All run the same script on one cache at once; one after the other is killed and started again."""
    seed = int.from_bytes(os.urandom(4), "big")
    chance = random.Random(seed)
    texts = [f"shared {n}" for n in range(2_000)]
    with ProviderServer(delay=1.0) as server:

        def begin() -> ForkServerProcess:
            mine = chance.sample(texts, len(texts))
            return start(server, "openai", mine, tmp_path, batch_size=300, batch_window_seconds=0.3)

        running = [begin() for _ in range(8)]
        kills = 0
        while kills < 24:
            time.sleep(chance.uniform(0.0, 0.6))
            place = chance.randrange(8)
            running[place].kill()
            running[place].join(SECONDS)
            kills += running[place].exitcode == -signal.SIGKILL
            running[place] = begin()
        for victim in running:
            victim.join(120)
    assert [victim.exitcode for victim in running] == [0] * 8, f"seed {seed}"
    print(f"8 processes, {kills} kills, {len(server.jobs())} batches, ledger {len(server.billed())}, seed {seed}")
    assert bills(server) == [1] * 2_000, f"seed {seed}"


@pytest.mark.thorough
def test_another_takes_over_when_the_driver_is_killed(tmp_path: Path) -> None:
    with ProviderServer() as server:
        server.hold()
        texts = ["a", "b", "c"]
        driver = start(server, "openai", texts, tmp_path)
        wait_for_poll(server, SECONDS)
        follower = start(server, "openai", texts, tmp_path)
        follower.join(0.5)
        assert follower.is_alive()
        driver.kill()
        server.release()
        began = time.monotonic()
        follower.join(SECONDS)

        assert follower.exitcode == 0
        assert time.monotonic() - began < 40
        assert len(server.creates()) == 1
        assert bills(server) == [1] * 3


@pytest.mark.slow
def test_a_stopped_driver_is_waited_for_and_nobody_buys_again(tmp_path: Path) -> None:
    with ProviderServer() as server:
        server.hold()
        texts = ["a", "b", "c"]
        driver = start(server, "openai", texts, tmp_path)
        wait_for_poll(server, SECONDS)
        assert driver.pid is not None
        os.kill(driver.pid, signal.SIGSTOP)
        server.release()
        follower = start(server, "openai", texts, tmp_path)
        follower.join(2.5)
        assert follower.is_alive()
        assert len(server.creates()) == 1
        os.kill(driver.pid, signal.SIGCONT)
        driver.join(SECONDS)
        follower.join(SECONDS)

        assert (driver.exitcode, follower.exitcode) == (0, 0)
        assert len(server.creates()) == 1
        assert bills(server) == [1] * 3
