"""Notices when a program that ran before asks the same again, a little differently, and pays for it again.

Counts belong to the engine's loop thread. Footprints are made, compared and kept on the disk thread, before the batch
that they are about is claimed there: so a warning comes before the money is spent.
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
"""Requests of a run, the first ones, that are remembered for the next one."""
COMPARED = 2 * KEPT
"""Calls of a run that are compared with the last one, per queue key."""
FEW = 3
"""Misses below which nothing is logged."""
HITS = 0.1
"""Share of calls found in the cache above which a run is one that goes on, and not one that is bought again."""


@dataclass(slots=True)
class _Run:
    """One queue key in this run. `kept`, `comparison` and `left` belong to the disk thread."""

    hits: int = 0
    misses: int = 0
    first: list[Waiter] = field(default_factory=list)
    """Hits that are to be remembered."""
    kept: list[Footprint] = field(default_factory=list)
    comparison: Comparison | None = None
    left: int | None = None
    """How many calls are still to be compared; None before the last run's footprints were read."""


class Reruns:
    """See the module. `post` has work done on the loop thread."""

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
        """Calls of one queue key that are not in the cache leave as batches."""
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
        except Exception as fault:  # a warning that cannot be given breaks no batch
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
