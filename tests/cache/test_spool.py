"""Rows without a file of their own are not held in memory, whoever keeps them."""

from __future__ import annotations

import errno
import gc
import io
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchling.cache import spool as module
from batchling.cache.files import FileStore
from batchling.cache.memory import MemoryStore
from batchling.cache.rows import SpooledRows
from batchling.cache.spool import NoRoom, Spool
from tests.cache.drafts import draft
from tests.cache.ids import B1

KB = b"x" * 1023 + b"\n"


def filled(size: int) -> Spool:
    spool = Spool()
    for _ in range(size // 1024):
        spool.write(KB)
    return spool


@pytest.mark.thorough
@given(st.lists(st.binary(max_size=40), max_size=30), st.integers(1, 200))
def test_what_was_written_is_read(chunks: list[bytes], most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_IN_MEMORY", most)
        spool = Spool()
        for chunk in chunks:
            spool.write(chunk)
        whole = b"".join(chunks)
        with spool.open() as one, spool.open() as other:
            assert one.readlines() == io.BytesIO(whole).readlines()
            other.seek(len(whole) // 2)
            assert other.read() == whole[len(whole) // 2 :]
            assert other.read() == b""
        spool.close()


def test_much_is_in_a_file_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spool = filled(4 * module.MOST_IN_MEMORY)
    assert len(spool._memory) == 0
    assert os.listdir(tmp_path) == []
    if os.path.isdir("/proc/self/fd"):
        assert spool._file is not None
        assert os.readlink(f"/proc/self/fd/{spool._file.fileno()}").startswith(str(tmp_path))
    spool.close()
    spool.close()


@pytest.mark.thorough
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_reads_at_a_place_of_its_own() -> None:
    spool = Spool()
    lines = [b"%07d\n" % number for number in range(400_000)]
    spool.write(b"".join(lines))
    with spool.open() as file:
        assert file.readline() == lines[0]
        child = os.fork()
        if child == 0:
            with spool.open() as mine:
                os._exit(0 if mine.readlines() == lines else 1)
        rest = file.readlines()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert rest == lines[1:]
    spool.close()


def test_without_room_for_a_file_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr(module, "MOST_WITHOUT_DISK", 3 * module.MOST_IN_MEMORY)
    spool = filled(3 * module.MOST_IN_MEMORY)
    with spool.open() as file:
        assert file.readline() == KB
    with pytest.raises(NoRoom, match=r"No space left on device.*set TMPDIR"):
        spool.write(KB)
    assert len(spool._memory) == 0


def test_a_disk_that_becomes_full_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    spool = filled(2 * module.MOST_IN_MEMORY)
    assert spool._file is not None
    spool._file.close()
    spool._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
    with pytest.raises(NoRoom, match="No space left"):
        spool.write(KB)
    spool.close()


@pytest.mark.parametrize("kind", ["memory", "no results"])
def test_stores_close_what_they_have_spooled(tmp_path: Path, kind: str) -> None:
    gc.collect()  # what earlier tests left open
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    store = MemoryStore() if kind == "memory" else FileStore(str(tmp_path), keep_rows=False)
    store.claim(draft(B1, "x"))
    for commits in (False, True, True):
        with store.sink(B1) as sink:
            for _ in range(2 * module.MOST_IN_MEMORY // 1024):
                sink.write(KB)
            if commits:
                sink.commit()
    assert sum(1 for _ in store.rows(B1)) == 2 * module.MOST_IN_MEMORY // 1024
    store.close()
    assert (len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0) == before


def test_offsets_are_of_the_rows_that_are_there() -> None:
    rows = SpooledRows()
    for text in (b"a 1\nb 2\n", b"b 4\na 3\n"):
        with rows.sink(B1) as sink:
            sink.write(text)
            sink.commit()
        found = rows.find(B1, ["b", "a", "c"], lambda line: line[:1].decode())
        assert list(found) == text.splitlines()
    rows.close()
    assert not rows.exist(B1)
