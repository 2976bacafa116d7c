"""Memory while a batch of 60 MB is uploaded or downloaded, as the operating system counts it, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from batchling.testing import ProviderServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux lets a process reset its peak"),
]

ROOT = Path(__file__).parents[2]
MARGIN = 25
"""MB above what has to be held. One copy of the batch would be 60."""


def figures(provider: str, shape: str, cache: bool) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.large_program", provider, shape, str(cache)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("cache", [True, False], ids=["cached", "uncached"])
@pytest.mark.parametrize("provider", ["openai", "anthropic", "mistral"])
def test_an_upload_is_not_held(provider_server_at_real_hosts: ProviderServer, provider: str, cache: bool) -> None:
    found = figures(provider, "600x100000x0", cache)

    assert found["jobs"] == 1
    assert found["waiting_mb"] > 60
    assert found["uploading_mb"] < MARGIN
    assert found["downloading_mb"] < MARGIN


@pytest.mark.parametrize("cache", [True, False], ids=["cached", "uncached"])
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_answers_are_held_once(provider_server_at_real_hosts: ProviderServer, provider: str, cache: bool) -> None:
    found = figures(provider, "600x100x100000", cache)

    assert found["jobs"] == 1
    assert found["answers_mb"] > 55
    assert found["downloading_mb"] < found["answers_mb"] + MARGIN
