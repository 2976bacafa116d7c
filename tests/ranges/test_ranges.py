"""The hook contract on the oldest, the newest and the minor versions between of each library that we hook.

The libraries do not depend on each other, so one row has a version of each, from the oldest of all to the newest. A row
is installed into a folder of its own, and a fresh interpreter runs with that folder in front of its path. It needs uv,
and the network for what is not in uv's cache: `tox -e ranges`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path

import pytest

from batchling.providers.samples.text import seed_of
from batchling.testing import ProviderServer
from tests import machine
from tests.hooks.world import echo_server

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.ranges, pytest.mark.timeout(240)]

RANGES = {
    "httpx": ["0.27.0", "0.27.2", "0.28.0", "0.28.1"],
    "httpx2": [f"2.{minor}.0" for minor in range(16)] + ["2.16.2"],
    "aiohttp": ["3.12.0", "3.12.15", "3.13.0", "3.13.5", "3.14.0", "3.14.1", "3.14.2", "3.14.3", "3.14.4", "3.14.5"],
    "requests": ["2.31.0", "2.32.0", "2.32.5", "2.33.1", "2.34.2"],
    "urllib3": [
        "1.26.18",
        "1.26.20",
        "2.0.0",
        "2.0.7",
        "2.1.0",
        "2.2.3",
        "2.3.0",
        "2.4.0",
        "2.5.0",
        "2.6.0",
        "2.6.3",
        "2.7.0",
        "2.8.0",
    ],
    "wrapt": ["1.16.0", "1.17.3", "2.0.0", "2.1.2", "2.2.2", "2.3.0", "2.4.1", "2.5.2"],
}
ROWS = max(map(len, RANGES.values()))


def row(number: int) -> list[str]:
    """The versions of a row: each library's are spread over all rows, the oldest in the first."""
    return [
        f"{name}=={versions[number * (len(versions) - 1) // (ROWS - 1) if number else 0]}"
        for name, versions in RANGES.items()
    ]


def test_every_version_is_in_a_row() -> None:
    every = {pin for number in range(ROWS) for pin in row(number)}

    assert every == {f"{name}=={version}" for name, versions in RANGES.items() for version in versions}


@pytest.mark.parametrize("number", range(ROWS), ids=lambda number: ",".join(row(number)))
def test_the_contract_holds_on(number: int, tmp_path: Path) -> None:
    uv = shutil.which("uv", path=f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        pytest.skip("uv is not installed")
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(tmp_path)}
    installed = subprocess.run(
        [uv, "pip", "install", "-q", "--python", sys.executable, "--target", str(tmp_path), *row(number)],
        env=machine.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert installed.returncode == 0, f"cannot be installed: {installed.stderr[-1000:]}"
    with ProviderServer() as server, echo_server() as (echo, _):
        place = {"openai_url": server.openai_url, "gateways": server.gateways, "echo": echo}
        done = subprocess.run(
            [sys.executable, "-m", "tests.ranges.program", json.dumps(place)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found = json.loads(done.stdout.splitlines()[-1])
        billed = {batch: Counter(bill.body for bill in server.billed(batch=batch)) for batch in (True, False)}

    assert [f"{name}=={version}" for name, version in found["versions"].items()] == row(number)
    assert found["wrong"] == []
    assert billed[True] == Counter(map(seed_of, found["batched"]))
    assert billed[False] == Counter(map(seed_of, found["real_time"]))
