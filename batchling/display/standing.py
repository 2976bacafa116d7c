"""The jobs that this process has seen running and not seen end, whichever scope they belong to.

Printed as the last line when the interpreter exits: a report is buried by the traceback that follows it.
"""

from __future__ import annotations

from batchling.core import events

_running: dict[str, bool] = {}
"""The batches whose jobs are running, and whether their records are kept."""


class Standing:
    """Follows the jobs of one scope; `kept` means that their records outlive the process. On the engine's thread."""

    def __init__(self, *, kept: bool) -> None:
        self._kept = kept

    def add(self, event: events.Event) -> None:
        """Process one event."""
        match event:
            case events.Submitted() | events.Polled():
                _running[event.batch] = self._kept
            case events.Ended() | events.Died():
                _running.pop(event.batch, None)


def text() -> str:
    """The line, without a newline at its end; empty when no job runs."""
    jobs = tuple(_running.values())
    if not jobs:
        return ""
    lost = jobs.count(False)
    one = len(jobs) == 1
    line = f"batchling: {len(jobs):,} {'job keeps' if one else 'jobs keep'} running at the provider"
    if lost < len(jobs):
        line += ". Run the same program again to collect the answers"
    if lost:
        which = (
            "its record was" if one else f"the records of {lost:,} were" if lost < len(jobs) else "their records were"
        )
        line += f"; {which} not kept (cache=False)"
    return line + "."


def forget() -> None:
    """Forget the jobs in a forked child: they are the parent's."""
    _running.clear()
