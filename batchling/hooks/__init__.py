"""Installs what intercepts: the one place where hook types are listed.

A library that the program does not import is not imported by us: it is patched when the program first does.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import ModuleType

import wrapt

from batchling.hooks import threads
from batchling.hooks.patching import Patch

_HOOKS = {
    "httpx": "batchling.hooks.httpx",
    "httpx2": "batchling.hooks.httpx",
    "aiohttp": "batchling.hooks.aiohttp",
    "requests.adapters": "batchling.hooks.requests",
    "lm15.transports": "batchling.hooks.lm15",
    "dspy._vendor.lm15.transports": "batchling.hooks.lm15",
}
"""The module whose import makes a hook necessary, and the module that holds the hook."""

_lock = threading.Lock()
_installed = False
_registered = False
_applied: dict[tuple[type, str], Patch] = {}


def install_hooks() -> None:
    """Patch the HTTP libraries and the standard library's threads. Idempotent; thread-safe.

    Outside an open scope the patched methods behave, and cost, as before.
    """
    global _installed, _registered
    with _lock:
        if _installed:
            return
        _installed = True
        for patch in threads.patches():
            _apply(patch)
        loaded = [name for name in _HOOKS if name in sys.modules]
        register, _registered = not _registered, True
    for name, hook in _HOOKS.items():
        if register:
            wrapt.register_post_import_hook(partial(_patch, hook), name)
        elif name in loaded:
            _patch(hook, sys.modules[name])


def uninstall_hooks() -> None:
    """Restore the libraries as they were. Open scopes intercept nothing from then on. Thread-safe."""
    global _installed
    with _lock:
        _installed = False
        for patch in _applied.values():
            patch.remove()
        _applied.clear()


def hooked() -> bool:
    """Whether the hooks are in place."""
    return _installed


def _patch(hook: str, library: ModuleType) -> None:
    patches: Callable[[ModuleType], list[Patch]] = import_module(hook).patches
    with _lock:
        if _installed:
            for patch in patches(library):
                _apply(patch)


def _apply(patch: Patch) -> None:
    # By class, not by name: after httpx2.alias_httpx() both names are one library.
    if patch.place not in _applied:
        _applied[patch.place] = patch
        patch.apply()
