"""Reports when a module has been imported: every time, even after it was removed from `sys.modules` or reloaded.

wrapt's post-import hooks run only once per name.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Collection, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class ImportWatcher(MetaPathFinder):
    """Calls `imported(name, module)` after each import of one of these modules, in the importing thread. It finds
    modules through the other finders. Thread-safe."""

    def __init__(self, names: Collection[str], imported: Callable[[str, ModuleType], None]) -> None:
        self._names = frozenset(names)
        self._imported = imported
        self._asking = threading.local()

    def start(self) -> None:
        """Start watching. Idempotent."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def stop(self) -> None:
        """Stop watching. Idempotent."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that the other finders return, with a loader that reports to us; None for every other module."""
        if name not in self._names or getattr(self._asking, "name", None) == name:
            return None
        self._asking.name = name
        try:
            spec = self._ask_others(name, path, target)
        finally:
            self._asking.name = None
        if spec is not None and hasattr(spec.loader, "exec_module"):
            loader: Any = _TellingLoader(spec.loader, lambda module: self._imported(name, module))
            spec.loader = loader
        return spec

    def _ask_others(self, name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        for finder in tuple(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            if finder is not self and find is not None and (spec := find(name, path, target)) is not None:
                found: ModuleSpec = spec
                return found
        return None


class _TellingLoader:
    """Stands in for another loader, reports when the module is loaded, and then removes itself."""

    def __init__(self, loader: Any, loaded: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._loaded = loaded

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_loader"], name)

    def exec_module(self, module: Any) -> None:
        for place, name in ((module.__spec__, "loader"), (module, "__loader__")):
            if getattr(place, name, None) is self:
                setattr(place, name, self._loader)
        self._loader.exec_module(module)
        self._loaded(module)
