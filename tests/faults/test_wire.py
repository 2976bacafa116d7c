"""The table of faults: whatever happens to one call, everybody is answered, and every request is billed once."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from msgspec.structs import replace

from batchling.engine.sender import Sender
from batchling.testing import ProviderServer
from tests.faults.calls import run
from tests.faults.table import CELLS, QUICK, Cell, Step


def refuse_once(monkeypatch: pytest.MonkeyPatch, step: Step) -> list[str]:
    """Send the next such call to a port where nobody listens; the list tells that it happened."""
    exchange = Sender._exchange
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = taken.getsockname()[1]
    done: list[str] = []

    async def refused(sender: Sender, request: Any, *others: Any) -> Any:
        parts = urlsplit(request.url)
        if not done and request.method == step.method and step.part in parts.path:
            done.append(parts.path)
            request = replace(request, url=urlunsplit(parts._replace(netloc=f"127.0.0.1:{closed}")))
        return await exchange(sender, request, *others)

    monkeypatch.setattr(Sender, "_exchange", refused)
    return done


@pytest.mark.parametrize(
    "cell", [pytest.param(cell, marks=() if cell in QUICK else pytest.mark.slow) for cell in CELLS], ids=str
)
def test_a_fault_loses_nothing_and_buys_nothing(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch, cell: Cell
) -> None:
    step, fault = cell.step, cell.fault
    if step.settling:
        provider_server.lose_reply("POST", "/batches")
    if fault.refused:
        happened = refuse_once(monkeypatch, step)
    else:
        assert fault.inject is not None
        happened = []
        fault.inject(provider_server, step)

    first = run(provider_server, step.provider)
    waiting = provider_server.pending_faults()
    second = run(provider_server, step.provider)

    assert happened or not waiting, "the fault did not happen"
    # A gateway that does not know these calls has no batch API: real time then, once, until the next run.
    unknown = fault.status == 404 and step.method == "POST"
    # A key that is refused for a moment ends no job that exists, only a submission.
    told = 401 if fault.status == 401 and step.method == "POST" else 0
    assert first == [told or 200] * 3
    assert second == [200] * 3
    assert len(provider_server.billed(batch=True)) == 3
    assert len(provider_server.billed(batch=False)) == (3 if unknown else 0)
    assert len(provider_server.jobs()) == 1
