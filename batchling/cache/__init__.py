"""The only access to the disk: what a store promises, and how one is opened.

A store keeps one record per batch and the result rows of ended batches. It guarantees that at most one live record
holds a key (`Record.holds`), however many processes there are. Stores know nothing about the network or asyncio. Every
method may block on the disk or on a lock for a short while, and is called from one worker thread at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from batchling.core.lifecycle import Progress, Record
from batchling.core.model import Target
from batchling.core.seal import Seal
from batchling.errors import CacheError

if TYPE_CHECKING:
    from batchling.cache.footprints import Footprints


@dataclass(frozen=True, slots=True)
class Claim:
    """The outcome of a claim: `record` holds the keys that are ours now (None if there are none); `theirs` maps every
    other key to the id of the batch that already holds it."""

    record: Record | None
    theirs: dict[str, str]


class Sink(Protocol):
    """Takes the bytes of result rows. Nothing becomes visible before `commit`."""

    def write(self, chunk: bytes) -> None: ...

    def commit(self) -> None: ...


class Store(Protocol):
    """One cache. See the module's docstring for the promises that apply to every method."""

    @property
    def seal(self) -> Seal:
        """The seal of this cache. It is made on first use, which may block on the disk. Any thread."""

    def lookup(self, keys: Iterable[str]) -> dict[str, str]:
        """The ids of the live batches that hold these keys, by key, as far as this process knows them; a key that
        nobody holds is left out. Takes many keys at once, since a store may be far away."""

    def claim(self, draft: Record) -> Claim:
        """Under the store's lock: read what other processes wrote, write `draft` with those of its members that no live
        record holds, and take its drive lock before anyone can see it."""

    def load(self, batch_id: str) -> Record | None:
        """The record as it is stored now, which `lookup` uses from then on; None if there is none."""

    def save(self, record: Record) -> None:
        """Replace the stored record, durably, and update what `lookup` knows."""

    def jobs(self) -> frozenset[str]:
        """The ids of all jobs that records name. First reads what other processes wrote."""

    def in_flight(self, target: Target, but: str = "") -> frozenset[str]:
        """The batches of this account and model that may be under way at the provider, except `but`. First reads what
        other processes wrote."""

    def note(self, batch_id: str, progress: Progress) -> None:
        """Store the status that the provider reported for a job, to be shown to people. Never raises `CacheError`:
        nothing depends on it."""

    def drive(self, batch_id: str) -> bool:
        """Try to become the one process that drives this batch; True if we are (or already were)."""

    def release(self, batch_id: str) -> None:
        """Stop driving this batch; a no-op if we are not driving it."""

    def sink(self, batch_id: str) -> AbstractContextManager[Sink]:
        """A place for the rows of this batch; leaving the block without `commit` discards them."""

    def has_rows(self, batch_id: str) -> bool:
        """Whether the rows of this batch are stored."""

    def keeps(self, batch_id: str) -> bool:
        """Whether every process that may need this batch finds its rows here, without going to the provider."""

    def rows(self, batch_id: str) -> Iterator[bytes]:
        """All stored rows, without their newline, in the order the provider sent them; split at newline bytes only."""

    def find_rows(self, batch_id: str, keys: Iterable[str], key_of: Callable[[bytes], str]) -> Sequence[bytes]:
        """The stored rows of these keys, in the order of the file; a key without a row is left out. Reads the whole
        file only the first time: `key_of` returns the key of a row, and offsets are remembered."""

    def drop_rows(self, batch_id: str) -> None:
        """Set stored rows aside that have turned out to be damaged, so they are downloaded again."""

    def after_fork(self) -> None:
        """In a forked child: give up the drive locks, which belong to the parent."""

    def stop_waiting(self) -> None:
        """From now on, let a method that would wait for a lock raise `CacheError` instead. Any thread."""

    def close(self) -> None:
        """Release every lock. Idempotent."""


def open_store(cache: bool | Literal["no-results"], *, look: bool = False) -> Store:
    """The store that `batchify(cache=...)` asks for: files if true, files for records only with "no-results", this
    process's memory if false. With `look`, the disk is only read until something is claimed.

    Raises `CacheError` if the folder is not ours. Any other problem with it is logged as a warning, and what cannot be
    written is kept in memory.
    """
    from batchling.cache.memory import MemoryStore

    if not cache:
        return MemoryStore()
    from batchling.cache.fallback import FallbackStore
    from batchling.cache.files import FileStore
    from batchling.cache.folder import RefusedFolder

    try:
        return FallbackStore(FileStore(cache_folder(), keep_rows=cache is True, look=look))
    except RefusedFolder:
        raise
    except CacheError as fault:
        logging.getLogger(__name__).warning("%s Until then, nothing is cached.", fault)
        return MemoryStore()


def open_footprints(cache: bool | Literal["no-results"], program: str) -> Footprints | None:
    """The place that remembers a program's requests for its next run; None if nothing may be written to disk."""
    from batchling.cache.footprints import Footprints

    return Footprints(cache_folder(), program) if cache else None


def cache_folder() -> str:
    """`BATCHLING_CACHE_DIR` if it is set, else the platform's folder for caches."""
    import os

    from platformdirs import user_cache_dir

    return os.environ.get("BATCHLING_CACHE_DIR") or user_cache_dir("batchling", appauthor=False)
