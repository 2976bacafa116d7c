"""Locks between processes: what must be known of filelock. Never waits longer than it is told to."""

from __future__ import annotations

import os
from pathlib import Path

from filelock import BaseFileLock, FileLock


def file_lock(path: Path, timeout: float) -> BaseFileLock:
    """A lock on this file, not yet taken; to take it waits `timeout` seconds and then raises `filelock.Timeout`."""
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
