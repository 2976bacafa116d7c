"""The cache as JSON files under a file lock: used for `cache=True`, shared by all processes with the same folder. Its
files are listed in `layout`.

A file is always replaced as a whole (temporary file, fsync, rename), so a reader never sees a partial one. A damaged or
foreign file costs one batch: the next claim sets it aside with a warning, and it is never deleted. Folders are 0700 and
files 0600 whatever the umask. Nothing is written before the first claim, except the mark and the secret, which the
first call needs. No network, no asyncio.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace

from filelock import BaseFileLock, Timeout

from batchling.cache import Claim, Sink
from batchling.cache.folder import Folder
from batchling.cache.index import Index, is_in_flight
from batchling.cache.layout import BATCHES, RESULTS, Layout, checked
from batchling.cache.locks import HELD, IndexLock, Lease, abandon, file_lock
from batchling.cache.notes import Notes
from batchling.cache.records import RecordFiles, Staged
from batchling.cache.rows import RowFiles, SpooledRows
from batchling.core.lifecycle import Progress, Record
from batchling.core.model import Target
from batchling.core.seal import Seal
from batchling.errors import CacheError

_log = logging.getLogger(__name__)


class FileStore:
    """See the module. `folder` need not exist: it is created when it is first needed. Without `keep_rows`, result rows
    are spooled. With `look`, nothing is created or set aside before a claim. Raises `CacheError` whenever the folder
    cannot be read or written, and `RefusedFolder` if it is not ours."""

    def __init__(self, folder: str, *, keep_rows: bool = True, look: bool = False) -> None:
        self._place = Folder(folder)
        self._folder = self._place.path
        self._layout = Layout(self._folder)
        self._notes = Notes(self._layout)
        self._keep_rows = keep_rows
        self._results = RowFiles(self._layout) if keep_rows else SpooledRows()
        self._index = Index()
        self._index_lock = IndexLock(self._folder)
        self._records = RecordFiles(self._place, self._index)
        self._driven: dict[str, BaseFileLock] = {}
        self._look = look
        self._prepared = False
        self._sealing = threading.Lock()
        with self._trouble():
            self._place.check()
            if (secret := self._place.secret()) is not None:
                self._records.seal = Seal(secret)
            self._records.refresh()

    @property
    def seal(self) -> Seal:
        if (found := self._records.seal) is not None:
            return found
        # Callers' threads come here at once, and what they name must have one name.
        with self._sealing, self._trouble():
            if (found := self._records.seal) is None:
                secret = secrets.token_bytes(32) if self._look else self._place.keep_secret()
                found = self._records.seal = Seal(secret)
        return found

    def lookup(self, keys: Iterable[str]) -> dict[str, str]:
        return self._index.holders(keys)

    def claim(self, draft: Record) -> Claim:
        with self._trouble():
            self._prepare()
            while True:
                self._records.refresh(listing=False)
                expected = replace(draft, members=self._index.divide(draft.members)[0])
                # Read and written before we have the lock, which others wait for.
                with self._records.staged(expected, self.seal) as staged, self._index_lock.held() as lease:
                    claim = self._claim(draft, staged, lease)
                    # If we were suspended here for long, the lock no longer protects us: what we read may be outdated.
                    if claim.record is not None and not lease.holds():
                        self._take_back(claim.record)
                        continue
                if claim.record is not None:
                    with self._or_take_back(claim.record):
                        self._records.sync()
                return claim

    def _claim(self, draft: Record, staged: Staged, lease: Lease) -> Claim:
        self._records.refresh(lease)
        mine, theirs = self._records.divide(draft.members)
        if not mine:
            return Claim(None, theirs)
        with ExitStack() as stack:
            if mine != staged.record.members:
                staged = stack.enter_context(self._records.staged(replace(draft, members=mine), self.seal))
            with self._records.changing(draft.id, lease):
                if not self.drive(draft.id):
                    raise CacheError(str(self._folder), f"batch {draft.id} is locked by another process")
                with self._or_take_back(staged.record):
                    self._records.put(staged)
        return Claim(staged.record, theirs)

    def jobs(self) -> frozenset[str]:
        with self._trouble():
            return self._records.jobs()

    def in_flight(self, target: Target, but: str = "") -> frozenset[str]:
        with self._trouble():
            records = self._records.under_way()
        return frozenset(record.id for record in records if is_in_flight(record, target) and record.id != but)

    def records(self) -> list[Record]:
        """All records as they are stored now."""
        with self._trouble():
            return self._records.all()

    def note(self, batch_id: str, progress: Progress) -> None:
        self._notes.write(batch_id, progress)

    def load(self, batch_id: str) -> Record | None:
        with self._trouble():
            return self._records.read(batch_id)

    def save(self, record: Record) -> None:
        with self._trouble():
            self._prepare()
            with (
                self._records.staged(record, self.seal) as staged,
                self._index_lock.briefly() as lease,
                self._records.changing(record.id, lease),
            ):
                self._records.put(staged)
            self._records.sync()

    def drive(self, batch_id: str) -> bool:
        if batch_id in self._driven:
            return True
        with self._trouble():
            self._prepare()
            lock = file_lock(self._layout.lock(batch_id), timeout=0)
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
                sink = stack.enter_context(self._results.sink(checked(batch_id)))
            # Not around the block: a network fault in there may be an OSError, too.
            yield _NamedFaults(sink, self._trouble)

    def has_rows(self, batch_id: str) -> bool:
        with self._trouble():
            return self._results.exist(checked(batch_id))

    def keeps(self, batch_id: str) -> bool:
        return self._keep_rows and self.has_rows(batch_id)

    def rows(self, batch_id: str) -> Iterator[bytes]:
        with self._trouble():
            yield from self._results.read(checked(batch_id))

    def drop_rows(self, batch_id: str) -> None:
        with self._trouble():
            self._results.drop(checked(batch_id))

    def find_rows(self, batch_id: str, keys: Iterable[str], key_of: Callable[[bytes], str]) -> Sequence[bytes]:
        with self._trouble():
            return self._results.find(checked(batch_id), keys, key_of)

    def after_fork(self) -> None:
        self._sealing = threading.Lock()
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
        """Turn errors of the operating system into `CacheError`."""
        try:
            yield
        except Timeout as fault:
            raise CacheError(str(self._folder), HELD) from fault
        except NotImplementedError as fault:
            raise CacheError(str(self._folder), "its file system has no file locks") from fault
        except OSError as fault:
            raise CacheError(str(self._folder), fault.strerror or type(fault).__name__) from fault

    def _prepare(self) -> None:
        """Set up the folder, again if somebody has removed it in the meantime."""
        if self._prepared and self._layout.batches.is_dir() and self._layout.results.is_dir():
            return
        self._place.prepare(BATCHES, RESULTS)
        if self._records.seal is not None:
            self._place.keep_secret(self._records.seal.secret)
        self._prepared = self._records.may_change = True

    @contextmanager
    def _or_take_back(self, record: Record) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._take_back(record)
            raise

    def _take_back(self, record: Record) -> None:
        """Undo a claim that failed halfway, so that its keys are not held by a batch that nobody drives."""
        with suppress(OSError):
            self._layout.record(record.id).unlink()
        self._records.forget(record.id)
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
