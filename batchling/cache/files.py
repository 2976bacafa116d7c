"""The cache as JSON files under a file lock: what `cache=True` uses, shared by all processes on one folder.

    index.lock                 held for short sections only, never over the network
    index.spare.lock           stands in for it while a frozen process holds it
    CACHEDIR.TAG, secret       whose the folder is, and what seals its records (see `folder`)
    batches/<id>.json          the record of one batch, sealed
    batches/<id>.lock          held, as long as it lives, by the process that drives the batch
    batches/<id>.note          what the provider said of its job when it was asked last
    results/<id>.jsonl         the provider's result lines, once downloaded
    programs/<digest>.json     what a program asked when it ran last, as digests (see `footprints`)

A file is replaced whole (temporary file, fsync, rename), so that a reader never sees a torn one. One damaged or
foreign file costs one batch: whoever claims sets it aside with a warning, and it is never deleted. Folders are 0700
and files 0600 whatever the umask. Nothing is written before the first claim, but for the mark and the secret, which
the first call needs. No network, no asyncio.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import BaseFileLock, Timeout

from batchling.cache import Claim, Sink
from batchling.cache.durable import replace_file
from batchling.cache.folder import ID, TEMPORARY, Folder, NotOurs, open_ours, read_all
from batchling.cache.index import Index, flies
from batchling.cache.locks import IndexLock, abandon, file_lock
from batchling.cache.notes import Notes
from batchling.cache.rows import RowFiles, SpooledRows
from batchling.core.lifecycle import NewerSchema, Progress, Record, from_json, to_json
from batchling.core.model import Target
from batchling.core.seal import Seal
from batchling.errors import CacheError
from batchling.system import clock

_log = logging.getLogger(__name__)

_LEFT_BEHIND = 3_600.0
"""Seconds after which a temporary file is taken for one of a writer that was killed."""

_MOST_BYTES = 1 << 28
"""Of a record: 200,000 keys are 10 MB."""

Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is known of a record file: `stamp` tells whether it was replaced since. `record` is None for one that
    is not ours to read."""

    stamp: Stamp
    record: Record | None


class _Unfit(Exception):
    """A record file that cannot be read, or trusted."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(path, why)
        self.path = path
        self.why = why


class FileStore:
    """See the module. `folder` need not exist: it is made when it is first needed. Without `keep_rows`, result rows
    are spooled. With `look`, nothing is made or set aside before a claim. Raises `CacheError` whenever the folder
    cannot be read or written, and `RefusedFolder` when it is not ours."""

    def __init__(self, folder: str, *, keep_rows: bool = True, look: bool = False) -> None:
        self._place = Folder(folder)
        self._folder = self._place.path
        self._batches = self._folder / "batches"
        self._notes = Notes(self._batches)
        self._keep_rows = keep_rows
        self._results = RowFiles(self._folder / "results") if keep_rows else SpooledRows()
        self._index = Index()
        self._index_lock = IndexLock(self._folder)
        self._seen: dict[str, _Seen] = {}
        self._driven: dict[str, BaseFileLock] = {}
        self._look = look
        self._seal: Seal | None = None
        self._prepared = False
        self._told: set[Path] = set()
        with self._trouble():
            self._place.check()
            if (secret := self._place.secret()) is not None:
                self._seal = Seal(secret)
            self._refresh()

    @property
    def seal(self) -> Seal:
        if self._seal is None:
            with self._trouble():
                if self._look:
                    self._seal = Seal(secrets.token_bytes(32))
                else:
                    self._seal = Seal(self._place.keep_secret())
        return self._seal

    def lookup(self, key: str) -> str | None:
        return self._index.holder(key)

    def claim(self, draft: Record) -> Claim:
        with self._trouble():
            self._prepare()
            while True:
                with self._index_lock.held() as lease:
                    claim = self._claim(draft)
                    # Frozen for long in here, we have lost the lock's protection: what was seen above may be old.
                    if claim.record is None or lease.holds():
                        return claim
                    self._take_back(claim.record)

    def _claim(self, draft: Record) -> Claim:
        self._refresh()
        mine, theirs = self._index.divide(draft.members)
        if not mine:
            return Claim(None, theirs)
        record = replace(draft, members=mine)
        if not self.drive(record.id):
            raise CacheError(str(self._folder), f"batch {record.id} is locked by another process")
        try:
            self.save(record)
        except BaseException:
            self._take_back(record)
            raise
        return Claim(record, theirs)

    def jobs(self) -> frozenset[str]:
        return frozenset(record.job.id for record in self.records() if record.job is not None)

    def in_flight(self, target: Target, but: str = "") -> frozenset[str]:
        return frozenset(record.id for record in self.records() if flies(record, target) and record.id != but)

    def records(self) -> list[Record]:
        """All records as they are stored now."""
        with self._trouble():
            self._refresh()
        return [seen.record for seen in tuple(self._seen.values()) if seen.record is not None]

    def note(self, batch_id: str, progress: Progress) -> None:
        self._notes.write(_checked(batch_id), progress)

    def load(self, batch_id: str) -> Record | None:
        with self._trouble():
            try:
                return self._read(batch_id)
            except _Unfit as fault:
                self._refuse([fault])
                return None

    def save(self, record: Record) -> None:
        with self._trouble():
            self._prepare()
            path = self._record_path(record.id)
            replace_file(path, to_json(record, self.seal))
            self._seen[record.id] = _Seen(_stamp(path.stat()), record)
            self._index.take_in(record)

    def drive(self, batch_id: str) -> bool:
        if batch_id in self._driven:
            return True
        with self._trouble():
            self._prepare()
            lock = file_lock(self._record_path(batch_id).with_suffix(".lock"), timeout=0)
            try:
                lock.acquire()
            except Timeout:
                return False
            self._driven[batch_id] = lock
            return True

    def release(self, batch_id: str) -> None:
        if (lock := self._driven.pop(batch_id, None)) is not None:
            lock.release()

    @contextmanager
    def sink(self, batch_id: str) -> Iterator[Sink]:
        with ExitStack() as stack:
            with self._trouble():
                self._prepare()
                sink = stack.enter_context(self._results.sink(_checked(batch_id)))
            # Not around the block: a fault of the network there may be an OSError, too.
            yield _NamedFaults(sink, self._trouble)

    def has_rows(self, batch_id: str) -> bool:
        with self._trouble():
            return self._results.exist(_checked(batch_id))

    def keeps(self, batch_id: str) -> bool:
        return self._keep_rows and self.has_rows(batch_id)

    def rows(self, batch_id: str) -> Iterator[bytes]:
        with self._trouble():
            yield from self._results.read(_checked(batch_id))

    def drop_rows(self, batch_id: str) -> None:
        with self._trouble():
            self._results.drop(_checked(batch_id))

    def find_rows(self, batch_id: str, keys: Iterable[str], key_of: Callable[[bytes], str]) -> Sequence[bytes]:
        with self._trouble():
            return self._results.find(_checked(batch_id), keys, key_of)

    def after_fork(self) -> None:
        for lock in self._driven.values():
            abandon(lock)
        self._driven = {}

    def stop_waiting(self) -> None:
        self._index_lock.close()

    def close(self) -> None:
        for batch_id in tuple(self._driven):
            self.release(batch_id)
        self._results.close()

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        """Turns what the operating system says into `CacheError`."""
        try:
            yield
        except Timeout as fault:
            raise CacheError(str(self._folder), "index.lock is held by another process; is one frozen?") from fault
        except NotImplementedError as fault:
            raise CacheError(str(self._folder), "its file system has no file locks") from fault
        except OSError as fault:
            raise CacheError(str(self._folder), fault.strerror or type(fault).__name__) from fault

    def _prepare(self) -> None:
        """Make the folder what it is to be, again if somebody has removed it in the meantime."""
        if self._prepared and self._batches.is_dir() and (self._folder / "results").is_dir():
            return
        self._place.prepare("batches", "results")
        if self._seal is not None:
            self._place.keep_secret(self._seal.secret)
        self._prepared = True

    def _record_path(self, batch_id: str) -> Path:
        return self._batches / f"{_checked(batch_id)}.json"

    def _refresh(self) -> None:
        """Take in what other processes wrote: only files that are new or were replaced are read."""
        try:
            entries = list(os.scandir(self._batches))
        except FileNotFoundError:
            entries = []
        present = set()
        unfit: list[_Unfit] = []
        for entry in entries:
            batch_id, _, suffix = entry.name.partition(".")
            if not ID.fullmatch(batch_id):
                continue
            if self._prepared and TEMPORARY.fullmatch(entry.name):
                _sweep(entry)
            if suffix != "json":
                continue
            present.add(batch_id)
            seen = self._seen.get(batch_id)
            try:
                if seen is None or seen.stamp != _stamp(entry.stat(follow_symlinks=False)):
                    self._read(batch_id)
            except FileNotFoundError:  # gone since the folder was listed
                present.discard(batch_id)
            except _Unfit as fault:
                unfit.append(fault)
        self._refuse(unfit)
        for batch_id in self._seen.keys() - present:
            self._forget(batch_id)

    def _read(self, batch_id: str) -> Record | None:
        """Take in a record. Raises `_Unfit` for one that cannot be trusted, or read."""
        path = self._record_path(batch_id)
        stamp = None
        try:
            with open_ours(path) as file:
                stamp = _stamp(os.fstat(file.fileno()))
                document = read_all(file, path, _MOST_BYTES)
            record = from_json(document, self._stored_seal())
            if record.id != batch_id:
                raise ValueError("it is the record of another batch")
        except FileNotFoundError:
            self._forget(batch_id)
            return None
        except NewerSchema as fault:
            assert stamp is not None
            known = _Seen(stamp, None)
            if self._seen.get(batch_id) != known:
                _log.warning("cache file %s is left alone: %s", path, fault)
            self._forget(batch_id)
            self._seen[batch_id] = known
            return None
        except (NotOurs, ValueError) as fault:
            self._forget(batch_id)
            raise _Unfit(path, fault.why if isinstance(fault, NotOurs) else str(fault)) from fault
        self._seen[batch_id] = _Seen(stamp, record)
        self._index.take_in(record)
        return record

    def _stored_seal(self) -> Seal:
        """The seal of what is stored, which another process may have made a moment ago."""
        if self._seal is None and (secret := self._place.secret()) is not None:
            self._seal = Seal(secret)
        if self._seal is None:
            raise ValueError("its cache has no secret: somebody has removed that, or has put this record here")
        return self._seal

    def _forget(self, batch_id: str) -> None:
        if (seen := self._seen.pop(batch_id, None)) is not None and seen.record is not None:
            self._index.forget(batch_id, seen.record.members)

    def _refuse(self, unfit: Sequence[_Unfit]) -> None:
        """Pass records over that cannot be trusted; once something is written here, set them aside. Say so once."""
        told: dict[tuple[str, bool], list[Path]] = {}
        for each in unfit:
            aside = self._prepared and _set_aside(each.path)
            if aside or each.path not in self._told:
                self._told.add(each.path)
                told.setdefault((each.why, aside), []).append(each.path)
        for (why, aside), paths in told.items():
            more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
            _log.warning(
                "cache file %s%s: %s. Its requests will be asked, and billed, again; the file is %s",
                paths[0],
                more,
                why,
                "set aside as .damaged" if aside else "passed over",
            )

    def _take_back(self, record: Record) -> None:
        """Undo a claim that failed half-way, so that its keys are not held by a batch that nobody drives."""
        with suppress(OSError):
            self._record_path(record.id).unlink()
        self._forget(record.id)
        self.release(record.id)


class _NamedFaults:
    """A sink whose own faults are `CacheError`s."""

    def __init__(self, sink: Sink, trouble: Callable[[], AbstractContextManager[None]]) -> None:
        self._sink = sink
        self._trouble = trouble

    def write(self, chunk: bytes) -> None:
        with self._trouble():
            self._sink.write(chunk)

    def commit(self) -> None:
        with self._trouble():
            self._sink.commit()


def _sweep(entry: os.DirEntry[str]) -> None:
    """Remove a temporary file whose writer is long gone."""
    with suppress(OSError):
        if clock.time() - entry.stat(follow_symlinks=False).st_mtime > _LEFT_BEHIND:
            os.unlink(entry.path)


def _set_aside(path: Path) -> bool:
    """Rename a file, so that it costs nobody a look any more. False in a folder that may only be read."""
    aside = path.with_suffix(".json.damaged")
    if os.path.lexists(aside):
        aside = path.with_suffix(f".json.{secrets.token_hex(4)}.damaged")
    try:
        path.rename(aside)
    except FileNotFoundError:
        pass  # another process has just done it
    except OSError:
        return False
    return True


def _checked(batch_id: str) -> str:
    if not ID.fullmatch(batch_id):
        raise ValueError(f"not a batch id: {batch_id!r}")
    return batch_id


def _stamp(stat: os.stat_result) -> Stamp:
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)
