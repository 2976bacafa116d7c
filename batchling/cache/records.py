"""The record files of a cache. Reads those that are new or were replaced, and trusts only those that are sealed.

What it costs to find these does not depend on how many records there are (see `changes`), nor does what is read of
batches that other processes drive: a record that holds all of its keys may only free some later, so a newer version of
it is read when somebody needs it.

Every method may raise `OSError`. Not thread-safe: the store that owns it calls from one thread at a time.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from batchling.cache.changes import Changes
from batchling.cache.damage import Unfit, Unfits
from batchling.cache.durable import flush, new_file, sync_folder
from batchling.cache.folder import Folder, NotOurs, open_ours, read_all
from batchling.cache.index import Index
from batchling.cache.layout import ID, LEFT_BEHIND, TEMPORARY, Layout
from batchling.cache.locks import Lease
from batchling.core.lifecycle import NewerSchema, Phase, Record, from_json, to_json
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

    @property
    def holds_all(self) -> bool:
        return self.record is not None and self.record.phase is not Phase.DEAD and not self.record.freed


@dataclass(frozen=True, slots=True)
class Staged:
    """A record that has been written durably, but not under its name yet."""

    record: Record
    path: Path


class RecordFiles:
    """See the module. `seal` is None until the cache has a secret; nothing is removed or set aside unless `may_change`
    is set."""

    def __init__(self, place: Folder, index: Index) -> None:
        self._place = place
        self._layout = Layout(place.path)
        self._index = index
        self._changes = Changes(self._layout)
        self._seen: dict[str, _Seen] = {}
        self._under_way: set[str] = set()
        """The batches that are planned or running, as far as we know."""
        self._jobs: dict[str, str] = {}
        """The job of each batch that has one."""
        self._outdated: set[str] = set()
        """Those whose files were replaced since they were read."""
        self._unfits = Unfits()
        self._leftovers: list[str] = []
        self.seal: Seal | None = None
        self.may_change = False

    def all(self) -> list[Record]:
        """All records as they are stored now."""
        self.refresh()
        self._catch_up(self._outdated)
        return self._records(self._seen)

    def under_way(self) -> list[Record]:
        """The records that are planned or running, as they are stored now."""
        self.refresh()
        self._catch_up(self._under_way)
        return self._records(self._under_way)

    def jobs(self) -> frozenset[str]:
        """The jobs that records name."""
        self.refresh()
        self._catch_up(self._under_way)  # the job of others is known
        return frozenset(self._jobs.values())

    def divide(self, keys: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
        """Like `Index.divide`, by what the holders of these keys hold now."""
        mine, theirs = self._index.divide(keys)
        if self._catch_up(set(theirs.values())):
            mine, theirs = self._index.divide(keys)
        return mine, theirs

    @contextmanager
    def staged(self, record: Record, seal: Seal) -> Iterator[Staged]:
        """Write a record durably, for the block to `put` it in its place."""
        with new_file(self._layout.new_record(record.id)) as (file, path):
            file.write(to_json(record, seal))
            flush(file)
            file.close()
            yield Staged(record, path)

    def changing(self, batch_id: str, lease: Lease | None) -> AbstractContextManager[None]:
        """Around all changes in the folder of the records; `lease` is the index lock, if it is held."""
        return self._changes.change(batch_id, lease)

    def put(self, staged: Staged) -> None:
        """Replace a record. It is durable after `sync`."""
        path = self._layout.record(staged.record.id)
        staged.path.replace(path)
        self._remember(staged.record.id, _Seen(_stamp(path.stat()), staged.record))

    def sync(self) -> None:
        """Make it durable which records there are."""
        sync_folder(self._layout.batches)

    def refresh(self, lease: Lease | None = None, *, listing: bool = True) -> None:
        """Find out what other processes wrote; with the index lock (`lease`), all that was claimed before. Without
        `listing`, only as far as the log says it."""
        position, changed = self._changes.news(lease)
        if changed is None and not listing:
            return
        tidy = self.may_change and lease is not None
        again = self._unfits.batch_ids if tidy else frozenset()
        stamps = self._listed() if changed is None else self._stamps((changed - self._outdated) | again)
        unfit = []
        for batch_id, stamp in stamps.items():
            seen = self._seen.get(batch_id)
            if stamp is None:
                self.forget(batch_id)
            elif seen is not None and seen.stamp == stamp:
                continue
            elif seen is not None and seen.holds_all:
                self._outdated.add(batch_id)
            else:
                unfit += self._read_all([batch_id])
        self._unfits.refuse(unfit, aside=tidy)
        if tidy:
            leftovers, self._leftovers = self._leftovers, []
            for path in leftovers:
                _sweep(path)
        self._changes.reached(position)

    def _listed(self) -> dict[str, Stamp | None]:
        """All records in the folder, and those that are no longer there: each with its stamp, None if it is gone."""
        found: dict[str, Stamp | None] = dict.fromkeys(self._seen)
        self._leftovers = [entry.path for entry in self._place.files("") if TEMPORARY.fullmatch(entry.name)]
        with suppress(FileNotFoundError), os.scandir(self._layout.batches) as entries:
            for entry in entries:
                batch_id, _, suffix = entry.name.partition(".")
                if suffix == "json" and ID.fullmatch(batch_id):
                    with suppress(FileNotFoundError):  # removed since the folder was listed
                        found[batch_id] = _stamp(entry.stat(follow_symlinks=False))
                elif ID.fullmatch(batch_id) and TEMPORARY.fullmatch(suffix):
                    self._leftovers.append(entry.path)
        return found

    def _stamps(self, batch_ids: Iterable[str]) -> dict[str, Stamp | None]:
        found: dict[str, Stamp | None] = dict.fromkeys(batch_ids)
        for batch_id in found:
            with suppress(FileNotFoundError):
                found[batch_id] = _stamp(os.lstat(self._layout.record(batch_id)))
        return found

    def _catch_up(self, batch_ids: set[str]) -> bool:
        """Read those of these records that were replaced; whether there were any."""
        outdated = self._outdated & batch_ids
        self._unfits.refuse(self._read_all(outdated), aside=self.may_change)
        return bool(outdated)

    def _read_all(self, batch_ids: Iterable[str]) -> list[Unfit]:
        """Read records, and return those that cannot be trusted."""
        unfit = []
        for batch_id in batch_ids:
            try:
                self._read(batch_id)
            except Unfit as fault:
                unfit.append(fault)
        return unfit

    def read(self, batch_id: str) -> Record | None:
        """The record of a batch as it is stored now; None if there is none that can be trusted."""
        self._unfits.refuse(self._read_all([batch_id]), aside=self.may_change)
        seen = self._seen.get(batch_id)
        return seen.record if seen is not None else None

    def _read(self, batch_id: str) -> None:
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
        except NewerSchema as fault:
            assert stamp is not None
            known = _Seen(stamp, None)
            if self._seen.get(batch_id) != known:
                _log.warning("cache file %s is left alone: %s", path, fault)
            self.forget(batch_id)
            self._seen[batch_id] = known
        except (NotOurs, ValueError) as fault:
            self.forget(batch_id)
            raise Unfit(batch_id, path, fault.why if isinstance(fault, NotOurs) else str(fault)) from fault
        else:
            self._remember(batch_id, _Seen(stamp, record))

    def _stored_seal(self) -> Seal:
        """The seal of the stored records, whose secret another process may have made a moment ago."""
        if self.seal is None and (secret := self._place.secret()) is not None:
            self.seal = Seal(secret)
        if self.seal is None:
            raise ValueError("its cache has no secret: somebody removed the secret, or put this record here")
        return self.seal

    def _remember(self, batch_id: str, seen: _Seen) -> None:
        record = seen.record
        assert record is not None
        self._seen[batch_id] = seen
        self._outdated.discard(batch_id)
        self._unfits.batch_ids.discard(batch_id)
        (self._under_way.add if record.phase in (Phase.PLANNED, Phase.RUNNING) else self._under_way.discard)(batch_id)
        if record.job is not None:
            self._jobs[batch_id] = record.job.id
        self._index.take_in(record)

    def forget(self, batch_id: str) -> None:
        """Free the keys of a record that is gone or cannot be trusted."""
        self._outdated.discard(batch_id)
        self._under_way.discard(batch_id)
        self._jobs.pop(batch_id, None)
        self._unfits.batch_ids.discard(batch_id)
        if (seen := self._seen.pop(batch_id, None)) is not None and seen.record is not None:
            self._index.forget(batch_id, seen.record.members)

    def _records(self, batch_ids: Iterable[str]) -> list[Record]:
        found = (self._seen[batch_id].record for batch_id in tuple(batch_ids))
        return [record for record in found if record is not None]


def _sweep(path: str) -> None:
    """Remove a temporary file whose writer is long gone."""
    with suppress(OSError):
        if clock.time() - os.lstat(path).st_mtime > LEFT_BEHIND:
            os.unlink(path)


def _stamp(stat: os.stat_result) -> Stamp:
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)
