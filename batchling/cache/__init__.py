"""The only door to the disk: what a store promises, and how one is opened.

A store keeps one record per batch and the result rows of ended batches. It guarantees that a key is held by
at most one live record (`Record.holds`), whatever the number of processes. Stores know nothing of the network
and nothing of asyncio. Every method may block on the disk or on a lock for a short while, and is called from one worker
thread at a time.
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
    """The outcome of a claim: `record` holds the keys that are ours now (None when there are none);
    `theirs` maps each other key to the id of the batch that already holds it."""

    record: Record | None
    theirs: dict[str, str]


class Sink(Protocol):
    """Takes the bytes of result rows. Nothing becomes visible before `commit`."""

    def write(self, chunk: bytes) -> None: ...

    def commit(self) -> None: ...


class Store(Protocol):
    """One cache. See the module's docstring for the promises that hold for every method."""

    @property
    def seal(self) -> Seal:
        """What this cache seals with, made when it is first asked for, which may block on the disk. Any thread."""

    def lookup(self, keys: Iterable[str]) -> dict[str, str]:
        """The ids of the live batches that hold these keys, by key, as far as this process has heard of them; a key
        that nobody holds is left out. Asked about many keys at once, since a store may be far away."""

    def claim(self, draft: Record) -> Claim:
        """Under the store's lock: take in what other processes wrote, write `draft` with those of its members
        that no live record holds, and take its drive lock before anyone can see it."""

    def load(self, batch_id: str) -> Record | None:
        """The record as it is stored now, which `lookup` knows from then on; None when there is none."""

    def save(self, record: Record) -> None:
        """Replace the stored record, durably, and update what `lookup` knows."""

    def jobs(self) -> frozenset[str]:
        """The ids of all jobs that records name; takes in first what other processes wrote."""

    def in_flight(self, target: Target, but: str = "") -> frozenset[str]:
        """The batches of this account and model that may be under way at the provider, save `but`; takes in first what
        other processes wrote."""

    def note(self, batch_id: str, progress: Progress) -> None:
        """Keep what the provider said of a job, for people to see. Never raises `CacheError`: nothing depends on it."""

    def drive(self, batch_id: str) -> bool:
        """Try to become the one process that drives this batch; True when we are (or already were)."""

    def release(self, batch_id: str) -> None:
        """Stop driving this batch; no-op when we do not."""

    def sink(self, batch_id: str) -> AbstractContextManager[Sink]:
        """A place for the rows of this batch; leaving the block without `commit` throws them away."""

    def has_rows(self, batch_id: str) -> bool:
        """Whether the rows of this batch are stored."""

    def keeps(self, batch_id: str) -> bool:
        """Whether everybody who may ask for this batch finds its rows here, and none has to ask its provider."""

    def rows(self, batch_id: str) -> Iterator[bytes]:
        """All stored rows, without their newline, in the order the provider sent them; split at newline bytes only."""

    def find_rows(self, batch_id: str, keys: Iterable[str], key_of: Callable[[bytes], str]) -> Sequence[bytes]:
        """The stored rows of these keys, in the order of the file; a key without a row is left out. Reads the whole
        file the first time only: `key_of` tells the key of a row, and offsets are remembered."""

    def drop_rows(self, batch_id: str) -> None:
        """Stored rows have turned out to be damaged: set them aside, to be downloaded again."""

    def after_fork(self) -> None:
        """In a forked child: the parent's drive locks are the parent's."""

    def stop_waiting(self) -> None:
        """Let no method wait for a lock any longer; one that would raises `CacheError`. Any thread."""

    def close(self) -> None:
        """Release every lock. Idempotent."""


def open_store(cache: bool | Literal["no-results"], *, look: bool = False) -> Store:
    """The store that `batchify(cache=...)` asks for: files when true, files for records alone with "no-results", this
    process's memory when false. With `look`, the disk is read alone until something is claimed.

    Raises `CacheError` when the folder is none of ours. Whatever else is wrong with it is told in a warning, and what
    cannot be written is kept in memory.
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
    """Where what a program asked is remembered for its next run; None when nothing may touch the disk."""
    from batchling.cache.footprints import Footprints

    return Footprints(cache_folder(), program) if cache else None


def cache_folder() -> str:
    """`BATCHLING_CACHE_DIR` when it is set, else the platform's folder for caches."""
    import os

    from platformdirs import user_cache_dir

    return os.environ.get("BATCHLING_CACHE_DIR") or user_cache_dir("batchling", appauthor=False)
