"""Takes calls from their arrival to their batch: looks requests up in the cache, and collects the others in windows.

Belongs to the engine's loop thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping

from batchling.core import events
from batchling.core.fingerprint import decode_body, fingerprint
from batchling.core.kinds import Kind, kind_of
from batchling.core.model import Bypass, Item, QueueKey, Target
from batchling.core.window import Window, split
from batchling.engine.answers import Answers, broken
from batchling.engine.background import Background, portions
from batchling.engine.bulk import Bulk
from batchling.engine.options import Options
from batchling.engine.per_call import PerCallHeaders
from batchling.engine.rehearsal import rehearse
from batchling.engine.reruns import Reruns
from batchling.engine.routing import Routing
from batchling.engine.sender import sendable
from batchling.engine.tasks import Tasks
from batchling.engine.waiter import Arrival, Stage, Waiter
from batchling.errors import outline
from batchling.providers.base import Limits, Provider

_log = logging.getLogger(__name__)


class Queues:
    """See the module docstring. Every request that has arrived, or is to be submitted again, is placed here."""

    def __init__(self, options: Options, routing: Routing, answers: Answers, tasks: Tasks, reruns: Reruns) -> None:
        self._options = options
        self._routing = routing
        self._answers = answers
        self._tasks = tasks
        self._reruns = reruns
        self._per_call = PerCallHeaders()
        self._windows: dict[QueueKey, Window] = {}
        self._unplaced: list[Waiter] = []
        """Waiters whose keys are still to be looked up."""
        self._work = Background()
        self._bulk = Bulk(answers.emit)

    def arrive(self, arrival: Arrival) -> None:
        """Take in a call. Raises whatever a third party's provider raises."""
        self._per_call.register(arrival)
        if self._per_call and isinstance(stripped := self._strip(arrival), Bypass):
            self._answers.let_pass([arrival], stripped.reason)
            return
        target = self._answers.accesses.register(arrival.target, arrival.route, arrival.request, arrival.way)
        arrival.target = target  # one object for all equal ones
        if not self._options.dry_run and not sendable(self._answers.accesses[target].site.headers):
            # Most likely an API key with a newline. The caller's own client reports that at once.
            self._answers.let_pass([arrival], "a header that HTTP does not allow")
            return
        joins = arrival.is_retry or self._options.join_duplicates
        if (waiter := self._answers.callers.enter(arrival, target, joins=joins)) is not None:
            self.place(waiter)

    def place(self, waiter: Waiter) -> None:
        """Attach a waiter to the batch that already holds its key, or put it into a window."""
        self._unplaced.append(waiter)
        if len(self._unplaced) == 1:
            self._work.start(self._place_all())

    def forget(self, waiter: Waiter, call: Arrival) -> None:
        """No call waits for this request any more; `call` was the last one."""
        if waiter.stage is Stage.NEW:  # count it all the same, since its withdrawal is counted, too
            self._count(waiter, call, again=False)
            self._bulk.tell()
        if (window := self._windows.get(waiter.target.queue)) is not None:
            window.remove(waiter.item.key)

    def __len__(self) -> int:
        """How many requests no batch holds yet: they are in windows, or still to be looked up."""
        return len(self._unplaced) + sum(map(len, self._windows.values()))

    async def placed(self) -> None:
        """Wait until everything that has arrived was looked up."""
        await self._work.ended()

    async def leave(self) -> None:
        """Submit all windows, and return when everything that was waiting has left."""
        await self._work.ended()
        for queue in list(self._windows):
            self._leave(queue)
        await self._work.ended()

    def stop(self) -> None:
        """Submit nothing more."""
        for waiter in self._unplaced:
            if waiter.stage is Stage.NEW and self._answers.callers.holds(waiter):
                self._count(waiter, waiter.calls[0], again=False)
        self._bulk.tell()
        self._windows.clear()
        self._unplaced.clear()
        self._work.cancel()

    # Looking up.

    async def _place_all(self) -> None:
        """Look up all that have arrived in one call of the store; then, those that arrived in the meantime."""
        disk = self._tasks.disk
        while waiters := tuple(self._unplaced):
            try:
                holders = await disk(disk.store.lookup, [waiter.item.key for waiter in waiters])
            except Exception as fault:  # from the store; the callers must still get an answer
                self._give_up(waiters, fault)
                holders = {}
            async for some in portions(waiters):
                for waiter in some:
                    try:
                        if self._answers.callers.holds(waiter):
                            self._place(waiter, holders.get(waiter.item.key))
                    except Exception as fault:
                        self._give_up([waiter], fault)
                self._bulk.tell()
                # Not earlier: as long as the list is not empty, no second task is started.
                del self._unplaced[: len(some)]

    def _give_up(self, waiters: Iterable[Waiter], fault: Exception) -> None:
        """Answer those of these requests that still have callers: our code, a provider or the store has raised this."""
        left = tuple(filter(self._answers.callers.holds, waiters))
        names = {waiter.target.provider for waiter in left}
        answers = {name: broken(self._routing.providers[name], fault) for name in names}
        self._answers.answer_all({waiter.item.key: answers[waiter.target.provider] for waiter in left})

    def _place(self, waiter: Waiter, holder: str | None) -> None:
        again = waiter.stage is Stage.QUEUED
        if not self._found(waiter, holder, again=again):
            self._count(waiter, waiter.calls[0], again=again)
        elif not self._options.dry_run:
            return
        self._queue(waiter)

    def _count(self, waiter: Waiter, call: Arrival, *, again: bool) -> None:
        waiter.move(Stage.QUEUED)
        self._bulk.add(events.Queued, waiter.target, again, call.limit, call.has_short_cache_mark)

    def _found(self, waiter: Waiter, holder: str | None, *, again: bool) -> bool:
        """Whether a batch already holds a waiter's key. Follows that batch then, unless this is a dry run. `again`: the
        waiter was counted before."""
        if holder is None:
            return False
        waiter.move(Stage.FOLLOWED)
        self._reruns.hit(waiter)
        self._bulk.add(events.Hit, waiter.target, holder, again)
        if not self._options.dry_run:
            self._tasks.follow(holder, waiter)
        return True

    # Windows.

    def _rows(self, limits: Limits) -> int:
        """The maximum number of requests in a batch."""
        return min(self._options.batch_size or limits.rows, limits.rows)

    def _queue(self, waiter: Waiter) -> None:
        queue = waiter.target.queue
        window = self._windows.get(queue)
        if window is None:
            size = self._rows(self._routing.providers[waiter.target.provider].limits)
            window = self._windows[queue] = Window(size, self._options.window_seconds)
        first = not window
        window.add(waiter.target, waiter.item, asyncio.get_running_loop().time())
        if window.full:
            self._leave(queue)
        elif first:
            self._watch(window, queue)

    def _watch(self, window: Window, queue: QueueKey) -> None:
        """Submit a window when it is due, unless it has left in the meantime."""
        loop = asyncio.get_running_loop()
        leaves_at = window.leaves_at
        if self._windows.get(queue) is not window or leaves_at is None:
            return
        if window.due(loop.time()):
            self._leave(queue)
        else:
            loop.call_at(leaves_at, self._watch, window, queue)

    def _leave(self, queue: QueueKey) -> None:
        window = self._windows.pop(queue)
        self._bulk.tell()
        for event in self._per_call.decide():
            self._answers.emit(event)
        if self._per_call:
            self._work.start(self._strip_and_send(window, queue))
        else:
            self._send_all(window, queue)

    def _send_all(self, window: Window, queue: QueueKey) -> None:
        provider = self._routing.providers[queue.provider]
        self._reruns.leave(tuple(self._answers.callers.waiters(window.waiting())), provider.facts.neutral)
        for target, items in window.take().items():
            try:
                self._send(provider, target, items)
            except Exception as fault:
                answer = broken(provider, fault)
                callers = self._answers.callers
                left = [each for each in callers.waiters(item.key for item in items) if not self._tasks.has(each)]
                self._answers.answer_all({waiter.item.key: answer for waiter in left})

    def _send(self, provider: Provider, target: Target, items: list[Item]) -> None:
        """Submit items, in as many batches as their provider's limits require."""
        limits = provider.limits

        def weight(item: Item) -> int:
            return provider.weight(decode_body(item.request.body) or {})

        inputs = limits.inputs if kind_of(target.endpoint) is Kind.EMBEDDINGS else None
        for batch in split(items, rows=self._rows(limits), size=limits.bytes, inputs=inputs, weight=weight):
            if len(batch) < limits.least:
                keys = [item.key for item in batch]
                self._answers.send_real_time(target, keys, f"a batch needs {limits.least} requests")
            elif self._options.dry_run:
                self._work.start(rehearse(self._answers, provider, target, batch))
            else:
                self._tasks.launch(target, batch)

    # Headers that turn out to be new in every call.

    def _strip(self, arrival: Arrival) -> bool | Bypass:
        """Remove headers that are left out by now from a call. Returns whether it had any, or why it now goes real
        time."""
        request = self._per_call.strip(arrival)
        body = None if request is None else decode_body(request.body)
        if request is None or body is None:
            return False
        target = self._routing.target(arrival.provider, arrival.route, request, body)
        if isinstance(target, Bypass):
            return target
        arrival.request, arrival.target = request, target
        arrival.fingerprint = fingerprint(target, body, arrival.provider.facts.neutral)
        return True

    async def _strip_and_send(self, window: Window, queue: QueueKey) -> None:
        """Strip all calls in a window that is leaving, and look up those whose key has changed: they may be in the
        cache. Then submit the window."""
        renamed = [waiter for key in window.waiting() if (waiter := self._strip_in(window, key)) is not None]
        disk = self._tasks.disk
        holders: Mapping[str, str] = {}
        if renamed:
            try:
                holders = await disk(disk.store.lookup, [waiter.item.key for waiter in renamed])
            except Exception as fault:  # nothing is bought twice: keys are claimed before the batch is submitted
                _log.error("batchling failed to handle a request; please report this: %s", outline(fault))
        for waiter in renamed:
            if self._answers.callers.holds(waiter) and (
                not self._found(waiter, holders.get(waiter.item.key), again=True) or self._options.dry_run
            ):
                window.add(waiter.target, waiter.item, asyncio.get_running_loop().time())
        self._bulk.tell()
        self._send_all(window, queue)

    def _strip_in(self, window: Window, key: str) -> Waiter | None:
        """Strip the call of a key, and take it out of the window if its key has changed. Returns its waiter then,
        unless it goes real time or has joined another waiter."""
        if (waiter := self._answers.callers.get(key)) is None:
            return None
        call = waiter.calls[0]
        try:
            stripped = self._strip(call)
            if stripped is False:
                return None
            target = self._answers.accesses.register(call.target, call.route, call.request, call.way)
        except Exception as fault:  # from a third party's provider; the call is submitted unchanged
            _log.error("batchling failed to handle a request; please report this: %s", outline(fault))
            return None
        window.remove(key)
        if isinstance(stripped, Bypass):
            self._answers.send_real_time(waiter.target, [key], stripped.reason)
            return None
        joins = self._options.join_duplicates
        return waiter if self._answers.callers.rename(waiter, target, call.fingerprint, joins=joins) else None
