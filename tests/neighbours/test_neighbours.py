"""Other libraries that patch what we patch: each set up before us and after us, in a fresh interpreter, with the hook
contract beside it. One interpreter makes all the calls; the server that bills is here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from batchling.providers.samples.text import seed_of
from batchling.testing import ProviderServer
from tests.hooks.world import echo_server
from tests.neighbours.neighbours import NEIGHBOURS, Observer

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.neighbours, pytest.mark.timeout(150)]

ORDERS = ("before", "after")


def _fails_once(server: ProviderServer) -> None:
    error = {"error": {"message": "flaky", "type": "conflict", "code": None, "param": None}}
    server.fail_rows(lambda body: "flaky" in str(body.get("messages")), 409, error, times=1)


@cache
def told(name: str, order: str) -> dict[str, Any]:
    """What the program said, with the ledger that goes with it."""
    with ProviderServer() as server, echo_server() as (echo, _):
        _fails_once(server)
        place = {"openai_url": server.openai_url, "gateways": server.gateways, "echo": echo}
        done = subprocess.run(
            [sys.executable, "-m", "tests.neighbours.program", name, order, json.dumps(place)],
            cwd=ROOT,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        found["billed"] = {
            "batched": Counter(bill.body for bill in server.billed(batch=True)),
            "real_time": Counter(bill.body for bill in server.billed(batch=False)),
        }
        return found


def installed(name: str) -> None:
    for module in NEIGHBOURS[name].needs:
        try:
            there = find_spec(module) is not None
        except ModuleNotFoundError:
            there = False
        if not there:
            pytest.skip(f"{module} is not installed")


def cases(names: list[str]) -> Any:
    return pytest.mark.parametrize(
        ("name", "order"),
        [
            pytest.param(name, order, marks=pytest.mark.xdist_group(f"{name} {order}"), id=f"{name}-{order}")
            for name in names
            for order in ORDERS
        ],
    )


@cases(list(NEIGHBOURS))
def test_the_contract_holds_beside(name: str, order: str) -> None:
    installed(name)

    found = told(name, order)

    assert found["wrong"] == []
    for how in ("batched", "real_time"):
        asked = {
            seed_of({**sent, **more}): sent["messages"][0]["content"]
            for sent in found[how]
            for more in ({}, NEIGHBOURS[name].adds)
        }
        expected = Counter(asked[seed_of(sent)] for sent in found[how])
        billed: Counter[str] = Counter()
        for seed, count in found["billed"][how].items():
            billed[asked.get(seed, seed)] += count
        assert billed == expected, how


@cases([name for name, kind in NEIGHBOURS.items() if issubclass(kind, Observer)])
def test_our_own_calls_are_seen_by_no(name: str, order: str) -> None:
    installed(name)

    assert told(name, order)["own"] == []
