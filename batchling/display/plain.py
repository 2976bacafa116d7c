"""Events as log lines, under the logger `batchling`: what a long wait is about, for whoever looks."""

from __future__ import annotations

import logging

from batchling.core import events
from batchling.display.hints import Hints

_log = logging.getLogger("batchling")

_WORTH_A_WARNING = 5.0
"""Seconds: shorter delays are the normal noise of a network."""


def log(event: events.Event) -> None:
    """Write one event to the log: decisions at debug, a line per batch at info, what users should know as warnings."""
    match event:
        case events.Bypassed():
            _log.debug("a call to %s%s goes real time: %s", event.host, event.path, event.reason)
        case events.Hit():
            _log.debug("a request for %s is answered from batch %s", event.target.model, event.batch)
        case events.Withdrawn():
            _log.debug("a request for %s is withdrawn: its caller gave up", event.target.model)
        case events.Submitted():
            _log.info("batch %s: %d requests left as job %s", event.batch, event.rows, event.job)
        case events.Attached():
            _log.info("batch %s: %d requests wait for a job submitted before", event.batch, event.rows)
        case events.Polled():
            _log.debug("batch %s: %s, %d of %d done", event.batch, event.word, event.done, event.total)
        case events.Ended():
            _log.info("batch %s: ended, %d rows answered, %d failed", event.batch, event.answered, event.failed)
        case events.Delayed():
            level = logging.WARNING if event.seconds >= _WORTH_A_WARNING else logging.DEBUG
            _log.log(
                level,
                "batchling: batch %s: cannot %s (%s); nothing is lost, next try in %.0f s",
                event.batch,
                event.what,
                event.why,
                event.seconds,
            )
        case events.Held():
            level = logging.INFO if event.wanted else logging.WARNING
            _log.log(level, "batchling: a batch for %s waits to be submitted: %s", event.target.model, event.why)
        case events.Died():
            _log.info("batch %s: %s", event.batch, event.reason)


def advise(hints: Hints, event: events.Event) -> None:
    """Log what hints have to say of an event, if anything."""
    if (text := hints.add(event)) is not None:
        _log.warning(text)
