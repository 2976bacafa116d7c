"""Locks between processes, and what must be known about filelock. Never waits longer than requested."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from batchling.cache.folder import check_ours, open_log
from batchling.cache.layout import LOCK, SPARE_LOCK
from batchling.system import clock

if sys.platform == "win32":
    fcntl = None
else:
    import fcntl

_log = logging.getLogger(__name__)

HELD = f"{LOCK} is held by another process (is it suspended?)"
"""What went wrong when the index lock cannot be had."""
PATIENCE = 60.0
"""Seconds to wait for the index lock; the sections under it take milliseconds."""
LEASE = 30.0
"""Seconds for which a holder may rely on the lock. Less than others wait, so a holder that wakes up too late does
nothing."""
_STEP = 0.5
"""Seconds to wait for the lock if its holder was found to be suspended a moment ago."""
_MOMENT = 1.0
"""Seconds to wait for the lock where it is better to have it, and no more than that."""
_LONGEST_PAUSE = 0.05
_WORTH_A_WARNING = 5.0


def file_lock(path: Path, timeout: float) -> BaseFileLock:
    """A lock on this file, not acquired yet; acquiring it waits `timeout` seconds and then raises `filelock.Timeout`.
    Raises `NotOurs` for what is not our file: filelock would truncate the target of a link."""
    with suppress(FileNotFoundError):
        check_ours(path)
    # Not bound to a thread: the disk work of one scope may run in any.
    return FileLock(path, timeout=timeout, mode=0o600, thread_local=False)


def abandon(lock: BaseFileLock) -> None:
    """Drop a lock that was inherited by fork without unlocking it, which would take it from the parent."""
    # filelock 3.12 does not handle fork: its finalizer would unlock in the child, and the open descriptor would keep
    # the lock taken after the parent dies. 4.2 resets inherited locks itself; if its hook runs after ours, it skips a
    # descriptor that is already closed. Neither has a public way to do this.
    context = lock._context
    descriptor, context.lock_file_fd = context.lock_file_fd, None
    if descriptor is not None:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Lease:
    """The index lock from its holder's point of view."""

    since: float

    def holds(self) -> bool:
        """Whether no other process can have stopped waiting for us yet."""
        return clock.monotonic() - self.since < LEASE


class IndexLock:
    """The lock of a whole cache folder. If a process that was suspended (SIGSTOP) in the middle of a section holds it,
    a spare lock takes its place. Belongs to the disk thread, except for `close`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = str(folder / LOCK)
        self._closed = False
        self._frozen = False

    @contextmanager
    def held(self) -> Iterator[Lease]:
        """Hold the lock during the block. Raises `filelock.Timeout` if it cannot be acquired."""
        # A process that was suspended a moment ago most likely still is, so the next wait is short.
        lock = self._acquired(LOCK, _STEP if self._frozen else PATIENCE)
        self._frozen = lock is None
        if lock is None and not self._closed:
            lock = self._acquired(SPARE_LOCK, PATIENCE)
        if lock is None:
            raise Timeout(str(self._folder / LOCK))
        try:
            yield Lease(clock.monotonic())
        finally:
            lock.release()

    @contextmanager
    def briefly(self) -> Iterator[Lease | None]:
        """Hold the lock for the few system calls of the block; None if it cannot be had within a moment."""
        with ExitStack() as stack:
            lease = None
            # Not by filelock, whose locks exclude these, since it costs more than the block.
            with suppress(OSError):
                file = stack.enter_context(open_log(self._lock))
                if fcntl is not None and self._flocks(file):
                    # Closing it is not enough: a child that was forked in the meantime has it open, too.
                    stack.callback(fcntl.flock, file, fcntl.LOCK_UN)
                    lease = Lease(clock.monotonic())
            yield lease

    def _flocks(self, file: FileIO) -> bool:
        began = clock.monotonic()
        while True:
            waited = clock.monotonic() - began
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            if self._closed or self._frozen or waited >= _MOMENT:
                return False
            clock.sleep(_pause(waited))

    def close(self) -> None:
        """End all waiting. Any thread."""
        self._closed = True

    def _acquired(self, name: str, patience: float) -> BaseFileLock | None:
        lock = file_lock(self._folder / name, timeout=0)
        began = clock.monotonic()
        logged = False
        while True:
            waited = clock.monotonic() - began
            try:
                # filelock's own waiting would use the program's clock.
                lock.acquire(timeout=0)
            except Timeout:
                if self._closed or waited >= patience:
                    return None
            else:
                return lock
            clock.sleep(_pause(waited))
            if waited > _WORTH_A_WARNING and not logged:
                logged = True
                _log.warning(
                    "cache folder %s: waiting up to %.0f s for %s, held by another process (is it suspended?)",
                    self._folder,
                    patience,
                    name,
                )


def _pause(waited: float) -> float:
    """Seconds until the next try: sections under the lock take milliseconds, unless their process is suspended."""
    return min(max(waited / 8, 0.001), _LONGEST_PAUSE)
