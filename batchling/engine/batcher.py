"""The engine of one scope: takes in requests, groups them into batches, and answers the callers.

Hooks see it as a `Gate`. All mutable state belongs to the engine's loop thread; methods that other threads may call say
so. No fault of ours leaves a caller without an answer: whatever happens, every future is resolved.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from functools import partial

from batchling.cache import Store
from batchling.core import events
from batchling.core.model import Bypass, Request, Response
from batchling.core.way import Way
from batchling.engine.access import Accesses
from batchling.engine.admission import Admission
from batchling.engine.answers import Answers, broken
from batchling.engine.background import Background
from batchling.engine.batch import Tools
from batchling.engine.bulk import Bulk
from batchling.engine.callers import Callers, resolve
from batchling.engine.disk import Disk
from batchling.engine.driver import Driver
from batchling.engine.exchange import Exchange
from batchling.engine.family import Family
from batchling.engine.options import Options, Ports
from batchling.engine.queues import Queues
from batchling.engine.reruns import Reruns
from batchling.engine.room import Room
from batchling.engine.routing import Routing
from batchling.engine.sender import Sender
from batchling.engine.tasks import Tasks
from batchling.engine.traps import Traps
from batchling.engine.waiter import Arrival, Waiter
from batchling.errors import Detached
from batchling.providers.routes import Routes
from batchling.system.forks import on_fork
from batchling.system.gate import Gate, ourselves, outside
from batchling.system.loop import Mailbox
from batchling.system.pending import Pending

_log = logging.getLogger(__name__)

_TOLD_SECONDS = 0.05
"""Seconds between events of calls that went real time: the loop thread is not woken for each of them."""


class Batcher:
    """See the module docstring. `submit`, `wants`, `bypass`, `notice`, `drain`, `detach`, `cancel`, `gather`,
    `waits_for` and `close` may be called from any thread."""

    def __init__(
        self, options: Options, routes: Routes, store: Store, ports: Ports, family: Family | None = None
    ) -> None:
        self.outer: Gate | None = None
        self.closed: bool = False
        self.family: Family = family or Family()
        self._options = options
        self._routes = routes
        self._store = store
        self._ports = ports
        self._prepared: set[str] = set()
        self._assemble()
        _alive.add(self)

    def _assemble(self) -> None:
        """Create the parts of the engine, in their initial state: for a new scope, and again in a forked child."""
        options = self._options
        self._mailbox = Mailbox(_as_ourselves)
        self._bypassed: deque[tuple[str, str]] = deque()
        """The URLs of calls that went real time, and why; not emitted yet."""
        self._telling = False
        self._detached = False
        self._draining: list[Pending[None]] = []
        self._work = Background()
        self._traps = Traps()
        self._callers = Callers()
        self._sender = Sender()
        self._disk = Disk(self._store)
        accesses = Accesses(self._routes.providers)
        self._answers = Answers(self._callers, accesses, self._emit, options.resubmissions, self._again)
        self._routing = Routing(self._routes, self._store, self._answers)
        exchange = Exchange(self._sender, self._emit, options.patience)
        self._driver = Driver(Tools(self._disk, exchange, self._emit, self._ports.meter))
        self._tasks = Tasks(self._driver, self._answers, Admission(options, self._emit, self.family))
        footprints = None if options.dry_run else self._ports.footprints
        reruns = Reruns(footprints, self._disk, self._mailbox, self._emit)
        self._queues = Queues(options, self._routing, self._answers, self._tasks, reruns)
        self._room: Room | None = None
        if options.max_waiting is not None:
            self._room = Room(options.max_waiting, self._queues, self._answers, self._mailbox, self._enter)

    def after_fork(self) -> None:
        """In a forked child: start with fresh parts. The calls made before the fork are answered by the parent."""
        self._store.after_fork()
        self._assemble()

    # Called by hooks, in the caller's thread.

    def wants(self, method: str, url: str) -> bool:
        return self._routes.match(method, url) is not None or self._routes.unserved(method, url)

    def submit(self, request: Request, way: Way | None = None) -> Pending[Response] | None:
        if self.closed:
            return None
        found = self._routing.arrival(request, way)
        if isinstance(found, Bypass):
            self.bypass(request.method, request.url, found.reason)
            return None
        arrival, body = found
        arrival.owner = self
        self._traps.look(arrival, body)
        if self._ports.observe is not None:
            self._ports.observe(arrival)
        if arrival.provider.name not in self._prepared and self._ports.prepare is not None:
            self._ports.prepare(arrival.provider)
            self._prepared.add(arrival.provider.name)
        self._mailbox.post(partial(self._arrive, arrival))
        return arrival

    def withdraw(self, arrival: Arrival) -> None:
        self._mailbox.post(partial(self._withdraw, arrival))

    def reason_against(self, method: str, url: str) -> str | None:
        return self._routing.reason_against(method, url)

    def bypass(self, method: str, url: str, reason: str) -> None:
        self._bypassed.append((url, reason))
        if self.family.is_child:  # it may exit before its loop thread gets to it
            self._tell_bypassed()
        elif not self._telling:
            self._telling = True
            self._mailbox.post(self._tell_soon)

    def _tell_soon(self) -> None:
        """Emit events of calls that went real time, as long as there are such calls: a few times a second."""
        self._telling = False  # first, so that no call is forgotten
        if self._bypassed:
            self._telling = True
            self._tell_bypassed()
            asyncio.get_running_loop().call_later(_TOLD_SECONDS, self._tell_soon)

    def _tell_bypassed(self) -> None:
        """Emit one event for all calls that went to one place for one reason. Any thread."""
        bulk = Bulk(self.notice)
        with suppress(IndexError):
            while True:
                bulk.add_real_time(*self._bypassed.popleft())
        bulk.tell()

    def notice(self, event: events.Event) -> None:
        # The family gets it at once: a forked child may exit before its loop thread gets to it.
        self.family.on_event(event)
        self._mailbox.post(lambda: self._show(event))

    # Called by the context, in any thread.

    def drain(self) -> Pending[None]:
        """Submit what is waiting in windows now. The future is done when every caller has its answer, and the inputs of
        ended batches have been deleted at the providers, for which it waits a few seconds at most."""
        return self._ask(lambda done: self._work.start(self._drain(done)))

    def detach(self) -> Pending[None]:
        """Stop at once: nothing more is submitted, waiting callers get `Detached`, and jobs keep running at the
        provider."""
        return self._ask(self._detach)

    def cancel(self) -> Pending[None]:
        """After `detach`: cancel the jobs at their providers. The future is done when each job is confirmed to be over,
        or could not be cancelled; events count those that are over."""
        return self._ask(lambda done: self._work.start(self._cancel(done)))

    def waits_for(self) -> str:
        """The batches that closing waits for, for a log message. Any thread."""
        return self._tasks.waits_for()

    def gather(self) -> Pending[None]:
        """Take in what forked children have done. The future is done when the report includes it."""

        def gather(done: Pending[None]) -> None:
            self.family.gather()
            resolve([done], None)

        return self._ask(gather)

    def close(self) -> Pending[None]:
        """End the scope and release its resources. Idempotent; callers that are still waiting get `Detached`."""
        self.closed = True
        return self._ask(self._close)

    def _ask(self, work: Callable[[Pending[None]], None]) -> Pending[None]:
        """Run this on the loop thread, with the future that is returned, which it has to resolve."""
        done: Pending[None] = Pending()
        self._mailbox.post(self._tell_bypassed)
        self._mailbox.post(lambda: work(done))
        return done

    # The loop thread, from here on.

    def _emit(self, event: events.Event) -> None:
        self.family.on_event(event)
        self._show(event)

    def _show(self, event: events.Event) -> None:
        try:
            self._ports.listen(event)
        except Exception:
            # A display can never break a batch.
            _log.exception("batchling: a display failed; please report this")

    def _arrive(self, arrival: Arrival) -> None:
        if self._detached:
            resolve([arrival], Detached("the batchify scope was left"))
        elif self._room is not None:
            self._room.arrive(arrival)
        else:
            self._enter(arrival)

    def _enter(self, arrival: Arrival) -> None:
        if arrival.cancelled():
            return
        try:
            self._queues.arrive(arrival)
        except Exception as fault:
            resolve([arrival], broken(arrival.provider, fault))

    def _again(self, waiter: Waiter) -> None:
        """Submit a request again whose batch ended without an answer for it."""
        self._queues.place(waiter)
        if self._room is not None:
            self._room.look()

    def _withdraw(self, arrival: Arrival) -> None:
        """A caller gave up. Its request is withdrawn if it was not sent yet; otherwise its answer is kept for the next
        run."""
        waiter = self._callers.leave(arrival)
        if waiter is None:
            return
        self._queues.forget(waiter, arrival)
        self._tasks.forget(waiter)
        self._emit(events.Withdrawn(waiter.target) if waiter.is_unsent else events.GaveUp(waiter.target))

    async def _drain(self, done: Pending[None]) -> None:
        self._draining.append(done)
        if self._room is not None:
            self._room.drain()
        await self._queues.leave()
        while self._callers or self._room or self._mailbox or self._driver.tidying:
            await self._callers.emptied()
            await self._driver.tidying.ended()
            await asyncio.sleep(0)  # let the loop handle what has arrived in the meantime
        if done in self._draining:  # the scope was not detached in the meantime
            self._draining.remove(done)
            resolve([done], None)

    def _detach(self, done: Pending[None]) -> None:
        if not self._detached:
            self._detached = True
            self._queues.stop()
            jobs = self._tasks.stop()
            left = Detached("the batchify scope was left while this call waited")
            outside = 0 if self._room is None else len(self._room)
            if self._callers or outside:
                self._emit(events.Detached(jobs, self._callers.unsent() + outside))
            self._callers.abandon(left)
            if self._room is not None:
                self._room.abandon(left)
            draining, self._draining = self._draining, []
            resolve(draining, Detached("the batchify scope was left"))
        resolve([done], None)

    def _close(self, done: Pending[None]) -> None:
        ignored: Pending[None] = Pending()
        self._detach(ignored)
        self._work.cancel()
        self._work.start(self._release(done))

    async def _cancel(self, done: Pending[None]) -> None:
        try:
            await self._tasks.cancel()
        finally:
            resolve([done], None)

    async def _release(self, done: Pending[None]) -> None:
        # So that the disk thread ends, too.
        self._store.stop_waiting()
        try:
            await self._tasks.stopped()
            await self._sender.close()
        finally:
            # Not in the disk thread: at interpreter exit, executors accept no more work.
            self._disk.close(wait=False)
            resolve([done], None)


def _as_ourselves() -> Context:
    """A context in which hooks ignore our own calls."""
    context = outside()
    context.run(ourselves.set, True)
    return context


_alive: weakref.WeakSet[Batcher] = weakref.WeakSet()


def _start_anew_after_fork() -> None:
    for batcher in tuple(_alive):
        batcher.after_fork()


on_fork(in_child=_start_anew_after_fork)
