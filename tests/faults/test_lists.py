"""Faults of the call that polls many jobs at once: whatever happens to it, each job is polled on its own, and nobody notices."""

from __future__ import annotations

from collections import Counter

import pytest

from batchling import events
from batchling.testing import ProviderServer
from tests.engine.timeline import Elsewhere, like_openai
from tests.faults.calls import ask_all
from tests.faults.table import FAULTS, Fault, Step

TEXTS = ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.inject], ids=lambda fault: fault.name)
def test_a_fault_of_a_list_call_harms_nobody(provider_server: ProviderServer, fault: Fault) -> None:
    assert fault.inject is not None
    fault.inject(provider_server, Step("openai", "list", "GET", "/list-of-jobs"))
    provider_server.hold()
    polls: Counter[str] = Counter()

    def note(event: events.Event) -> None:
        if isinstance(event, events.Polled):
            polls[event.batch] += 1
            if len(polls) == len(TEXTS) and min(polls.values()) > 2:
                provider_server.release()

    options = {"batch_size": 1, "batch_poll_interval_seconds": 0.1, "on_event": note}
    statuses = ask_all(provider_server, "openai", TEXTS, providers=[like_openai(Elsewhere)], **options)

    assert statuses == [200] * len(TEXTS)
    assert not provider_server.pending_faults()
    assert len(provider_server.billed(batch=True)) == len(provider_server.creates()) == len(TEXTS)
    assert provider_server.billed(batch=False) == []
