"""What every store promises."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batchling.cache import Store
from batchling.cache.files import FileStore
from batchling.cache.memory import MemoryStore
from batchling.core.lifecycle import Phase
from batchling.core.model import Job
from tests.cache.drafts import draft
from tests.cache.ids import B1, B2, B3, holder


@pytest.fixture(params=["files", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return FileStore(str(tmp_path / "store")) if request.param == "files" else MemoryStore()


def key_of(line: bytes) -> str:
    return str(json.loads(line)["k"])


def test_a_key_has_one_holder(store: Store) -> None:
    first = store.claim(draft(B1, "x", "y"))
    second = store.claim(draft(B2, "y", "z"))
    third = store.claim(draft(B3, "x"))

    assert first.record is not None
    assert (first.record.members, first.theirs) == (("x", "y"), {})
    assert second.record is not None
    assert (second.record.members, second.theirs) == (("z",), {"y": B1})
    assert (third.record, third.theirs) == (None, {"x": B1})
    assert [holder(store, key) for key in "xyz?"] == [B1, B1, B2, None]
    assert store.load(B3) is None


def test_a_saved_record_comes_back(store: Store) -> None:
    record = store.claim(draft(B1, "x", "y")).record
    assert record is not None
    moved = record.move(Phase.RUNNING, job=Job("j1", {"input_file_id": "f"}))
    store.save(moved)

    assert store.load(B1) == moved


def test_freed_and_dead_keys_can_be_claimed_again(store: Store) -> None:
    record = store.claim(draft(B1, "x", "y")).record
    assert record is not None
    ended = record.move(Phase.RUNNING, job=Job("j")).move(Phase.ENDED, freed=frozenset({"y"}))
    store.save(ended)
    assert (holder(store, "x"), holder(store, "y")) == (B1, None)
    again = store.claim(draft(B2, "y")).record
    assert again is not None

    store.save(ended.move(Phase.DEAD))
    assert (holder(store, "x"), holder(store, "y")) == (None, B2)


def test_rows_appear_when_they_are_committed(store: Store) -> None:
    store.claim(draft(B1, "x"))
    with store.sink(B1) as sink:
        sink.write(b'{"k": "x"}\n')
    assert not store.has_rows(B1)
    with pytest.raises(LookupError), store.sink(B1) as sink:
        sink.write(b"half")
        raise LookupError
    assert not store.has_rows(B1)

    with store.sink(B1) as sink:
        sink.write(b'{"k": "x", "t": "\xe2\x80\xa8')
        sink.write(b'\xc2\x85"}\r\n\n{"k": "y"}\n{"k": ')
        sink.write(b'"z"}')
        sink.commit()
    assert store.has_rows(B1)
    lines = list(store.rows(B1))
    assert [key_of(line) for line in lines] == ["x", "y", "z"]
    assert json.loads(lines[0])["t"] == "\u2028\x85"


def test_rows_are_kept_when_all_who_may_ask_find_them(store: Store, tmp_path: Path) -> None:
    brief = FileStore(str(tmp_path / "brief"), keep_rows=False)
    for each, kept in ((store, True), (brief, False)):
        each.claim(draft(B1, "x"))
        assert not each.keeps(B1)
        with each.sink(B1) as sink:
            sink.write(b'{"k": "x"}')
            sink.commit()
        assert each.has_rows(B1)
        assert each.keeps(B1) == kept
    brief.close()


def test_a_fault_of_the_one_who_writes_rows_stays_what_it_is(store: Store) -> None:
    store.claim(draft(B1, "x"))

    with pytest.raises(ConnectionResetError), store.sink(B1) as sink:
        sink.write(b"half")
        raise ConnectionResetError
    assert not store.has_rows(B1)


def test_rows_are_found_by_key(store: Store) -> None:
    store.claim(draft(B1, "x"))
    with store.sink(B1) as sink:
        sink.write(b"".join(b'{"k": "%d", "v": "%d"}\n' % (n, n * n) for n in range(100)))
        sink.commit()
    asked: list[bytes] = []

    def counted(line: bytes) -> str:
        asked.append(line)
        return key_of(line)

    found = store.find_rows(B1, ["7", "99", "nobody"], counted)
    assert {key_of(line): json.loads(line)["v"] for line in found} == {"7": "49", "99": "9801"}
    if isinstance(store, FileStore):
        assert [key_of(line) for line in store.find_rows(B1, ["3"], counted)] == ["3"]
        assert len(asked) == 100


def test_driving_and_closing(store: Store) -> None:
    store.claim(draft(B1, "x"))

    assert store.drive(B1)
    store.release(B1)
    store.release(B1)
    assert store.drive(B1)
    store.close()
    store.close()
