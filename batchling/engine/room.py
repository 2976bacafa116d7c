"""How many calls of a scope wait for an answer at a time. Further ones wait here until there is room, first come, first
served.

A call that goes real time never gets here, and one that waits here is no different from any other to its caller: it can
be cancelled, and is detached when the scope is left early. Belongs to the engine's loop thread, except for `wake`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable

from batchling.core import events
from batchling.engine.answers import Answers
from batchling.engine.background import Background
from batchling.engine.callers import resolve
from batchling.engine.queues import Queues
from batchling.engine.waiter import Arrival
from batchling.system.loop import Mailbox


class Room:
    """See the module docstring. There is room for `size` calls; `enter` queues one of them.

    Once the room is full, no window can become fuller until one of the calls inside is over. If none of them waits for
    anything but a window, the windows are submitted at once: a full room counts as a full window.
    """

    def __init__(
        self, size: int, queues: Queues, answers: Answers, mailbox: Mailbox, enter: Callable[[Arrival], None]
    ) -> None:
        self._size = size
        self._queues = queues
        self._answers = answers
        self._mailbox = mailbox
        self._enter = enter
        self._inside = 0
        self._outside: OrderedDict[Arrival, None] = OrderedDict()
        self._gone: deque[Arrival] = deque()
        """Calls that are over and have not been replaced yet. Filled by any thread."""
        self._draining = self._hurries = self._closed = False
        self._work = Background()
        self._looking = False
        self._new = 0
        """How many calls had to wait since the last event."""
        self._reported = 0
        """How many calls waited for room according to the last event."""
        self._reporting = False
        self._first = True

    def __len__(self) -> int:
        """How many calls wait for room."""
        return len(self._outside)

    def arrive(self, arrival: Arrival) -> None:
        """Queue a call if there is room, otherwise as soon as there is."""
        arrival.notify(self, arrival)
        if self._inside < self._size:
            self._inside += 1
            self._enter(arrival)
        else:
            self._outside[arrival] = None
            self._new += 1
            self._report_soon()
        self.look()

    def wake(self, flag: Arrival) -> None:
        """This call has its answer, or its caller has given up. Any thread."""
        if not self._closed:
            self._gone.append(flag)
            self._mailbox.post(self._replace)

    def _replace(self) -> None:
        """A call is over: let the next one in."""
        gone = self._gone.popleft()
        if gone in self._outside:
            del self._outside[gone]
            self._report_soon()
            if gone.cancelled():  # a withdrawal is counted like that of a call inside
                self._answers.emit(events.Queued(gone.target, False, gone.limit, gone.has_short_cache_mark))
                self._answers.emit(events.Withdrawn(gone.target))
        elif self._outside:
            arrival, _ = self._outside.popitem(last=False)
            self._hurries = self._draining
            self._report_soon()
            if not arrival.done():  # otherwise it is about to be replaced itself
                self._enter(arrival)
        else:
            self._inside -= 1
        self.look()

    def drain(self) -> None:
        """From now on, submit the last calls that waited for room without waiting for their windows."""
        self._draining = True

    def abandon(self, reason: BaseException) -> None:
        """Raise this in all calls that wait for room."""
        self._closed = True
        self._work.cancel()
        resolve(self._outside, reason)
        self._outside.clear()

    def look(self) -> None:
        """Submit the windows if no call inside waits for anything else."""
        if not self._looking and self._is_full_of_windows():
            self._looking = True
            self._work.start(self._submit())

    def _is_full_of_windows(self) -> bool:
        """Whether there is no more room, and no batch holds a request of the calls inside. Also if the last ones that
        waited for room are inside now, and the scope is being left."""
        if self._gone:  # they are still to be replaced
            return False
        if self._hurries and not self._outside:
            return True
        return self._inside == self._size and len(self._queues) >= len(self._answers.callers)

    async def _submit(self) -> None:
        try:
            await self._queues.placed()
            while self._queues and self._is_full_of_windows():
                self._hurries = False
                await self._queues.leave()
        finally:
            self._looking = False

    def _report_soon(self) -> None:
        """Emit one event for all that changes until the loop gets to it."""
        if not self._reporting:
            self._reporting = True
            asyncio.get_running_loop().call_soon(self._report)

    def _report(self) -> None:
        self._reporting = False
        new, self._new = self._new, 0
        if new or len(self) != self._reported:
            self._reported = len(self)
            self._answers.emit(events.Throttled(new, len(self), self._size, self._first))
            self._first = False
