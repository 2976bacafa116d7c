"""Killed at every await and at every store call of a batch's life, and run again: all answered, all billed once."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from batchling.testing import ProviderServer
from tests.faults.calls import ask_all
from tests.faults.victim import FORKS, start

TEXTS = ["a", "b", "c"]
SECONDS = 20

LIVES = {
    "an ordinary life": lambda server: None,
    "a lost create reply": lambda server: server.lose_reply("POST", "/batches"),
    "an expiry": lambda server: server.expire_job(0.4),
}


@pytest.mark.parametrize(
    ("life", "every"),
    [
        pytest.param("an ordinary life", 40, marks=pytest.mark.slow),
        *(pytest.param(life, 1, marks=[pytest.mark.chaos, pytest.mark.timeout(1200)]) for life in LIVES),
    ],
)
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_killed_anywhere_and_run_again(tmp_path: Path, provider: str, life: str, every: int) -> None:
    ticks = FORKS.Value("i", 0)
    killed = 0
    tick = 0
    last = 1
    while tick < last:
        with ProviderServer() as server:
            LIVES[life](server)
            folder = tmp_path / f"cache-{tick}"
            victim = start(server, provider, TEXTS, folder, kill_at=tick, ticks=ticks)
            victim.join(SECONDS)
            if tick == 0:
                assert victim.exitcode == 0
                last = ticks.value
            else:
                killed += victim.exitcode == -signal.SIGKILL
            after = f"killed at tick {tick} of {last}"
            with pytest.MonkeyPatch.context() as environment:
                environment.setenv("BATCHLING_CACHE_DIR", str(folder))
                assert ask_all(server, provider, TEXTS) == [200] * 3, after
            assert len(server.billed()) == 3, after
            assert server.billed(batch=False) == []
        tick = tick + every if tick else 1 + every // 2
    print(f"{life} at {provider}: killed at {killed} of {last} points, 0 billed twice, 0 lost")
    assert last > 60
    assert killed > 0.7 * last / every
