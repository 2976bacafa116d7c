"""A disk that takes nothing any more."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest


class Refusal:
    """The operating system's no, to everything that writes in the cache folder, from the `first`th time on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, number: int, first: int = 0) -> None:
        self.asked = 0
        self._folder = str(folder)
        self._number = number
        self._first = first
        self.patch = monkeypatch.context()
        patch = self.patch.__enter__()
        patch.setattr(os, "open", self._around(os.open, lambda path, flags=0, *_: flags & (os.O_WRONLY | os.O_RDWR)))
        for name in ("mkdir", "rename", "replace", *(["unlink"] if number == errno.EROFS else [])):
            patch.setattr(os, name, self._around(getattr(os, name), lambda *_: True))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        self.patch.__exit__(None, None, None)

    def _around(self, work: Callable[..., Any], writes: Callable[..., object]) -> Callable[..., Any]:
        def refused(path: Any, *args: Any, **kwargs: Any) -> Any:
            if str(path).startswith(self._folder) and writes(path, *args):
                self.asked += 1
                if self.asked > self._first:
                    raise OSError(self._number, os.strerror(self._number), str(path))
            return work(path, *args, **kwargs)

        return refused
