"""Files that survive a power cut, and folders that only their owner may read."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from batchling.cache.layout import temporary

_log = logging.getLogger(__name__)


@contextmanager
def new_file(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """An empty file beside `path`, which only its owner may read, and its own path: for the block to write, and then to
    rename or link. It is removed afterwards if it is still there."""
    mine = temporary(path)
    file = os.fdopen(os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    try:
        os.fchmod(file.fileno(), 0o600)
        yield file, mine
    finally:
        # What is to be kept has been flushed by the block; it does not matter if the rest cannot be.
        with suppress(OSError):
            file.close()
        with suppress(OSError):
            mine.unlink()


def flush(file: BinaryIO) -> None:
    """Make what was written to a file durable."""
    file.flush()
    os.fsync(file.fileno())


def replace_file(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file as a whole: readers see either the old or the new one, and if it is to be `durable`, even after a
    power cut."""
    with new_file(path) as (file, mine):
        file.write(content)
        if durable:
            flush(file)
        file.close()
        mine.replace(path)
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private(folder: Path) -> None:
    """Make a folder of ours private again if somebody opened it to others. Not used for the cache folder itself, which
    the user may have chosen and shared on purpose."""
    if not folder.stat().st_mode & 0o077:
        return
    try:
        folder.chmod(0o700)
    except PermissionError as fault:
        _log.warning("cache folder %s can be read by other users, and this cannot be changed: %s", folder, fault)
