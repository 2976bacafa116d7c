"""Counts what a store does on the disk."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from batchling.cache import records


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """How many folders were listed, files opened and looked at, and records read in the block."""
    counts: Counter[str] = Counter()

    def counting(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def count(*args: Any, **options: Any) -> Any:
            counts[name] += 1
            return work(*args, **options)

        return count

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", counting("listings", os.scandir))
        patch.setattr(os, "listdir", counting("listings", os.listdir))
        patch.setattr(os, "open", counting("opened", os.open))
        patch.setattr(os, "stat", counting("looks", os.stat))
        patch.setattr(os, "lstat", counting("looks", os.lstat))
        patch.setattr(records, "from_json", counting("read", records.from_json))
        yield counts
