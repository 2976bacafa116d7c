"""Locks between processes: what must be known of filelock. Never waits longer than it is told to."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from batchling.cache.folder import check_ours
from batchling.system import clock

_log = logging.getLogger(__name__)

PATIENCE = 60.0
"""How long the index lock is waited for, in seconds; its sections take milliseconds."""
LEASE = 30.0
"""How long a holder may rely on it: shorter, so that who wakes up later than others waited does nothing."""
_STEP = 0.5
"""How long it is waited for when its holder was found to be stopped a moment ago."""
_PAUSE = 0.05
_WORTH_A_WARNING = 5.0


def file_lock(path: Path, timeout: float) -> BaseFileLock:
    """A lock on this file, not yet taken; to take it waits `timeout` seconds and then raises `filelock.Timeout`. Raises
    `NotOurs` for what is no file of ours: filelock would truncate what a link leads to."""
    with suppress(FileNotFoundError):
        check_ours(path)
    # Not bound to a thread: the disk work of one scope may run in any.
    return FileLock(path, timeout=timeout, mode=0o600, thread_local=False)


def abandon(lock: BaseFileLock) -> None:
    """Let go of a lock that was inherited by fork, without unlocking it: that would take it from the parent."""
    # filelock 3.12 knows nothing of fork: its finalizer would unlock in the child, and the open descriptor would
    # keep the lock taken when the parent dies. 4.2 resets inherited locks itself; where its hook runs after ours,
    # it passes over a descriptor that is closed already. Neither has a public way to do this.
    context = lock._context
    descriptor, context.lock_file_fd = context.lock_file_fd, None
    if descriptor is not None:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Lease:
    """The index lock as its holder has it."""

    since: float

    def holds(self) -> bool:
        """Whether nobody can have lost patience with us yet."""
        return clock.monotonic() - self.since < LEASE


class IndexLock:
    """The lock of a whole cache folder. While a process that was stopped (SIGSTOP) in the middle of a section holds
    it, a spare lock takes its place. Belongs to the disk thread, but for `close`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._closed = False
        self._frozen = False

    @contextmanager
    def held(self) -> Iterator[Lease]:
        """The lock, for the time of the block. Raises `filelock.Timeout` when it cannot be had."""
        # A process that was suspended a moment ago most likely still is: it is not waited for like this again.
        lock = self._acquired("index.lock", _STEP if self._frozen else PATIENCE)
        self._frozen = lock is None
        lock = lock or self._acquired("index.spare.lock", PATIENCE)
        if lock is None:
            raise Timeout(str(self._folder / "index.lock"))
        try:
            yield Lease(clock.monotonic())
        finally:
            lock.release()

    def close(self) -> None:
        """Let nobody wait any longer. Any thread."""
        self._closed = True

    def _acquired(self, name: str, patience: float) -> BaseFileLock | None:
        lock = file_lock(self._folder / name, timeout=0)
        began = clock.monotonic()
        told = False
        while not self._closed:
            waited = clock.monotonic() - began
            try:
                # filelock would wait by the program's clock.
                lock.acquire(timeout=0)
            except Timeout:
                if waited >= patience:
                    return None
            else:
                return lock
            clock.sleep(_PAUSE)
            if waited > _WORTH_A_WARNING and not told:
                told = True
                _log.warning(
                    "cache folder %s: waiting up to %.0f s for %s, held by another process (is it suspended?)",
                    self._folder,
                    patience,
                    name,
                )
        return None
