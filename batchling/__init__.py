"""Batch prices for unchanged LLM programs.

    from batchling import batchify

    with batchify():                      # or: async with batchify():
        answers = run_my_unchanged_code()

Names are loaded when they are first used, so that importing batchling costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchling.core.receipt import Receipt
    from batchling.errors import BatchlingError, CacheError, ClosedError, Detached, OptionError
    from batchling.hooks import install_hooks, uninstall_hooks
    from batchling.scope.api import batchify
    from batchling.scope.context import BatchingContext

__version__ = "0.1.0"

__all__ = [
    "BatchingContext",
    "BatchlingError",
    "CacheError",
    "ClosedError",
    "Detached",
    "OptionError",
    "Receipt",
    "__version__",
    "batchify",
    "install_hooks",
    "uninstall_hooks",
]

_HOMES = {
    "BatchingContext": "batchling.scope.context",
    "BatchlingError": "batchling.errors",
    "CacheError": "batchling.errors",
    "ClosedError": "batchling.errors",
    "Detached": "batchling.errors",
    "OptionError": "batchling.errors",
    "Receipt": "batchling.core.receipt",
    "batchify": "batchling.scope.api",
    "install_hooks": "batchling.hooks",
    "uninstall_hooks": "batchling.hooks",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'batchling' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
