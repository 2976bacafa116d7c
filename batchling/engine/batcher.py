"""The engine of one scope: takes requests in, groups them into batches, answers the callers.

Hooks see it as a `Gate`. All mutable state belongs to the engine's loop thread; what other threads may call says
so. Callers are never failed by a fault of ours without an answer: whatever happens, every future is settled.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from batchling.cache import Store
from batchling.cache.footprints import Footprints
from batchling.core import events
from batchling.core.estimate import size_of
from batchling.core.fingerprint import decode_body, fingerprint
from batchling.core.model import JSON, Bypass, Fault, Item, Request, Response, Target, header
from batchling.core.signed import is_signed
from batchling.core.way import Way
from batchling.core.window import ROW_OVERHEAD, Window, split
from batchling.engine.access import Accesses
from batchling.engine.batches import Batches, Terms
from batchling.engine.callers import FINAL, Arrival, Callers, Waiter, resolve
from batchling.engine.driver import Driver, Metering, no_meter
from batchling.engine.family import Family
from batchling.engine.per_call import PerCallHeaders
from batchling.engine.reruns import Reruns
from batchling.engine.sender import Sender, sendable
from batchling.engine.traps import limit
from batchling.errors import Detached, outline
from batchling.providers import UNKNOWN_HOST, Routes, is_local
from batchling.providers.base import Provider, Route
from batchling.providers.cache_marks import MARK, is_brief
from batchling.system.gate import Gate, RealTime, ourselves, outside
from batchling.system.loop import Mailbox, in_forked_children

_log = logging.getLogger(__name__)

LOOKS = 50
"""Calls of a scope of which it is found out how long they would wait. Who limits one limits most."""

DRY_RUN = ("x-batchling-dry-run", "1")


@dataclass(frozen=True, slots=True)
class Options:
    """What a scope was asked for: `batch_size` None means the provider's maximum; times in seconds."""

    batch_size: int | None
    window_seconds: float
    dry_run: bool
    join_duplicates: bool
    terms: Terms
    observe: Callable[[Arrival], None] | None = None
    """Looks at each call in its caller's thread, before it waits."""
    prepare: Callable[[Provider], None] | None = None
    """Gets ready what the first call to a provider needs, in its caller's thread, before it waits. May be called by
    several threads at once."""


class Batcher:
    """See the module. `submit`, `wants`, `bypass`, `drain`, `detach`, `cancel` and `close` may be called from any
    thread."""

    def __init__(
        self,
        options: Options,
        routes: Routes,
        store: Store,
        listener: Callable[[events.Event], None],
        meter: Metering = no_meter,
        family: Family | None = None,
        footprints: Footprints | None = None,
    ) -> None:
        self.outer: Gate | None = None
        self.closed = False
        self._options = options
        self._prepared: set[str] = set()
        self._routes = routes
        self._store = store
        self._listener = listener
        self._meter = meter
        self.family = family or Family()
        self._footprints = None if options.dry_run else footprints
        self._reset()
        _alive.add(self)

    def _reset(self) -> None:
        """The state of a scope that has seen nothing yet; also that of a forked child."""
        self._mailbox = Mailbox(self._check_drained, _as_ourselves)
        self._accesses = Accesses(self._routes.providers)
        self._without: dict[Target | tuple[str, str], str] = {}
        self._per_call = PerCallHeaders()
        self._callers = Callers()
        self._windows: dict[tuple[str, str, str], Window] = {}
        self._draining: list[Future[None]] = []
        self._detached = False
        self._looks = LOOKS
        self._brief = False
        self._ending: set[asyncio.Task[None]] = set()
        self._disk = ThreadPoolExecutor(1, "batchling-disk")
        self._sender = Sender()
        self._reruns = Reruns(self._footprints, self._disk, self._mailbox, self._emit)
        terms = self._options.terms
        driver = Driver(self._store, self._disk, self._sender, self._emit, terms.poll_interval, meter=self._meter)
        self._batches = Batches(
            self._store,
            self._disk,
            driver,
            self._callers,
            self._accesses,
            terms,
            self._emit,
            self._place,
            self._answer,
            self._let_go,
            self._check_drained,
            self.family,
        )

    def after_fork(self) -> None:
        """In a forked child: forget what belongs to the parent. Inherited calls are the parent's to answer."""
        self._store.after_fork()
        self._reset()

    # What hooks ask, in the caller's thread.

    def wants(self, method: str, url: str) -> bool:
        return self._routes.match(method, url) is not None or self._routes.unserved(method, url)

    def submit(self, request: Request, way: Way | None = None) -> Future[Response] | None:
        matched = self._routes.match(request.method, request.url)
        if self.closed:
            return None
        if matched is None:
            self.bypass(request.method, request.url, events.LOCAL if is_local(request.url) else UNKNOWN_HOST)
            return None
        provider, route = matched
        if is_signed(request.headers):
            self.bypass(request.method, request.url, "signed for this one request")
            return None
        body = decode_body(request.body)
        if body is None:
            self.bypass(request.method, request.url, "body is not a JSON object")
            return None
        target = self._target(provider, route, request, body)
        if isinstance(target, Target):
            target = _too_large(provider, request, body) or target
        if isinstance(target, Bypass):
            self.bypass(request.method, request.url, target.reason)
            return None
        arrival = Arrival(matched, target, request, fingerprint(target, body, provider.facts.neutral), way)
        arrival.on_cancel = self._hear_of_cancel
        self._look_for_traps(arrival, body)
        if self._options.observe is not None:
            self._options.observe(arrival)
        if provider.name not in self._prepared and self._options.prepare is not None:
            self._options.prepare(provider)
            self._prepared.add(provider.name)
        self._mailbox.post(partial(self._arrive, arrival))
        return arrival

    def _look_for_traps(self, arrival: Arrival, body: dict[str, JSON]) -> None:
        """Note on a call what it should be warned of; by a scope's first calls, since looking has a price."""
        if self._looks > 0:
            self._looks -= 1
            arrival.limit = limit()
        if not self._brief and MARK in arrival.request.body and is_brief(body):
            self._brief = arrival.brief = True

    def _target(self, provider: Provider, route: Route, request: Request, body: dict[str, JSON]) -> Target | Bypass:
        """The target of a request, as the cache names it; or why it goes real time, which may be that its account, or
        its model, takes no batches, as the provider has shown."""
        target = provider.target(route, request, body)
        if isinstance(target, Bypass):
            return target
        target = self._store.seal.bind(target)
        reason = self._without.get((target.base_url, target.account)) or self._without.get(target)
        return target if reason is None else Bypass(reason)

    def _hear_of_cancel(self, arrival: Arrival) -> None:
        self._mailbox.post(partial(self._withdraw, arrival))

    def bypass(self, method: str, url: str, reason: str) -> None:
        parts = urlsplit(url)
        self.notice(events.Bypassed(parts.hostname or "", parts.path, reason))

    def notice(self, event: events.Event) -> None:
        # The family hears of it at once: a forked child may be over before its loop thread has its turn.
        self.family.tell(event)
        self._mailbox.post(lambda: self._show(event))

    # What the context asks, in any thread.

    def drain(self) -> Future[None]:
        """Submit what waits in windows now. The future is done when every caller has been answered, and what is left
        behind at the providers has been tidied up, which takes seconds at most."""
        done: Future[None] = Future()
        self._mailbox.post(lambda: self._drain(done))
        return done

    def detach(self) -> Future[None]:
        """Stop at once: nothing new is submitted, waiting callers get `Detached`, jobs at the provider go on."""
        done: Future[None] = Future()
        self._mailbox.post(lambda: self._detach(done))
        return done

    def cancel(self) -> Future[None]:
        """After `detach`: have the jobs stopped at the provider. The future is done when it says that they are over;
        events tell how many are."""
        done: Future[None] = Future()
        self._mailbox.post(lambda: self._end(self._cancel(done)))
        return done

    def waits_for(self) -> str:
        """What closing waits for, in words for a log. Any thread."""
        return self._batches.waits_for()

    def gather(self) -> Future[None]:
        """Hear of what forked children have done. The future is done when the report has it."""
        done: Future[None] = Future()

        def ask() -> None:
            self.family.gather()
            resolve([done], None)

        self._mailbox.post(ask)
        return done

    def close(self) -> Future[None]:
        """End the scope and give back what it holds. Idempotent; callers that still wait get `Detached`."""
        self.closed = True
        done: Future[None] = Future()
        self._mailbox.post(lambda: self._close(done))
        return done

    # The loop thread, from here on.

    def _emit(self, event: events.Event) -> None:
        self.family.tell(event)
        self._show(event)

    def _show(self, event: events.Event) -> None:
        try:
            self._listener(event)
        except Exception:
            # A display can never break a batch.
            _log.exception("batchling: a display failed; please report this")

    def _arrive(self, arrival: Arrival) -> None:
        if self._detached:
            resolve([arrival], Detached("the batchify scope was left"))
            return
        if arrival.cancelled():
            return
        try:
            self._enter(arrival)
        except Exception as fault:
            resolve([arrival], _broken(arrival.provider, fault))

    def _enter(self, arrival: Arrival) -> None:
        self._per_call.meet(arrival)
        if self._per_call and isinstance(stripped := self._strip(arrival), Bypass):
            self._pass(arrival, stripped.reason)
            return
        target = self._accesses.meet(arrival.target, arrival.route, arrival.request, arrival.way)
        if not self._options.dry_run and not sendable(self._accesses[target].site.headers):
            # A key with a newline, most likely. The caller's own client says so at once.
            self._pass(arrival, "a header that no call can carry")
            return
        again = (header(arrival.request.headers, "x-stainless-retry-count") or "0") != "0"
        waiter = self._callers.enter(arrival, target, joins=again or self._options.join_duplicates)
        if waiter is not None:
            self._place(waiter)

    def _strip(self, arrival: Arrival) -> bool | Bypass:
        """Take out of a call the headers that are left out by now. Whether it had any; or why it goes real time now."""
        request = self._per_call.strip(arrival)
        body = None if request is None else decode_body(request.body)
        if request is None or body is None:
            return False
        target = self._target(arrival.provider, arrival.route, request, body)
        if isinstance(target, Bypass):
            return target
        arrival.request, arrival.target = request, target
        arrival.fingerprint = fingerprint(target, body, arrival.provider.facts.neutral)
        return True

    def _strip_all(self, window: Window) -> None:
        """Do so for all that wait in a window which leaves. Who is another one then may be in the cache."""
        for name in window.waiting():
            if (waiter := self._callers.get(name)) is None:
                continue
            call = waiter.calls[0]
            try:
                stripped = self._strip(call)
                target = self._accesses.meet(call.target, call.route, call.request, call.way)
            except Exception as fault:  # a provider of somebody else's; the call leaves as it came
                _log.error("batchling failed at a request; please report this: %s", outline(fault))
                continue
            if stripped is False:
                continue
            window.remove(name)
            if isinstance(stripped, Bypass):
                self._let_go(waiter.target, [name], stripped.reason)
                continue
            renamed = self._callers.rename(waiter, target, call.fingerprint, joins=self._options.join_duplicates)
            if renamed and (not self._find(waiter, again=True) or self._options.dry_run):
                window.add(target, waiter.item, asyncio.get_running_loop().time())

    def _place(self, waiter: Waiter) -> None:
        """Attach a waiter to the batch that holds its key already, or let it wait for its window."""
        again = waiter.attempts + waiter.spared > 0
        if not self._find(waiter, again=again):
            call = waiter.calls[0]
            self._emit(events.Queued(waiter.target, again, call.limit, call.brief))
        elif not self._options.dry_run:
            return
        self._queue(waiter)

    def _find(self, waiter: Waiter, *, again: bool) -> bool:
        """Whether a batch holds a waiter's key already; it answers it then, unless this is a dry run. `again` when the
        waiter was counted before."""
        name = waiter.item.key
        holder = self._store.lookup(name)
        waiter.unsent = holder is None
        if holder is None:
            return False
        waiter.cached = True
        self._reruns.hit(waiter)
        self._emit(events.Hit(waiter.target, holder, again))
        if not self._options.dry_run:
            self._batches.follow(holder, [name])
        return True

    def _queue(self, waiter: Waiter) -> None:
        queue = waiter.target.queue
        window = self._windows.get(queue)
        if window is None:
            limits = self._routes.providers[waiter.target.provider].limits
            size = min(self._options.batch_size or limits.rows, limits.rows)
            window = self._windows[queue] = Window(size, self._options.window_seconds)
        first = not window
        window.add(waiter.target, waiter.item, asyncio.get_running_loop().time())
        if window.full:
            self._leave(queue)
        elif first:
            self._watch(window, queue)

    def _watch(self, window: Window, queue: tuple[str, str, str]) -> None:
        """Have a window leave when its time has come; one that has left in the meantime is nobody's any more."""
        loop = asyncio.get_running_loop()
        leaves_at = window.leaves_at
        if self._windows.get(queue) is not window or leaves_at is None:
            return
        if window.due(loop.time()):
            self._leave(queue)
        else:
            loop.call_at(leaves_at, self._watch, window, queue)

    def _leave(self, queue: tuple[str, str, str]) -> None:
        window = self._windows.pop(queue)
        for event in self._per_call.decide():
            self._emit(event)
        if self._per_call:
            self._strip_all(window)
        provider = self._routes.providers[queue[0]]
        waiters = [waiter for name in window.waiting() if (waiter := self._callers.get(name)) is not None]
        self._reruns.leave(waiters, provider.facts.neutral)
        for target, items in window.take().items():
            try:
                self._send(provider, target, items)
            except Exception as fault:
                answer = _broken(provider, fault)
                for item in items:
                    if item.key in self._callers and not self._batches.has(item.key):
                        self._answer(item.key, answer)

    def _send(self, provider: Provider, target: Target, items: list[Item]) -> None:
        """Let items leave, in as many batches as their provider's limits ask for."""
        limits = provider.limits
        rows = min(self._options.batch_size or limits.rows, limits.rows)

        def weight(item: Item) -> int:
            return provider.weight(decode_body(item.request.body) or {})

        inputs = limits.inputs if "mbed" in target.endpoint else None
        for batch in split(items, rows=rows, size=limits.bytes, inputs=inputs, weight=weight):
            if len(batch) < limits.least:
                self._let_go(target, [item.key for item in batch], f"a batch needs {limits.least} requests")
            elif self._options.dry_run:
                self._rehearse(target, batch)
            else:
                self._batches.launch(target, batch)

    def _rehearse(self, target: Target, items: list[Item]) -> None:
        provider = self._routes.providers[target.provider]
        new = [item for item in items if not self._is_cached(item.key)]
        bodies = {item.key: decode_body(item.request.body) or {} for item in items}
        if new:
            sizes = tuple(size_of(target.endpoint, bodies[item.key]) for item in new)
            self._emit(events.Rehearsed(target, len(new), sizes))
        for item in items:
            try:
                response = provider.rehearse(target, bodies[item.key])
            except Exception as fault:  # a body that makes no sense, or a call that has no sample
                response = _broken(provider, fault)
            headers = (*response.headers, DRY_RUN)
            self._answer(item.key, Response(response.status, headers, response.body))

    def _is_cached(self, name: str) -> bool:
        waiter = self._callers.get(name)
        return waiter is not None and waiter.cached

    def _answer(self, name: str, response: Response) -> None:
        waiter = self._callers[name]
        # Before the callers: a forked child may be over as soon as it has its answer.
        for _ in waiter.calls:
            self._emit(events.Answered(waiter.target, response.ok, waiter.cached))
        self._callers.answer(name, response)
        self._check_drained()

    def _let_go(
        self,
        target: Target,
        names: Iterable[str],
        reason: str,
        without: Target | tuple[str, str] | None = None,
    ) -> None:
        """Have requests go real time after all, reported; and so all that are yet to come `without` a batch form: those
        of an account at a root, or of a target."""
        if without is not None:
            self._without[without] = reason
        for name in names:
            for arrival in self._callers.release(name):
                self._pass(arrival, reason, target)
        self._check_drained()

    def _pass(self, arrival: Arrival, reason: str, target: Target | None = None) -> None:
        resolve([arrival], RealTime())
        parts = urlsplit(arrival.request.url)
        self._emit(events.Bypassed(parts.hostname or "", parts.path, reason, target))

    def _withdraw(self, arrival: Arrival) -> None:
        """A caller gave up. Unsent, its request is taken back; otherwise its answer stays for the next run."""
        waiter = self._callers.leave(arrival)
        if waiter is None:
            return
        if (window := self._windows.get(waiter.target.queue)) is not None:
            window.remove(waiter.item.key)
        self._emit(events.Withdrawn(waiter.target) if waiter.unsent else events.GaveUp(waiter.target))
        self._batches.forget(waiter.item.key)
        self._check_drained()

    def _drain(self, done: Future[None]) -> None:
        self._draining.append(done)
        for queue in list(self._windows):
            self._leave(queue)
        self._check_drained()

    def _check_drained(self) -> None:
        """Tell those who drain once nobody waits and nothing is on its way to us."""
        if self._draining and not self._callers and not self._mailbox and not self._batches.tidying:
            draining, self._draining = self._draining, []
            resolve(draining, None)

    def _detach(self, done: Future[None]) -> None:
        if not self._detached:
            self._detached = True
            self._windows.clear()
            jobs = self._batches.stop()
            if self._callers:
                self._emit(events.Detached(jobs, self._callers.unsent()))
            self._callers.abandon(Detached("the batchify scope was left while this call waited"))
            draining, self._draining = self._draining, []
            resolve(draining, Detached("the batchify scope was left"))
        resolve([done], None)

    def _close(self, done: Future[None]) -> None:
        ignored: Future[None] = Future()
        self._detach(ignored)
        for task in self._ending:
            task.cancel()
        self._end(self._release(done))

    def _end(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _cancel(self, done: Future[None]) -> None:
        try:
            await self._batches.cancel()
        finally:
            resolve([done], None)

    async def _release(self, done: Future[None]) -> None:
        # Then the disk thread has an end, too.
        self._store.stop_waiting()
        try:
            await self._batches.stopped()
            await self._sender.close()
        finally:
            # Not in the disk thread: at interpreter exit executors take no more work.
            self._store.close()
            self._disk.shutdown(wait=False)
            resolve([done], None)


def _broken(provider: Provider, fault: Exception) -> Response:
    """The answer to requests at which we, or a provider of somebody else's, have failed."""
    _log.error("batchling failed at a request; please report this: %s", outline(fault))
    said = Fault(f"batchling failed at this request ({type(fault).__name__})", "batchling_failed")
    response = provider.failure(424, said)
    return Response(response.status, (*response.headers, FINAL), response.body)


def _as_ourselves() -> Context:
    """A context in which no hook looks at our own calls."""
    context = outside()
    context.run(ourselves.set, True)
    return context


def _too_large(provider: Provider, request: Request, body: dict[str, JSON]) -> Bypass | None:
    """Why no batch can hold this request; None when one can."""
    limits = provider.limits
    if len(request.body) + ROW_OVERHEAD > min(limits.bytes, limits.row or limits.bytes):
        return Bypass("larger than a row of a batch may be")
    if limits.inputs is not None and provider.weight(body) > limits.inputs:
        return Bypass("more inputs than a batch may hold")
    return None


_alive: weakref.WeakSet[Batcher] = weakref.WeakSet()


def _start_anew_after_fork() -> None:
    for batcher in tuple(_alive):
        batcher.after_fork()


in_forked_children(_start_anew_after_fork)
