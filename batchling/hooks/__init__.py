"""Installs the hooks. This is the only list of hook types.

batchling does not import a library that the program does not import: it patches the library when the program first
imports it, and again whenever it is reimported or reloaded.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

from batchling.hooks import threads
from batchling.hooks.imports import ImportWatcher
from batchling.hooks.patching import Patch

_HOOKS = {
    "httpx": "batchling.hooks.httpx",
    "httpx2": "batchling.hooks.httpx",
    "aiohttp": "batchling.hooks.aiohttp",
    "urllib3.connectionpool": "batchling.hooks.urllib3",
    "multiprocessing.pool": "batchling.hooks.pools",
    "multiprocessing.process": "batchling.hooks.processes",
    "botocore.httpsession": "batchling.hooks.botocore",
    "lm15.transports": "batchling.hooks.lm15",
    "dspy._vendor.lm15.transports": "batchling.hooks.lm15",
}
"""The module whose import makes a hook necessary, and the module that holds the hook."""

_lock = threading.RLock()
_installed = False
_applied: dict[tuple[type, str], Patch] = {}


def install_hooks() -> None:
    """Patch the HTTP libraries and the standard library's threads. Idempotent; thread-safe.

    Outside an open scope, the patched methods behave as before, at the same cost.
    """
    global _installed
    with _lock:
        if _installed:
            return
        _installed = True
        _watcher.start()
        for patch in threads.patches():
            _apply(patch)
        loaded = [name for name in _HOOKS if name in sys.modules]
    for name in loaded:
        # If a thread is importing it right now, this waits for it.
        _patch(name, import_module(name))


def uninstall_hooks() -> None:
    """Restore the libraries. From then on, open scopes intercept nothing. Thread-safe."""
    global _installed
    with _lock:
        _installed = False
        _watcher.stop()
        for patch in _applied.values():
            patch.remove()
        _applied.clear()


def hooked() -> bool:
    """Whether the hooks are in place."""
    return _installed


def _patch(name: str, library: ModuleType) -> None:
    patches: Callable[[ModuleType], list[Patch]] = import_module(_HOOKS[name]).patches
    with _lock:
        if _installed:
            for patch in patches(library):
                _apply(patch)


def _apply(patch: Patch) -> None:
    # By class, not by name: after httpx2.alias_httpx(), both names refer to the same library.
    if patch.place not in _applied:
        _applied[patch.place] = patch
        patch.apply()


_watcher = ImportWatcher(_HOOKS, _patch)
