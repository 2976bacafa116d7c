"""What a display is told, one thing after the other, and what it makes of it."""

from __future__ import annotations

from batchling.core import events
from batchling.display.progress import Progress
from tests.display.targets import CHAT


def play(*happened: events.Event | float) -> Progress:
    """A number is the time at which the events after it happen."""
    progress = Progress(0.0)
    now = 0.0
    for event in happened:
        if isinstance(event, float):
            now = event
        else:
            progress.add(event, now)
    return progress


def answered(count: int, ok: bool = True, cached: bool = False) -> list[events.Event]:
    return [events.Answered(CHAT, ok, cached)] * count
