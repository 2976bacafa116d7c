"""Files that survive a power cut, and folders that only their owner may read."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_log = logging.getLogger(__name__)


@contextmanager
def written(path: Path, content: bytes) -> Iterator[Path]:
    """A durable file beside `path` with this content, for the block to rename or link. It is removed afterwards if it
    is still there."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        with suppress(OSError):
            temporary.unlink()


def replace_file(path: Path, content: bytes) -> None:
    """Write a file as a whole and durably: readers see either the old or the new one, even after a power cut."""
    with written(path, content) as temporary:
        temporary.replace(path)
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
