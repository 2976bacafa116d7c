"""The last reported status of running jobs, one small file each beside the records, for display in other processes."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

import msgspec

from batchling.cache.folder import read_ours
from batchling.core.lifecycle import Progress

_MOST_BYTES = 65_536
"""Limit for a note, which has a few hundred bytes."""


class Notes:
    """`folder/<batch id>.note`; the caller checks the id. Written as a whole but not flushed, since the next poll
    writes it again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, batch_id: str) -> Path:
        return self._folder / f"{batch_id}.note"

    def write(self, batch_id: str, progress: Progress) -> None:
        """Replace the note of a batch; if it cannot be written, it is dropped."""
        path = self._path(batch_id)
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
        with suppress(OSError):
            try:
                with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(msgspec.json.encode(progress))
                temporary.replace(path)
            except OSError:
                temporary.unlink(missing_ok=True)

    def read(self, batch_id: str) -> Progress | None:
        """The note of a batch; None if there is none that can be read."""
        try:
            return msgspec.json.decode(read_ours(self._path(batch_id), _MOST_BYTES), type=Progress)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
