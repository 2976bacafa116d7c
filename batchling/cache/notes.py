"""The last reported status of running jobs, one small file each, for display in other processes."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from batchling.cache.durable import replace_file
from batchling.cache.folder import read_ours
from batchling.cache.layout import Layout
from batchling.core.lifecycle import Progress

_MOST_BYTES = 65_536
"""Limit for a note, which has a few hundred bytes."""


class Notes:
    """Written as a whole but not flushed, since the next poll writes it again."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def write(self, batch_id: str, progress: Progress) -> None:
        """Replace the note of a batch; if it cannot be written, it is dropped."""
        path = self._layout.note(batch_id)
        with suppress(OSError):
            if not path.parent.exists():
                path.parent.mkdir(mode=0o700)
                path.parent.chmod(0o700)
            replace_file(path, msgspec.json.encode(progress), durable=False)

    def read(self, batch_id: str) -> Progress | None:
        """The note of a batch; None if there is none that can be read."""
        try:
            return msgspec.json.decode(read_ours(self._layout.note(batch_id), _MOST_BYTES), type=Progress)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
