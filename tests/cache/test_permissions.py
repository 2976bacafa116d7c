"""Who may read the cache, and what the system refuses. Modes under a umask are in test_files.py."""

from __future__ import annotations

import errno
import os
import signal
import stat
from pathlib import Path

import pytest
from filelock import FileLock

from batchling.cache import locks
from batchling.cache.files import FileStore
from batchling.core.lifecycle import Phase
from batchling.errors import CacheError
from tests.cache.drafts import draft
from tests.cache.ids import B1, B2, holder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_that_were_opened_to_others_are_closed_again(tmp_path: Path) -> None:
    FileStore(str(tmp_path)).claim(draft(B1, "x"))
    for name in ("batches", "results"):
        (tmp_path / name).chmod(0o755)
    tmp_path.chmod(0o755)

    FileStore(str(tmp_path)).claim(draft(B2, "y"))

    assert (mode(tmp_path / "batches"), mode(tmp_path / "results")) == (0o700, 0o700)
    assert mode(tmp_path) == 0o755  # the user's own choice


def refuse(for_folders_only: bool) -> object:
    def fsync(descriptor: int) -> None:
        if not for_folders_only or stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "Input/output error")

    return fsync


@pytest.mark.parametrize("for_folders_only", [False, True])
def test_a_claim_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, for_folders_only: bool
) -> None:
    store = FileStore(str(tmp_path))
    monkeypatch.setattr(os, "fsync", refuse(for_folders_only))
    with pytest.raises(CacheError, match="Input/output error"):
        store.claim(draft(B1, "x"))
    monkeypatch.undo()

    other = FileStore(str(tmp_path))
    assert (holder(store, "x"), holder(other, "x"), other.load(B1)) == (None, None, None)
    assert other.drive(B1)
    claim = other.claim(draft(B2, "x"))
    assert claim.record is not None


def test_a_place_that_is_no_folder_is_a_cache_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(CacheError, match="file"):
        FileStore(str(tmp_path / "file" / "store"))
    with pytest.raises(CacheError, match="file"):
        FileStore(str(tmp_path / "file"))


@pytest.mark.thorough
def test_a_frozen_holder_of_the_index_lock_is_told_of_and_passed_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.3)
    monkeypatch.setattr(locks, "_WORTH_A_WARNING", 0.01)
    monkeypatch.setattr(locks, "_STEP", 0.02)
    store = FileStore(str(tmp_path))
    with FileLock(tmp_path / "index.lock"):
        assert store.claim(draft(B1, "x")).record is not None
        assert "index.lock, held by another process (is it suspended?)" in caplog.text
        with FileLock(tmp_path / "index.spare.lock"), pytest.raises(CacheError, match="held by another process"):
            store.claim(draft(B2, "y"))

    assert store.claim(draft(B2, "y")).record is not None


def test_who_stopped_waiting_takes_no_other_lock(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path))
    record = store.claim(draft(B1, "x")).record
    assert record is not None
    store.stop_waiting()
    with FileLock(tmp_path / "index.lock"):
        with pytest.raises(CacheError, match="held by another process"):
            store.claim(draft(B2, "y"))
        store.save(record.move(Phase.DEAD))

    assert store.claim(draft(B2, "x")).record is not None
    assert not (tmp_path / "index.spare.lock").exists()


@pytest.mark.thorough
def test_who_wakes_up_with_a_lock_that_was_passed_by_claims_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen between its look at the folder and its own record, it must not believe what it saw."""
    monkeypatch.setattr(locks, "PATIENCE", 0.6)
    monkeypatch.setattr(locks, "LEASE", 0.3)
    sleeper, other = FileStore(str(tmp_path)), FileStore(str(tmp_path))
    refresh = sleeper._records.refresh

    def freeze(lease: locks.Lease | None = None, *, listing: bool = True) -> None:
        refresh(lease, listing=listing)
        if lease is None:
            return
        monkeypatch.setattr(sleeper._records, "refresh", refresh)
        assert other.claim(draft(B2, "x")).record is not None

    monkeypatch.setattr(sleeper._records, "refresh", freeze)
    claim = sleeper.claim(draft(B1, "x", "y"))

    assert claim.record is not None
    assert (claim.record.members, claim.theirs) == (("y",), {"x": B2})
    assert holder(FileStore(str(tmp_path)), "x") == B2


def test_a_disk_that_is_full_during_a_download_is_a_cache_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(str(tmp_path))
    store.claim(draft(B1, "x"))
    with pytest.raises(CacheError, match="Input/output error"), store.sink(B1) as sink:
        sink.write(b"row\n")
        monkeypatch.setattr(os, "fsync", refuse(for_folders_only=False))
        sink.commit()
    monkeypatch.undo()

    assert not store.has_rows(B1)
    assert list((tmp_path / "results").iterdir()) == []


def test_a_write_that_the_system_refuses_is_a_cache_error(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")

    store = FileStore(str(tmp_path))
    store.claim(draft(B1, "x"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(CacheError, match="File too large"), store.sink(B1) as sink:
            sink.write(b"x" * 1_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)

    assert not store.has_rows(B1)
    assert list((tmp_path / "results").iterdir()) == []
