"""Replaces a method of another library's class, at no cost while inactive and so that it can be restored."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import Any

import wrapt

from batchling.system import gate

_log = logging.getLogger(__name__)


_FunctionWrapper: Any = wrapt.FunctionWrapper  # generic since wrapt 2, for type checkers


class _Wrapper(_FunctionWrapper):  # type: ignore[misc]
    """A wrapper that works as a plain function too, for code that takes it from the class's `__dict__` (pook)."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not args:
            return super().__call__(**kwargs)
        return self.__get__(args[0], type(args[0]))(*args[1:], **kwargs)


class Patch:
    """One method of one class, wrapped by `wrapper(wrapped, instance, args, kwargs)` while a scope is open.

    A patch that is not `vital` only improves the report. A wrapper whose arguments are headers and bodies drops them
    when it ends: a traceback with locals would show them.
    """

    def __init__(self, owner: type, name: str, wrapper: Callable[..., Any], *, vital: bool = True) -> None:
        self.place: tuple[type, str] = (owner, name)
        self._wrapper = wrapper
        self._vital = vital
        self._original: Any = None
        self._ours: Any = None
        self._active = False

    def apply(self) -> None:
        """Put the wrapper in place. If the library has no such method, log a warning and change nothing."""
        owner, name = self.place
        original = owner.__dict__.get(name)
        if original is None:
            if not self._vital:
                return
            _log.warning(
                "batchling: this version of %s.%s has no %s: its calls go real time, at full price. "
                "Please report this, with the version of the library.",
                owner.__module__,
                owner.__name__,
                name,
            )
            return
        self._active = True
        self._original = original
        self._ours = _Wrapper(original, self._wrapper, enabled=self._enabled)
        setattr(owner, name, self._ours)

    def remove(self) -> None:
        """Restore the original. If another library has wrapped ours since, ours stays, permanently inactive."""
        owner, name = self.place
        self._active = False
        if self._ours is not None and owner.__dict__.get(name) is self._ours:
            setattr(owner, name, self._original)

    def beneath(self, instance: Any) -> Any:
        """The method below ours, bound to `instance`."""
        return self._original.__get__(instance, self.place[0])

    def is_outermost(self) -> bool:
        """Whether no wrapper or mock has been put in our place since."""
        owner, name = self.place
        return owner.__dict__.get(name) is self._ours

    def _enabled(self) -> bool:
        return self._active and gate.enabled()


def is_of(packages: tuple[str, ...], function: Any) -> bool:
    """Whether a function's code belongs to one of these packages, so no mock has replaced it. A wrapt wrapper, as used
    by tracing libraries, counts as what it wraps; one made with `functools.wraps`, such as VCR.py's, does not."""
    function = getattr(function, "__func__", function)
    return (_is_known if type(function) is FunctionType else _is_of)(packages, function)


def _is_of(packages: tuple[str, ...], function: Any) -> bool:
    module: str = getattr(function, "__globals__", {}).get("__name__", "")
    return module.partition(".")[0] in packages


_is_known = lru_cache(maxsize=64)(_is_of)
"""The same for a plain function, which stays what it is: asked for every call."""
