"""A cache that breaks under a run: a clear warning, the run goes on, nothing is lost."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from batchling.cache import locks
from batchling.cache.files import FileStore
from batchling.cache.folder import Folder
from batchling.cache.records import RecordFiles
from batchling.core.lifecycle import Phase
from batchling.testing import ProviderServer
from tests.engine.calls import ask, ask_all, gather, scope, together
from tests.engine.open_scope import batcher
from tests.faults.refused_writes import Refusal
from tests.patience import be_patient
from tests.waiting import wait_for_poll, wait_until, wait_until_async

TEXTS = ["a", "b", "c"]


def statuses(server: ProviderServer, **options: object) -> list[int]:
    with scope(server, **{**together(3), "batch_poll_interval_seconds": 0.01, **options}):
        return [answer.status_code for answer in ask_all(server, TEXTS)]


def test_a_cache_that_cannot_be_written_at_all(
    provider_server: ProviderServer,
    batchling_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Refusal(monkeypatch, batchling_cache, errno.EROFS):
        assert statuses(provider_server) == [200] * 3

    assert "Read-only file system" in caplog.text
    assert "these requests go on uncached" in caplog.text
    assert "Set BATCHLING_CACHE_DIR to another folder" in caplog.text
    assert not batchling_cache.exists()
    assert len(provider_server.billed()) == 3


def test_what_a_read_only_cache_holds_is_used(
    provider_server: ProviderServer, batchling_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses(provider_server)
    calls = len(provider_server.calls())
    with Refusal(monkeypatch, batchling_cache, errno.EROFS):
        assert statuses(provider_server) == [200] * 3

    assert len(provider_server.calls()) == calls


def test_a_job_that_a_read_only_cache_knows_is_watched_and_not_bought_again(
    provider_server: ProviderServer, batchling_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider_server.hold()
    with pytest.raises(RuntimeError), scope(provider_server, **together(3)):
        threading.Thread(target=ask_all, args=(provider_server, TEXTS), daemon=True).start()
        wait_for_poll(provider_server)
        raise RuntimeError
    provider_server.release()
    with Refusal(monkeypatch, batchling_cache, errno.EROFS):
        assert statuses(provider_server) == [200] * 3

    assert len(provider_server.creates()) == 1
    assert len(provider_server.billed()) == 3


@pytest.mark.thorough
def test_a_disk_that_becomes_full_at_any_write(
    provider_server: ProviderServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once a claim is on the disk, its requests are paid once, however much of the rest could not be written."""
    be_patient(monkeypatch, listing=0.05)
    first = asked = 0
    cached = 0
    while first <= asked:
        with ProviderServer() as server:
            folder = tmp_path / f"cache-{first}"
            monkeypatch.setenv("BATCHLING_CACHE_DIR", str(folder))
            caplog.clear()
            with Refusal(monkeypatch, folder, errno.ENOSPC, first) as refusal:
                assert statuses(server) == [200] * 3, f"full from write {first} on"
            asked = refusal.asked
            assert (asked <= first) != ("No space left on device" in caplog.text)
            claimed = any(folder.glob("batches/*.json"))
            cached += claimed
            assert len(server.billed()) == 3
            assert statuses(server) == [200] * 3
            assert len(server.billed()) == (3 if claimed else 6)
            assert not any(folder.rglob("*.tmp"))
        first += 1
    assert cached > 5


@pytest.mark.filterwarnings("ignore:flock not supported")  # newer versions of filelock have a way out of their own
def test_a_file_system_without_locks(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert statuses(provider_server) == [200] * 3
    assert len(provider_server.billed()) == 3


HOLDER = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.thorough
def test_a_lock_that_a_frozen_process_holds(
    provider_server: ProviderServer,
    batchling_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.4)
    monkeypatch.setattr(locks, "_WORTH_A_WARNING", 0.1)
    monkeypatch.setattr(locks, "_STEP", 0.1)
    batchling_cache.mkdir()
    command = [sys.executable, "-c", HOLDER, str(batchling_cache / "index.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGSTOP)
        try:
            assert statuses(provider_server) == [200] * 3
            assert statuses(provider_server) == [200] * 3
        finally:
            holder.kill()

    assert "index.lock, held by another process (is it suspended?)" in caplog.text
    assert len(provider_server.billed()) == 3


def test_foreign_newer_and_broken_files_in_the_folder(
    provider_server: ProviderServer, batchling_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Folder(str(batchling_cache)).prepare("batches")
    newer, torn, foreign, folded = (batchling_cache / "batches" / f"{n:024x}.json" for n in range(4))
    newer.write_text('{"schema": 99}')
    torn.write_text('{"schema": 1, "record": {"id": "2to')
    foreign.write_bytes(b"\x80\x04\x95")
    folded.mkdir()
    (batchling_cache / "batches" / "notes.txt").write_text("mine")

    assert statuses(provider_server) == [200] * 3
    assert statuses(provider_server) == [200] * 3
    assert len(provider_server.billed()) == 3
    assert newer.exists()
    assert (batchling_cache / "batches" / "notes.txt").exists()
    assert caplog.text.count("is left alone") == 2
    assert "set aside as .damaged" in caplog.text
    assert [each.exists() for each in (torn, foreign, folded)] == [False] * 3


def test_a_cache_without_results_holds_no_answer(provider_server: ProviderServer, batchling_cache: Path) -> None:
    def answers() -> set[str]:
        with scope(provider_server, cache="no-results", **together(3)):
            return {answer.json()["choices"][0]["message"]["content"] for answer in ask_all(provider_server, TEXTS)}

    first = answers()
    stored = b"".join(path.read_bytes() for path in batchling_cache.rglob("*") if path.is_file())
    assert len(FileStore(str(batchling_cache)).jobs()) == 1
    assert not any(text.encode() in stored for text in first)
    assert not any((batchling_cache / "results").iterdir())
    assert answers() == first
    assert len(provider_server.creates()) == 1
    assert len(provider_server.calls("GET", "/content")) == 2


@pytest.mark.thorough
def test_a_batch_that_cannot_be_read_is_not_bought_again(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk with a bad block under a record: it is tried for a while, and then told."""
    statuses(provider_server)
    load = RecordFiles.read
    failing = [3]

    def unreadable(store: RecordFiles, batch_id: str) -> Any:
        if failing[0]:
            failing[0] -= 1
            raise OSError(errno.EIO, "Input/output error")
        return load(store, batch_id)

    be_patient(monkeypatch, follow=0.01)
    with scope(provider_server):
        monkeypatch.setattr(FileStore, "has_rows", lambda *_: False)
        monkeypatch.setattr(RecordFiles, "read", unreadable)
        assert ask(provider_server, "a").status_code == 200
    be_patient(monkeypatch, disk=0.1)
    with scope(provider_server):
        failing[0] = 10**9
        told = ask(provider_server, "b")
    assert told.status_code == 424
    assert "Input/output error" in told.text
    assert "The batch is kept: run again" in told.text
    assert len(provider_server.creates()) == 1


@pytest.mark.thorough
def test_results_that_are_stored_while_somebody_looks_are_not_taken_for_damaged(
    provider_server: ProviderServer,
    batchling_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The driver stores rows and record between a follower's two looks."""
    provider_server.hold()
    with pytest.raises(RuntimeError), scope(provider_server):
        threading.Thread(target=ask, args=(provider_server, "x"), daemon=True).start()
        wait_for_poll(provider_server)
        raise RuntimeError
    provider_server.release()
    other = FileStore(str(batchling_cache))
    (path,) = batchling_cache.glob("batches/*.json")
    record = other.load(path.stem)
    assert record is not None
    assert record.job is not None
    assert other.drive(record.id)
    headers = {"authorization": "Bearer sk-1"}
    job = httpx.get(f"{provider_server.openai_url}/batches/{record.job.id}", headers=headers).json()
    content = f"{provider_server.openai_url}/files/{job['output_file_id']}/content"
    rows = httpx.get(content, headers=headers).content
    load = FileStore.load
    finished: list[str] = []

    def finish_first(store: FileStore, batch_id: str) -> Any:
        if store is not other and not finished:
            finished.append(batch_id)
            with other.sink(batch_id) as sink:
                sink.write(rows)
                sink.commit()
            other.save(record.move(Phase.ENDED))
        return load(store, batch_id)

    monkeypatch.setattr(FileStore, "load", finish_first)
    with scope(provider_server):
        assert ask(provider_server, "x").status_code == 200
    other.close()

    assert finished
    assert "damaged" not in caplog.text
    assert len(provider_server.calls("GET", "/content")) == 1


@pytest.mark.thorough
def test_whoever_gives_up_while_results_are_looked_at_damages_nothing(
    provider_server: ProviderServer,
    batchling_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with scope(provider_server):
        ask(provider_server, "x")
    has_rows = FileStore.has_rows
    looks: list[str] = []

    async def give_up() -> None:
        with scope(provider_server):
            gate = batcher()
            loop = asyncio.get_running_loop()
            caller = asyncio.ensure_future(gather(provider_server, ["x"]))

            def look(store: FileStore, batch_id: str) -> bool:
                looks.append(batch_id)
                if len(looks) == 1:
                    return False  # another process is about to store them
                loop.call_soon_threadsafe(caller.cancel)
                wait_until(lambda: not gate._callers, "nobody waits for the answer any more")
                return has_rows(store, batch_id)

            monkeypatch.setattr(FileStore, "has_rows", look)
            with pytest.raises(asyncio.CancelledError):
                await caller
            await wait_until_async(lambda: gate.waits_for() == "nothing", "the tasks of the scope are over")

    asyncio.run(give_up())

    assert len(looks) >= 2
    assert "damaged" not in caplog.text
    assert len(list(batchling_cache.glob("results/*.jsonl"))) == 1
