"""Record files that cannot be trusted: skipped with a warning, set aside once something is written to their cache, and
never deleted."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from batchling.cache.layout import set_aside

_log = logging.getLogger(__name__)


class Unfit(Exception):
    """A record file that cannot be read or trusted."""

    def __init__(self, batch_id: str, path: Path, why: str) -> None:
        super().__init__(batch_id, path, why)
        self.batch_id = batch_id
        self.path = path
        self.why = why


class Unfits:
    """The record files of a cache that are of no use. `batch_ids` are those that are still in their place."""

    def __init__(self) -> None:
        self.batch_ids: set[str] = set()
        self._logged: set[Path] = set()

    def refuse(self, unfit: Sequence[Unfit], *, aside: bool) -> None:
        """Skip records that cannot be trusted, and with `aside`, set them aside. Log this once."""
        news: dict[tuple[str, bool], list[Path]] = {}
        for each in unfit:
            done = aside and _set_aside(each.path)
            (self.batch_ids.discard if done else self.batch_ids.add)(each.batch_id)
            if done or each.path not in self._logged:
                self._logged.add(each.path)
                news.setdefault((each.why, done), []).append(each.path)
        for (why, done), paths in news.items():
            more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
            _log.warning(
                "cache file %s%s: %s. Its requests will be sent, and billed, again; the file is %s",
                paths[0],
                more,
                why,
                "set aside as .damaged" if done else "ignored",
            )


def _set_aside(path: Path) -> bool:
    """Rename a file so that nobody reads it again. False if the folder is read-only."""
    aside = set_aside(path)
    if os.path.lexists(aside):
        aside = set_aside(path, again=True)
    try:
        path.rename(aside)
    except FileNotFoundError:
        pass  # another process has just renamed it
    except OSError:
        return False
    return True
