"""The engine of one scope: takes requests in, groups them, has batches driven, answers the callers.

Hooks see it as a `Gate`. All mutable state belongs to the engine's loop thread; what other threads may call says
so. Callers are never failed by a fault of ours without an answer: whatever happens, every future is settled.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
import weakref
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

from batchling.cache import Store
from batchling.callers import Arrival, Callers, Waiter, resolve
from batchling.core import events, retry
from batchling.core.fingerprint import decode_body, fingerprint
from batchling.core.lifecycle import Phase, Record
from batchling.core.model import Bypass, Fault, Item, Request, Response, Row, Site, Target, header
from batchling.core.window import Window, split
from batchling.driver import Batch, Driver
from batchling.errors import CacheError, Detached
from batchling.hooks.gate import Gate
from batchling.loop import Mailbox
from batchling.providers import PROVIDERS, Routes
from batchling.sender import Sender

_log = logging.getLogger(__name__)

T = TypeVar("T")

DRY_RUN = ("x-batchling-dry-run", "1")
_FOLLOW_SECONDS = 1.0
"""How often a batch that another process drives is looked at."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a scope was asked for: `batch_size` None means the provider's maximum; times in seconds."""

    batch_size: int | None
    window_seconds: float
    poll_interval_seconds: float
    dry_run: bool
    join_duplicates: bool


class Batcher:
    """See the module. `submit`, `wants`, `bypass`, `drain`, `detach` and `close` may be called from any thread."""

    def __init__(
        self, options: Options, routes: Routes, store: Store, listener: Callable[[events.Event], None]
    ) -> None:
        self.outer: Gate | None = None
        self.closed = False
        self._options = options
        self._routes = routes
        self._store = store
        self._listener = listener
        self._reset()
        _alive.add(self)

    def _reset(self) -> None:
        """The state of a scope that has seen nothing yet; also that of a forked child."""
        self._mailbox = Mailbox(self._check_drained)
        self._sites: dict[Target, Site] = {}
        self._callers = Callers()
        self._windows: dict[tuple[str, str, str], Window] = {}
        self._followers: dict[str, set[str]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._draining: list[Future[None]] = []
        self._detached = False
        self._disk = ThreadPoolExecutor(1, "batchling-disk")
        self._sender = Sender()
        self._driver = Driver(self._store, self._disk, self._sender, self._emit, self._options.poll_interval_seconds)

    def after_fork(self) -> None:
        """In a forked child: forget what belongs to the parent. Inherited calls are the parent's to answer."""
        self._store.after_fork()
        self._reset()

    # What hooks ask, in the caller's thread.

    def wants(self, method: str, url: str) -> bool:
        return self._routes.match(method, url) is not None

    def submit(self, request: Request) -> Future[Response] | None:
        matched = self._routes.match(request.method, request.url)
        if matched is None or self.closed:
            return None
        provider, route = matched
        body = decode_body(request.body)
        if body is None:
            self.bypass(request.method, request.url, "body is not a JSON object")
            return None
        target = provider.target(route, request, body)
        if len(request.body) > provider.limits.bytes:
            target = Bypass("larger than a whole batch may be")
        if isinstance(target, Bypass):
            self.bypass(request.method, request.url, target.reason)
            return None
        arrival = Arrival(matched, target, request, fingerprint(target, body))
        arrival.on_cancel = self._hear_of_cancel
        self._mailbox.post(partial(self._arrive, arrival))
        return arrival

    def _hear_of_cancel(self, arrival: Arrival) -> None:
        self._mailbox.post(partial(self._withdraw, arrival))

    def bypass(self, method: str, url: str, reason: str) -> None:
        parts = urlsplit(url)
        event = events.Bypassed(parts.hostname or "", parts.path, reason)
        self._mailbox.post(lambda: self._emit(event))

    # What the context asks, in any thread.

    def drain(self) -> Future[None]:
        """Submit what waits in windows now. The future is done when every caller has been answered."""
        done: Future[None] = Future()
        self._mailbox.post(lambda: self._drain(done))
        return done

    def detach(self) -> Future[None]:
        """Stop at once: nothing new is submitted, waiting callers get `Detached`, jobs at the provider go on."""
        done: Future[None] = Future()
        self._mailbox.post(lambda: self._detach(done))
        return done

    def close(self) -> Future[None]:
        """End the scope and give back what it holds. Idempotent; callers that still wait get `Detached`."""
        self.closed = True
        done: Future[None] = Future()
        self._mailbox.post(lambda: self._close(done))
        return done

    # The loop thread, from here on.

    def _emit(self, event: events.Event) -> None:
        try:
            self._listener(event)
        except Exception:
            # A display can never break a batch.
            _log.exception("a listener failed")

    def _arrive(self, arrival: Arrival) -> None:
        if self._detached:
            resolve([arrival], Detached("the batchify scope was left"))
            return
        if arrival.cancelled():
            return
        target = arrival.target
        if (site := self._sites.get(target)) is None:
            site = self._sites[target] = arrival.provider.site(target, arrival.route, arrival.request)
        again = (header(arrival.request.headers, "x-stainless-retry-count") or "0") != "0"
        # The site's target: one object for all equal ones.
        waiter = self._callers.enter(arrival, site.target, joins=again or self._options.join_duplicates)
        if waiter is not None:
            self._place(waiter)

    def _place(self, waiter: Waiter) -> None:
        """Attach a waiter to the batch that holds its key already, or let it wait for its window."""
        name = waiter.item.key
        holder = self._store.lookup(name)
        if holder is not None:
            waiter.cached = True
            self._emit(events.Hit(waiter.target, holder))
            if not self._options.dry_run:
                self._follow(holder, [name])
                return
        else:
            self._emit(events.Queued(waiter.target))
        self._queue(waiter)

    def _queue(self, waiter: Waiter) -> None:
        queue = waiter.target.queue
        window = self._windows.get(queue)
        if window is None:
            limits = PROVIDERS[waiter.target.provider].limits
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
        limits = PROVIDERS[queue[0]].limits
        rows = min(self._options.batch_size or limits.rows, limits.rows)
        for target, items in window.take().items():
            for batch in split(items, rows=rows, size=limits.bytes):
                if self._options.dry_run:
                    self._rehearse(target, batch)
                else:
                    self._begin(target, batch)

    def _rehearse(self, target: Target, items: list[Item]) -> None:
        provider = PROVIDERS[target.provider]
        new = [item for item in items if not self._is_cached(item.key)]
        if new:
            self._emit(events.Rehearsed(target, len(new)))
        for item in items:
            response = provider.rehearse(target, decode_body(item.request.body) or {})
            headers = (*response.headers, DRY_RUN)
            self._answer(item.key, Response(response.status, headers, response.body))

    def _is_cached(self, name: str) -> bool:
        waiter = self._callers.get(name)
        return waiter is not None and waiter.cached

    def _begin(self, target: Target, items: list[Item]) -> None:
        draft = Record(
            id=f"{int(time.time()):x}{secrets.token_hex(8)}",
            target=target,
            members=tuple(item.key for item in items),
            created_at=time.time(),
        )
        self._start(f"new {draft.id}", self._launch(draft, items))

    def _start(self, name: str, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._over(name, done))

    def _over(self, name: str, task: asyncio.Task[None]) -> None:
        del self._tasks[name]
        if not task.cancelled() and (fault := task.exception()) is not None:
            # The boundary of a batch: a bug of ours or a broken cache must not leave its callers waiting.
            _log.error("batch %s failed inside batchling", name, exc_info=fault)
            self._fail(tuple(self._followers.pop(name, ())), f"batch {name} failed inside batchling ({fault!r:.200})")
        if name in self._followers and not self._detached:
            if self._followers[name]:
                self._start(name, self._attend(name))
            else:
                del self._followers[name]
        self._check_drained()

    async def _launch(self, draft: Record, items: list[Item]) -> None:
        """Claim the keys of a batch that leaves; drive what is ours, follow what others have."""
        try:
            claim = await self._on_disk(self._store.claim, draft)
        except CacheError as fault:
            _log.error("%s Nothing of batch %s was sent.", fault, draft.id)
            self._fail(draft.members, f"{fault} Nothing was sent")
            return
        for name, holder in claim.theirs.items():
            if (waiter := self._callers.get(name)) is not None:
                waiter.cached = True
                self._emit(events.Hit(waiter.target, holder))
                self._follow(holder, [name])
        record = claim.record
        if record is None:
            return
        mine = frozenset(record.members)
        self._followers[record.id] = {name for name in mine if name in self._callers}
        ours = [item for item in items if item.key in mine] if claim.theirs else items
        self._start(record.id, self._drive(record, ours))

    def _follow(self, holder: str, names: Iterable[str]) -> None:
        self._followers.setdefault(holder, set()).update(names)
        if holder not in self._tasks:
            self._start(holder, self._attend(holder))

    async def _attend(self, batch_id: str) -> None:
        """Answer those who wait for a batch that somebody submitted before: from the store, by driving it on when
        its driver is gone, or by watching the one who drives it."""
        announced = False
        while followers := self._followers[batch_id]:
            if await self._answer_stored(batch_id, tuple(followers)):
                continue
            record = await self._on_disk(self._store.load, batch_id)
            held = frozenset(record.holds) if record is not None else frozenset()
            if record is None or (record.phase is Phase.ENDED and await self._on_disk(self._store.has_rows, batch_id)):
                held = frozenset()  # nothing there, or its rows have lost what the record promised
            if lost := followers - held:
                self._again(batch_id, dict.fromkeys(lost))
                continue
            assert record is not None
            if not announced:
                announced = True
                self._emit(events.Attached(record.target, batch_id, len(followers)))
            if await self._on_disk(self._store.drive, batch_id):
                # Read again: it may have moved before the lock was ours.
                record = await self._on_disk(self._store.load, batch_id)
                if record is not None:
                    await self._drive(record, [])
                continue
            await asyncio.sleep(min(_FOLLOW_SECONDS, self._options.poll_interval_seconds))

    async def _drive(self, record: Record, items: list[Item]) -> None:
        """Drive a batch whose lock is ours to its end, and answer everyone who waits for it."""
        batch = Batch(PROVIDERS[record.target.provider], self._sites[record.target], record, items)
        followers = self._followers[record.id]
        try:
            rows = await self._driver.drive(batch, lambda: followers)
        finally:
            await asyncio.shield(self._on_disk(self._store.release, record.id))
        self._again(record.id, {name: rows.get(name) for name in tuple(followers)})

    async def _answer_stored(self, batch_id: str, names: tuple[str, ...]) -> bool:
        """Answer those of the names whose good rows are stored; whether there was any."""
        waiter = self._callers.get(names[0])
        if waiter is None:
            return False
        provider = PROVIDERS[waiter.target.provider]

        def key_of(line: bytes) -> str:
            try:
                return provider.row(line).key
            except ValueError:
                return ""

        def stored() -> list[Row]:
            found = self._store.find_rows(batch_id, names, key_of) if self._store.has_rows(batch_id) else ()
            return [provider.row(line) for line in found]

        good: dict[str, Row | None] = {
            row.key: row for row in await self._on_disk(stored) if row.response is not None and row.response.ok
        }
        self._again(batch_id, good)
        return bool(good)

    def _again(self, batch_id: str, rows: dict[str, Row | None]) -> None:
        """Answer the waiters of a batch whose rows are final; queue the others once more, as often as allowed."""
        followers = self._followers.get(batch_id, set())
        for name, row in rows.items():
            followers.discard(name)
            waiter = self._callers.get(name)
            if waiter is None:
                continue
            response = row.response if row is not None else None
            if response is not None and not retry.passing(response.status):
                self._answer(name, response)
            elif waiter.attempts < retry.RESUBMISSIONS:
                waiter.attempts += 1
                waiter.cached = False
                self._place(waiter)
            elif response is not None:
                self._answer(name, response)
            else:
                why = row.reason if row is not None and row.reason else "no row in the results"
                self._fail([name], f"never ran ({why}), {waiter.attempts + 1} times; last in batch {batch_id}")

    def _fail(self, names: Iterable[str], why: str) -> None:
        for name in names:
            if (waiter := self._callers.get(name)) is not None:
                provider = PROVIDERS[waiter.target.provider]
                self._answer(name, provider.failure(424, Fault(f"batchling: {why}", "batchling_failed")))

    def _answer(self, name: str, response: Response) -> None:
        waiter = self._callers.answer(name, response)
        for _ in waiter.calls:
            self._emit(events.Answered(waiter.target, response.ok, waiter.cached))
        self._check_drained()

    def _withdraw(self, arrival: Arrival) -> None:
        """A caller gave up. Unsent, its request is taken back; otherwise its answer stays for the next run."""
        waiter = self._callers.leave(arrival)
        if waiter is None:
            return
        window = self._windows.get(waiter.target.queue)
        if window is not None and window.remove(waiter.item.key):
            self._emit(events.Withdrawn(waiter.target))
        for followers in self._followers.values():
            followers.discard(waiter.item.key)
        self._check_drained()

    def _drain(self, done: Future[None]) -> None:
        self._draining.append(done)
        for queue in list(self._windows):
            self._leave(queue)
        self._check_drained()

    def _check_drained(self) -> None:
        """Tell those who drain once nobody waits and nothing is on its way to us."""
        if self._draining and not self._callers and not self._mailbox:
            draining, self._draining = self._draining, []
            resolve(draining, None)

    def _detach(self, done: Future[None]) -> None:
        if not self._detached:
            self._detached = True
            unsent = sum(len(window) for window in self._windows.values())
            jobs = sum(1 for followers in self._followers.values() if followers)
            self._windows.clear()
            if self._callers:
                self._emit(events.Detached(jobs, unsent))
            self._callers.abandon(Detached("the batchify scope was left while this call waited"))
            for task in list(self._tasks.values()):
                task.cancel()
            draining, self._draining = self._draining, []
            resolve(draining, Detached("the batchify scope was left"))
        resolve([done], None)

    def _close(self, done: Future[None]) -> None:
        ignored: Future[None] = Future()
        self._detach(ignored)
        self._start("close", self._release(done))

    async def _release(self, done: Future[None]) -> None:
        others = [task for name, task in self._tasks.items() if name != "close"]
        try:
            await asyncio.gather(*others, return_exceptions=True)
            await self._sender.close()
            # Not in the disk thread: at interpreter exit executors take no more work.
            self._store.close()
        finally:
            self._disk.shutdown(wait=False)
            resolve([done], None)

    async def _on_disk(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work, *arguments)


_alive: weakref.WeakSet[Batcher] = weakref.WeakSet()


def _start_anew_after_fork() -> None:
    for batcher in tuple(_alive):
        batcher.after_fork()


os.register_at_fork(after_in_child=_start_anew_after_fork)
