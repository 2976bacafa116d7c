"""The record files of a cache. Reads those that are new or were replaced, and trusts only those that are sealed.

Every method may raise `OSError`. Not thread-safe: the store that owns it calls from one thread at a time.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from batchling.cache.durable import replace_file
from batchling.cache.folder import Folder, NotOurs, open_ours, read_all
from batchling.cache.index import Index
from batchling.cache.layout import ID, LEFT_BEHIND, TEMPORARY, Layout, set_aside
from batchling.core.lifecycle import NewerSchema, Record, from_json, to_json
from batchling.core.seal import Seal
from batchling.system import clock

_log = logging.getLogger(__name__)

_MOST_BYTES = 1 << 28
"""Limit for a record: 200,000 keys are 10 MB."""

Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is known about a record file: `stamp` shows whether it has been replaced since. `record` is None if the file
    is not for us to read."""

    stamp: Stamp
    record: Record | None


class Unfit(Exception):
    """A record file that cannot be read or trusted."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(path, why)
        self.path = path
        self.why = why


class RecordFiles:
    """See the module. `seal` is None until the cache has a secret; nothing is removed or set aside unless `may_change`
    is set."""

    def __init__(self, place: Folder, index: Index) -> None:
        self._place = place
        self._layout = Layout(place.path)
        self._index = index
        self._seen: dict[str, _Seen] = {}
        self._logged: set[Path] = set()
        self.seal: Seal | None = None
        self.may_change = False

    def all(self) -> list[Record]:
        """The records as last read."""
        return [seen.record for seen in tuple(self._seen.values()) if seen.record is not None]

    def write(self, record: Record, seal: Seal) -> None:
        """Replace a record, durably."""
        path = self._layout.record(record.id)
        replace_file(path, to_json(record, seal))
        self._seen[record.id] = _Seen(_stamp(path.stat()), record)
        self._index.take_in(record)

    def refresh(self) -> None:
        """Read what other processes wrote: only files that are new or were replaced are read."""
        try:
            entries = list(os.scandir(self._layout.batches))
        except FileNotFoundError:
            entries = []
        present = set()
        unfit: list[Unfit] = []
        for entry in entries:
            batch_id, _, suffix = entry.name.partition(".")
            if not ID.fullmatch(batch_id):
                continue
            if self.may_change and TEMPORARY.fullmatch(entry.name):
                _sweep(entry)
            if suffix != "json":
                continue
            present.add(batch_id)
            seen = self._seen.get(batch_id)
            try:
                if seen is None or seen.stamp != _stamp(entry.stat(follow_symlinks=False)):
                    self.read(batch_id)
            except FileNotFoundError:  # removed since the folder was listed
                present.discard(batch_id)
            except Unfit as fault:
                unfit.append(fault)
        self.refuse(unfit)
        for batch_id in self._seen.keys() - present:
            self.forget(batch_id)

    def read(self, batch_id: str) -> Record | None:
        """Read a record into the index. Raises `Unfit` for one that cannot be trusted or read."""
        path = self._layout.record(batch_id)
        stamp = None
        try:
            with open_ours(path) as file:
                stamp = _stamp(os.fstat(file.fileno()))
                document = read_all(file, path, _MOST_BYTES)
            record = from_json(document, self._stored_seal())
            if record.id != batch_id:
                raise ValueError("it is the record of another batch")
        except FileNotFoundError:
            self.forget(batch_id)
            return None
        except NewerSchema as fault:
            assert stamp is not None
            known = _Seen(stamp, None)
            if self._seen.get(batch_id) != known:
                _log.warning("cache file %s is left alone: %s", path, fault)
            self.forget(batch_id)
            self._seen[batch_id] = known
            return None
        except (NotOurs, ValueError) as fault:
            self.forget(batch_id)
            raise Unfit(path, fault.why if isinstance(fault, NotOurs) else str(fault)) from fault
        self._seen[batch_id] = _Seen(stamp, record)
        self._index.take_in(record)
        return record

    def _stored_seal(self) -> Seal:
        """The seal of the stored records, whose secret another process may have made a moment ago."""
        if self.seal is None and (secret := self._place.secret()) is not None:
            self.seal = Seal(secret)
        if self.seal is None:
            raise ValueError("its cache has no secret: somebody removed the secret, or put this record here")
        return self.seal

    def forget(self, batch_id: str) -> None:
        """Free the keys of a record that is gone or cannot be trusted."""
        if (seen := self._seen.pop(batch_id, None)) is not None and seen.record is not None:
            self._index.forget(batch_id, seen.record.members)

    def refuse(self, unfit: Sequence[Unfit]) -> None:
        """Skip records that cannot be trusted; once something is written here, set them aside. Log this once."""
        news: dict[tuple[str, bool], list[Path]] = {}
        for each in unfit:
            aside = self.may_change and _set_aside(each.path)
            if aside or each.path not in self._logged:
                self._logged.add(each.path)
                news.setdefault((each.why, aside), []).append(each.path)
        for (why, aside), paths in news.items():
            more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
            _log.warning(
                "cache file %s%s: %s. Its requests will be sent, and billed, again; the file is %s",
                paths[0],
                more,
                why,
                "set aside as .damaged" if aside else "ignored",
            )


def _sweep(entry: os.DirEntry[str]) -> None:
    """Remove a temporary file whose writer is long gone."""
    with suppress(OSError):
        if clock.time() - entry.stat(follow_symlinks=False).st_mtime > LEFT_BEHIND:
            os.unlink(entry.path)


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


def _stamp(stat: os.stat_result) -> Stamp:
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)
