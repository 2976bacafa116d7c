from __future__ import annotations

import logging

import pytest

from batchling.core import events
from batchling.display.plain import log
from tests.display.targets import CHAT


def test_what_keeps_callers_waiting_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "batchling"):
        log(events.Submitted(CHAT, "b1", "job7", 3))
        log(events.Polled("b1", "in_progress", 1, 3))
        log(events.Delayed("b1", "poll", "HTTP 503", 0.5))
        log(events.Delayed("b1", "poll", "HTTP 503", 40.0))
        log(events.Ended("b1", 2, 1))
        log(events.Queued(CHAT))

    levels = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in levels] == ["INFO", "DEBUG", "DEBUG", "WARNING", "INFO"]
    assert levels[0][1] == "batch b1: 3 requests submitted as job job7"
    assert levels[3][1] == "batchling: batch b1: cannot poll (HTTP 503), trying again in 40 s"
