"""The cache as JSON files under a file lock: what `cache=True` uses, shared by all processes on one folder.

    index.lock                 held for short sections only, never over the network
    batches/<id>.json          the record of one batch
    batches/<id>.lock          held, as long as it lives, by the process that drives the batch
    results/<id>.jsonl         the provider's result lines, once downloaded

A file is replaced whole (temporary file, fsync, rename), so that a reader never sees a torn one. One damaged
file costs one batch: it is set aside with a warning, never deleted. Folders are 0700 and files 0600 whatever the
umask. Nothing is written before the first claim. No network, no asyncio.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from batchling.cache import Claim, Sink
from batchling.cache.index import Index
from batchling.cache.rows import RowFiles, sync_folder
from batchling.core.lifecycle import NewerSchema, Record, from_json, to_json
from batchling.errors import CacheError

_log = logging.getLogger(__name__)

_LOCK_SECONDS = 60.0
"""How long the index lock is waited for; its sections take milliseconds."""

_ID = re.compile(r"[a-z0-9]{1,64}")

Stamp = tuple[int, int, int]


class FileStore:
    """See the module. `folder` need not exist: it is made by the first claim. Raises `CacheError` whenever the
    folder cannot be read or written."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder).expanduser()
        self._batches = self._folder / "batches"
        self._results = RowFiles(self._folder / "results")
        self._index = Index()
        self._seen: dict[str, tuple[Stamp, tuple[str, ...]]] = {}
        self._driven: dict[str, BaseFileLock] = {}
        with self._trouble():
            self._refresh()

    def lookup(self, key: str) -> str | None:
        return self._index.holder(key)

    def claim(self, draft: Record) -> Claim:
        with self._trouble():
            self._prepare()
            with self._index_lock():
                self._refresh()
                mine, theirs = self._index.divide(draft.members)
                if not mine:
                    return Claim(None, theirs)
                record = replace(draft, members=mine)
                if not self.drive(record.id):
                    raise CacheError(str(self._folder), f"batch {record.id} is locked by another process")
                self.save(record)
                return Claim(record, theirs)

    def load(self, batch_id: str) -> Record | None:
        with self._trouble():
            return self._read(batch_id)

    def save(self, record: Record) -> None:
        with self._trouble():
            self._prepare()
            path = self._record_path(record.id)
            replace_file(path, to_json(record))
            self._seen[record.id] = (_stamp(path.stat()), record.members)
            self._index.take_in(record)

    def drive(self, batch_id: str) -> bool:
        if batch_id in self._driven:
            return True
        with self._trouble():
            self._prepare()
            lock = _file_lock(self._record_path(batch_id).with_suffix(".lock"), timeout=0)
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
        with self._trouble():
            self._prepare()
            with self._results.sink(_checked(batch_id)) as sink:
                yield sink

    def has_rows(self, batch_id: str) -> bool:
        return self._results.exist(_checked(batch_id))

    def rows(self, batch_id: str) -> Iterator[bytes]:
        with self._trouble():
            yield from self._results.read(_checked(batch_id))

    def find_rows(self, batch_id: str, keys: Iterable[str], key_of: Callable[[bytes], str]) -> Sequence[bytes]:
        with self._trouble():
            return self._results.find(_checked(batch_id), keys, key_of)

    def after_fork(self) -> None:
        for lock in self._driven.values():
            _abandon(lock)
        self._driven = {}

    def close(self) -> None:
        for batch_id in tuple(self._driven):
            self.release(batch_id)

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        """Turns what the operating system says into `CacheError`."""
        try:
            yield
        except Timeout as fault:
            problem = f"index.lock is held by another process for over {_LOCK_SECONDS:.0f} seconds; is one frozen?"
            raise CacheError(str(self._folder), problem) from fault
        except OSError as fault:
            raise CacheError(str(self._folder), fault.strerror or type(fault).__name__) from fault

    def _prepare(self) -> None:
        for folder in (self._folder, self._batches, self._results.folder):
            if not folder.is_dir():
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                folder.chmod(0o700)

    def _index_lock(self) -> BaseFileLock:
        return _file_lock(self._folder / "index.lock", timeout=_LOCK_SECONDS)

    def _record_path(self, batch_id: str) -> Path:
        return self._batches / f"{_checked(batch_id)}.json"

    def _refresh(self) -> None:
        """Take in what other processes wrote: only files that are new or were replaced are read."""
        try:
            entries = list(os.scandir(self._batches))
        except FileNotFoundError:
            entries = []
        present = set()
        for entry in entries:
            batch_id, dot, suffix = entry.name.partition(".")
            if suffix != "json" or not dot or not _ID.fullmatch(batch_id):
                continue
            present.add(batch_id)
            seen = self._seen.get(batch_id)
            if seen is None or seen[0] != _stamp(entry.stat()):
                self._read(batch_id)
        for batch_id in self._seen.keys() - present:
            self._forget(batch_id)

    def _read(self, batch_id: str) -> Record | None:
        path = self._record_path(batch_id)
        try:
            with path.open("rb") as file:
                stamp = _stamp(os.fstat(file.fileno()))
                document = file.read()
        except FileNotFoundError:
            self._forget(batch_id)
            return None
        try:
            record = from_json(document)
            if record.id != batch_id:
                raise ValueError("it is the record of another batch")
        except NewerSchema as fault:
            _log.warning("cache file %s is left alone: %s", path, fault)
            self._forget(batch_id)
            self._seen[batch_id] = (stamp, ())
            return None
        except ValueError as fault:
            self._set_aside(path, fault)
            self._forget(batch_id)
            return None
        self._seen[batch_id] = (stamp, record.members)
        self._index.take_in(record)
        return record

    def _forget(self, batch_id: str) -> None:
        if (seen := self._seen.pop(batch_id, None)) is not None:
            self._index.forget(batch_id, seen[1])

    def _set_aside(self, path: Path, fault: ValueError) -> None:
        aside = path.with_suffix(".json.damaged")
        _log.warning("cache file %s cannot be read (%s); it is set aside as %s", path, fault, aside.name)
        with suppress(FileNotFoundError):
            path.replace(aside)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole and durably: readers see the old or the new one, also after a power cut."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def _file_lock(path: Path, timeout: float) -> BaseFileLock:
    # Not bound to a thread: the disk work of one scope may run in any.
    return FileLock(path, timeout=timeout, mode=0o600, thread_local=False)


def _abandon(lock: BaseFileLock) -> None:
    """Let go of a lock that was inherited by fork, without unlocking it: that would take it from the parent."""
    # filelock 3.12 knows nothing of fork: its finalizer would unlock in the child, and the open descriptor would
    # keep the lock taken when the parent dies. 4.2 resets inherited locks itself; where its hook runs after ours,
    # it passes over a descriptor that is closed already. Neither has a public way to do this.
    context = lock._context
    descriptor, context.lock_file_fd = context.lock_file_fd, None
    if descriptor is not None:
        os.close(descriptor)


def _checked(batch_id: str) -> str:
    if not _ID.fullmatch(batch_id):
        raise ValueError(f"not a batch id: {batch_id!r}")
    return batch_id


def _stamp(stat: os.stat_result) -> Stamp:
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)
