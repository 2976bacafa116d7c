"""Damage costs the batch that it hit, and nothing that was there is lost."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from pathlib import Path

import pytest

from batchling.cache.files import FileStore
from batchling.core.lifecycle import Phase, to_json
from tests.cache.drafts import draft
from tests.cache.ids import B1, B2, B3, holder


def two_batches(folder: Path) -> FileStore:
    store = FileStore(str(folder))
    store.claim(draft(B1, "x"))
    store.claim(draft(B2, "y"))
    return store


def test_every_damaged_version_is_kept(tmp_path: Path) -> None:
    two_batches(tmp_path)
    for document in (b"{one", b"{two", b"{three"):
        (tmp_path / "batches" / f"{B1}.json").write_bytes(document)
        assert FileStore(str(tmp_path)).claim(draft(B3, "y")).theirs == {"y": B2}

    kept = {path.read_bytes() for path in (tmp_path / "batches").glob(f"{B1}.json*damaged")}
    assert kept == {b"{one", b"{two", b"{three"}


@pytest.mark.parametrize("document", [b'{"schema":1,"x":' + b"[" * 200_000, b'{"a":' * 200_000])
def test_a_bottomless_document_is_damage(tmp_path: Path, document: bytes) -> None:
    two_batches(tmp_path)
    (tmp_path / "batches" / f"{B1}.json").write_bytes(document)

    store = FileStore(str(tmp_path))

    assert (holder(store, "x"), holder(store, "y")) == (None, B2)


def test_a_folder_in_the_place_of_a_record_is_damage(tmp_path: Path) -> None:
    two_batches(tmp_path)
    (tmp_path / "batches" / f"{B3}.json").mkdir()

    assert FileStore(str(tmp_path)).claim(draft(B1, "y")).theirs == {"y": B2}
    assert (tmp_path / "batches" / f"{B3}.json.damaged").is_dir()


def test_what_cannot_be_set_aside_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    two_batches(tmp_path)
    damaged = tmp_path / "batches" / f"{B3}.json"
    damaged.write_bytes(b"{")

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(errno.EROFS, "Read-only file system")

    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(Path, "rename", refuse)
        store = FileStore(str(tmp_path))
        assert store.claim(draft(B3, "x")).theirs == {"x": B1}

    assert (holder(store, "x"), holder(store, "y")) == (B1, B2)
    assert caplog.text.count("the file is ignored") == 1
    assert damaged.read_bytes() == b"{"


def test_a_record_that_goes_while_the_folder_is_read_is_gone(tmp_path: Path) -> None:
    store = two_batches(tmp_path)
    record = tmp_path / "batches" / f"{B1}.json"
    record.unlink()
    record.symlink_to(tmp_path / "nowhere")  # is listed, and then cannot be found

    claim = store.claim(draft(B3, "x", "y"))

    assert claim.record is not None
    assert (claim.record.members, claim.theirs) == (("x",), {"y": B2})


def test_a_newer_record_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    two_batches(tmp_path)
    path = tmp_path / "batches" / f"{B1}.json"
    path.write_bytes(path.read_bytes().replace(b'"schema":2', b'"schema":3'))

    store = FileStore(str(tmp_path))
    assert store.load(B1) is None
    assert store.claim(draft(B3, "z")).record is not None
    assert ["is newer than this batchling can read" in record.getMessage() for record in caplog.records] == [True]


def test_a_folder_deleted_under_a_store_is_forgotten_and_made_again(tmp_path: Path) -> None:
    store = two_batches(tmp_path / "store")
    shutil.rmtree(tmp_path / "store")

    assert store.load(B1) is None
    assert (holder(store, "x"), holder(store, "y")) == (None, B2)  # only b1 was asked about
    claim = store.claim(draft(B3, "x", "y"))
    assert claim.record is not None
    assert claim.record.members == ("x", "y")
    assert holder(FileStore(str(tmp_path / "store")), "y") == B3


def test_replaced_rows_are_found_though_time_and_size_are_the_same(tmp_path: Path) -> None:
    store = two_batches(tmp_path)
    path = tmp_path / "results" / f"{B1}.jsonl"
    for rows in (b"a 1\nb 2\n", b"b 4\na 3\n"):
        with store.sink(B1) as sink:
            sink.write(rows)
            sink.commit()
        os.utime(path, ns=(1, 1))
        found = store.find_rows(B1, ["a"], lambda line: line[:1].decode())
        assert found == [rows[rows.index(b"a") :][:3]]


def test_documents_of_other_phases_are_read(tmp_path: Path) -> None:
    store = two_batches(tmp_path)
    record = store.load(B1)
    assert record is not None
    (tmp_path / "batches" / f"{B1}.json").write_bytes(to_json(record.move(Phase.DEAD, reason="said so"), store.seal))

    assert store.load(B1) == record.move(Phase.DEAD, reason="said so")
    assert holder(store, "x") is None
