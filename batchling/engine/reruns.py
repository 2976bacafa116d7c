"""Notices when a program sends almost the same requests as in its last run, and so pays for them again.

Counts belong to the engine's loop thread. Footprints are made, compared and stored on the disk thread, before the keys
of their batch are claimed there, so the warning comes before the money is spent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from batchling.cache.footprints import Footprints
from batchling.core import events
from batchling.core.fingerprint import decode_body
from batchling.core.footprint import Comparison, Footprint, Memory, footprint
from batchling.core.model import QueueKey
from batchling.core.neutral import Neutral
from batchling.engine.disk import Disk
from batchling.engine.waiter import Waiter
from batchling.errors import outline
from batchling.system.loop import Mailbox

_log = logging.getLogger(__name__)

KEPT = 24
"""How many requests of a run, from its start, are remembered for the next run."""
COMPARED = 2 * KEPT
"""How many calls of a run are compared with the last run, per queue key."""
FEW = 3
"""The smallest number of misses that is worth a warning."""
HITS = 0.1
"""If a larger share of the calls is found in the cache, the run continues an earlier one, and is not bought again."""


@dataclass(slots=True)
class _Run:
    """One queue key in this run. `kept`, `comparison` and `left` belong to the disk thread."""

    hits: int = 0
    misses: int = 0
    first: list[Waiter] = field(default_factory=list)
    """Hits still to be remembered."""
    kept: list[Footprint] = field(default_factory=list)
    comparison: Comparison | None = None
    left: int | None = None
    """How many calls are still to be compared; None until the last run's footprints are read."""


class Reruns:
    """See the module docstring. `mailbox` is that of the loop thread."""

    def __init__(
        self, kept: Footprints | None, disk: Disk, mailbox: Mailbox, emit: Callable[[events.Event], None]
    ) -> None:
        self._kept = kept
        self._disk = disk
        self._mailbox = mailbox
        self._emit = emit
        self._runs: dict[QueueKey, _Run] = {}

    def hit(self, waiter: Waiter) -> None:
        """A call was found in the cache."""
        if self._kept is None or waiter.tries:
            return
        run = self._runs.setdefault(waiter.target.queue, _Run())
        run.hits += 1
        if run.hits <= KEPT:
            run.first.append(waiter)

    def leave(self, waiters: Sequence[Waiter], neutral: Neutral) -> None:
        """Calls of one queue key leave as batches; followed and resubmitted ones are ignored."""
        waiters = [waiter for waiter in waiters if not waiter.followed and not waiter.tries]
        if self._kept is None or not waiters:
            return
        run = self._runs.setdefault(waiters[0].target.queue, _Run())
        run.misses += len(waiters)
        found, run.first = run.first, []
        counts = (run.misses, run.misses + run.hits)
        self._disk.submit(lambda: self._study(run, found, waiters, neutral, counts))

    # The disk thread.

    def _study(
        self, run: _Run, found: Sequence[Waiter], new: Sequence[Waiter], neutral: Neutral, counts: tuple[int, int]
    ) -> None:
        try:
            self._compare(run, found, new, neutral, counts)
        except Exception as fault:  # a missing warning must not break a batch
            _log.warning("batchling: this run cannot be compared with the last one: %s", outline(fault))

    def _compare(
        self, run: _Run, found: Sequence[Waiter], new: Sequence[Waiter], neutral: Neutral, counts: tuple[int, int]
    ) -> None:
        assert self._kept is not None
        queue = new[0].target.queue
        if run.left is None:
            known = self._kept.read(queue)
            run.comparison = Comparison(Memory(known)) if known else None
            run.left = COMPARED if known else 0
        room = KEPT - len(run.kept)
        prints = [_footprint(waiter, neutral) for waiter in new[: max(run.left, room)]]
        more = [_footprint(waiter, neutral) for waiter in found[:room]] + prints
        missed, asked = counts
        fields: tuple[str, ...] = ()
        for each in prints[: run.left]:
            run.left -= 1
            if run.comparison is not None and not fields:
                fields = run.comparison.add(each)
        if fields and missed >= FEW and asked - missed <= HITS * asked:
            run.comparison, run.left = None, 0  # once
            event = events.PaidAgain(new[0].target, missed, asked, fields)
            self._mailbox.post(lambda: self._emit(event))
        before = len(run.kept)
        run.kept += [each for number, each in enumerate(more) if each not in run.kept and each not in more[:number]][
            :room
        ]
        if len(run.kept) > before:
            self._kept.write(queue, run.kept)


def _footprint(waiter: Waiter, neutral: Neutral) -> Footprint:
    body = decode_body(waiter.item.request.body) or {}
    return footprint(waiter.target, neutral.strip(body), neutral.options)
