"""The progress of cancelling jobs, one line on stderr."""

from __future__ import annotations

import sys

from batchling.core import events


def show(event: events.Event) -> None:
    """Show how many jobs are over: on a terminal in one line that changes, otherwise in a new line each time."""
    if not isinstance(event, events.Cancelling):
        return
    jobs = "job" if event.total == 1 else "jobs"
    text = f"batchling: cancelling: {event.done:,} of {event.total:,} {jobs} over"
    if event.done < event.total:
        text += " (a provider may take ten minutes; Ctrl-C stops waiting)"
    if sys.stderr.isatty():
        end = "\n" if event.done == event.total else ""
        print(f"\r\x1b[2K{text}", end=end, file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)
