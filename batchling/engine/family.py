"""What a scope shares with the children forked inside it: one budget, one limit of creations per hour, one receipt.

Nothing is shared before the first fork. From then on, each process of the family writes what concerns the others to a
journal: an unlinked file that all of them inherit, one line per entry. Decisions that one process at a time may make
(is there room in the budget, or in the hour?) are made under the lock of that file, after reading the lines of the
others. The lock of a killed process is released; what that process reserved stays reserved, since it may have been
spent.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from decimal import Decimal

import msgspec

from batchling.core import events
from batchling.core.budget import Budget, Quote
from batchling.core.model import AccountKey
from batchling.system import clock
from batchling.system.forks import on_fork

if sys.platform != "win32":  # which has no fork either
    import fcntl

_log = logging.getLogger(__name__)

HOUR = 3_600.0


_COUNTED: Mapping[str, type[events.Event]] = {
    kind.__name__: kind
    for kind in (
        events.Answered,
        events.Attached,
        events.Bypassed,
        events.Denied,
        events.Died,
        events.Ended,
        events.Hit,
        events.Rehearsed,
        events.Submitted,
        events.Throttled,
        events.Withdrawn,
    )
}
"""The events of a child that count in the receipt of the process that opened the scope."""


class Family:
    """What one scope shares. `on_event` is called with the events of children, in the process that opened the scope.

    Used on the engine's loop thread, except for `open`, `close`, `on_event` for a call that goes real time, and what is
    called at a fork.
    """

    def __init__(self, budget: Budget | None = None, on_event: Callable[[events.Event], None] | None = None) -> None:
        self.budget = budget
        self._on_event = on_event
        self._launches: dict[AccountKey, dict[str, float | None]] = {}
        """The creations of the last hour, by name: when each was made; None while it is being sent."""
        self._unheard: list[events.Event] = []
        self._lock = threading.RLock()
        self._journal: _Journal | None = None
        self._is_root = True
        self._is_lost = False

    def open(self) -> None:
        """The scope is open: children forked from now on belong to the family. Any thread."""
        _open.add(self)

    def close(self) -> None:
        """The scope was left: children forked from now on do not belong to the family. Any thread."""
        _open.discard(self)

    @property
    def has_children(self) -> bool:
        """Whether this process opened the scope and has forked since then."""
        return self._is_root and self._journal is not None

    @property
    def is_child(self) -> bool:
        """Whether this process was forked inside the scope, and writes to the journal of the one that opened it."""
        return self._journal is not None and not self._is_root

    def gather(self) -> None:
        """Call `on_event` with what children have done so far."""
        with self._together():
            heard, self._unheard = self._unheard, []
        if self._on_event is not None:
            for event in heard:
                self._on_event(event)

    @property
    def reports(self) -> bool:
        """Whether this process prints the report: a child leaves that to the process that opened the scope."""
        return self._is_root or self._journal is None

    # The receipt.

    def on_event(self, event: events.Event) -> None:
        """Record an event of this process."""
        if self.budget is not None:
            self._settle(self.budget, event)
        if self.is_child and (kind := type(event).__name__) in _COUNTED:
            with self._lock:
                self._write(kind, event)

    # The budget.

    def reserve(self, budget: Budget, batch: str, quotes: Mapping[str, Quote]) -> dict[str, str]:
        """Like `Budget.reserve`, for the whole family."""
        with self._together():
            refused = budget.reserve(batch, quotes)
            amounts = {key: str(quote) for key, quote in quotes.items() if key not in refused}
            self._write("reserved", (batch, amounts))
            if self._is_lost:
                budget.give_back(batch)
                return dict.fromkeys(quotes, "this forked process can no longer share the scope's budget")
            return refused

    def give_back(self, budget: Budget, batch: str, keys: Iterable[str]) -> None:
        """Like `Budget.give_back`, for the whole family."""
        with self._together():
            budget.give_back(batch, keys)
            self._write("freed", (batch, list(keys)))

    def _settle(self, budget: Budget, event: events.Event) -> None:
        if isinstance(event, events.Died):
            with self._together():
                budget.give_back(event.batch)
                self._write("freed", (event.batch, None))
        elif isinstance(event, events.Ended) and event.cost is not None:
            paid = None if event.cost.paid is None else str(event.cost.paid)
            with self._together():
                budget.pay(event.batch, paid)
                self._write("paid", (event.batch, paid))

    # Creations per hour.

    def launch(self, account: AccountKey, most: int) -> str | tuple[int, float | None]:
        """Reserve one of the `most` creations per hour of an account, and return its name. If none is left, return how
        many were made within the hour, and in how many seconds the first of them will be an hour old (None if none was
        made yet)."""
        with self._together():
            launches = self._launches.setdefault(account, {})
            now = clock.monotonic()
            for name, made in tuple(launches.items()):
                if made is not None and made + HOUR <= now:
                    del launches[name]
            times = [made for made in launches.values() if made is not None]
            if len(launches) >= most:
                return len(times), min(times) + HOUR - now if times else None
            name = secrets.token_hex(4)
            launches[name] = None
            # Recorded as made, in case this process dies before it can record the result: the job may exist.
            self._write("launched", (account, name, now))
            return name

    def launched(self, account: AccountKey, name: str, *, created: bool) -> None:
        """Record that a reserved creation was made, or will not be."""
        with self._together():
            if created:
                self._launches[account][name] = now = clock.monotonic()
                self._write("launched", (account, name, now))
            else:
                self._launches[account].pop(name, None)
                self._write("unlaunched", (account, name))

    @property
    def waits_for_others(self) -> bool:
        """Whether another process may free a creation without waking this one."""
        return self._journal is not None

    # The journal.

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Hold the family's lock, after reading what the others have done."""
        with self._lock:
            if self._journal is not None and not self._journal.is_there():
                self._lose("its file was closed")
            if self._journal is None:
                yield
                return
            with self._journal.locked():
                for kind, entry in self._journal.news():
                    with suppress(msgspec.DecodeError):  # an incomplete line: its writer was killed
                        self._take_in(kind, entry)
                yield

    def _write(self, kind: str, entry: object) -> None:
        if self._journal is None:
            return
        if not self._journal.is_there():
            self._lose("its file was closed")
            return
        try:
            self._journal.write(kind, entry)
        except OSError as fault:
            self._lose(str(fault))

    def _lose(self, why: str) -> None:
        """Continue without the family. From then on this process may spend nothing of the shared budget."""
        self._journal = None
        self._is_lost = True
        _log.warning(
            "batchling: this process can no longer share the budget, the limit of batches per hour and the receipt of "
            "its scope (%s). What it does from now on is missing from the receipt; if the scope has a budget, this "
            "process submits nothing.",
            why,
        )

    def _take_in(self, kind: str, raw: bytes) -> None:
        if kind in _COUNTED:
            if self._is_root:
                self._unheard.append(msgspec.json.decode(raw, type=_COUNTED[kind]))
            return
        entry = msgspec.json.decode(raw)
        if kind in ("launched", "unlaunched"):
            launches = self._launches.setdefault(AccountKey(*entry[0]), {})
            if kind == "launched":
                launches[entry[1]] = entry[2]
            else:
                launches.pop(entry[1], None)
        elif self.budget is not None:
            if kind == "reserved":
                self.budget.take(entry[0], {key: Decimal(amount) for key, amount in entry[1].items()})
            elif kind == "freed":
                self.budget.give_back(entry[0], entry[1])
            else:
                self.budget.pay(entry[0], entry[1])

    # What a fork calls.

    def before_fork(self) -> None:
        """Hold the lock during the fork, so the child starts with the parent's state."""
        self._lock.acquire()
        try:
            if self._journal is None and not self._is_lost:
                self._journal = _Journal()
            with self._together():
                pass
        except OSError as fault:
            _log.warning(
                "batchling: cannot create a temporary file (%s): a forked child has its own budget, its own limit of "
                "batches per hour, and its own receipt",
                fault,
            )

    def after_in_parent(self) -> None:
        """Release the lock."""
        self._lock.release()

    def after_in_child(self) -> None:
        """Become another member of the family."""
        self._lock = threading.RLock()
        self._is_root = False
        if self._journal is not None:
            self._journal.writer = secrets.token_hex(4)


class _Journal:
    """A temporary file without a name. Raises `OSError` if it cannot be created."""

    def __init__(self) -> None:
        import tempfile

        with tempfile.TemporaryFile("a+b", buffering=0) as file:
            self._file = os.dup(file.fileno())
        self._identity = _identity(self._file)
        weakref.finalize(self, _close, self._file, self._identity)
        self._read = 0
        self.writer = secrets.token_hex(4)

    def is_there(self) -> bool:
        """Whether our descriptor still refers to our file: a child that becomes a daemon closes all descriptors, and
        its next file may get the same number."""
        return _identity(self._file) == self._identity

    @contextmanager
    def locked(self) -> Iterator[None]:
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def write(self, kind: str, entry: object) -> None:
        """Append a line, in one write, so that lines of two processes never mix. It starts with a newline, so that an
        incomplete line before it damages only itself. Raises `OSError`."""
        line = b"\n%s %s %s\n" % (self.writer.encode(), kind.encode(), msgspec.json.encode(entry))
        if os.write(self._file, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def news(self) -> Iterator[tuple[str, bytes]]:
        """Yield the entries that others have written since the last time."""
        size = os.fstat(self._file).st_size
        lines, _, rest = os.pread(self._file, size - self._read, self._read).rpartition(b"\n")
        self._read = size - len(rest)
        for line in lines.split(b"\n"):
            writer, _, tail = line.partition(b" ")
            kind, _, entry = tail.partition(b" ")
            if entry and writer != self.writer.encode():
                yield kind.decode(), entry


def _identity(file: int) -> tuple[int, int] | None:
    """The identity of a descriptor's file; None if the descriptor is closed."""
    try:
        found = os.fstat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _close(file: int, identity: tuple[int, int] | None) -> None:
    """Close a descriptor, unless it refers to another file by now."""
    if _identity(file) == identity is not None:
        os.close(file)


_open: weakref.WeakSet[Family] = weakref.WeakSet()


class _Forking(threading.local):
    """The families that a fork in this thread has locked: threads may fork at the same time."""

    families: tuple[Family, ...] = ()


_forking = _Forking()


def _before_fork() -> None:
    # Always in the same order, so that two threads never deadlock.
    _forking.families = tuple(sorted(_open, key=id))
    for family in _forking.families:
        family.before_fork()


def _after_in_parent() -> None:
    for family in _forking.families:
        family.after_in_parent()
    _forking.families = ()


def _after_in_child() -> None:
    for family in _forking.families:
        family.after_in_child()
    _forking.families = ()


on_fork(before=_before_fork, in_parent=_after_in_parent, in_child=_after_in_child)
