"""What a forked child forgets, on systems that fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable


def _nothing() -> None:
    """Where nothing is to be done."""


def on_fork(
    *,
    before: Callable[[], object] = _nothing,
    in_parent: Callable[[], object] = _nothing,
    in_child: Callable[[], object] = _nothing,
) -> None:
    """Have these called around every fork of this process, for good. What they raise is printed, and stops nothing."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)


def hold_across_forks(lock: threading.Lock) -> None:
    """Hold a module's lock around every fork: else a child could inherit it taken by a thread that it does not have."""
    on_fork(before=lock.acquire, in_parent=lock.release, in_child=lock.release)
