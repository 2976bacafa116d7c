"""The hazards of files: several processes, killed writers, damage, permissions."""

from __future__ import annotations

import logging
import os
import signal
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from batchling.cache.durable import replace_file
from batchling.cache.files import FileStore
from batchling.core.lifecycle import Phase, Record, to_json
from batchling.core.model import Job
from batchling.errors import CacheError
from tests.cache.drafts import TARGET, draft
from tests.cache.ids import B1, B2, B3, holder


def test_looking_writes_nothing(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path / "none"))

    assert holder(store, "x") is None
    assert store.load(B1) is None
    assert not (tmp_path / "none").exists()


def test_a_later_store_knows_what_an_earlier_one_wrote(tmp_path: Path) -> None:
    FileStore(str(tmp_path)).claim(draft(B1, "x"))

    assert holder(FileStore(str(tmp_path)), "x") == B1


def test_a_drive_lock_excludes_others_also_in_one_process(tmp_path: Path) -> None:
    one, other = FileStore(str(tmp_path)), FileStore(str(tmp_path))
    one.claim(draft(B1, "x"))

    assert not other.drive(B1)
    one.release(B1)
    assert other.drive(B1)
    assert not one.drive(B1)


def test_load_refreshes_what_lookup_knows(tmp_path: Path) -> None:
    one, other = FileStore(str(tmp_path)), FileStore(str(tmp_path))
    record = one.claim(draft(B1, "x")).record
    assert record is not None
    assert other.claim(draft(B2, "x")).theirs == {"x": B1}
    one.save(record.move(Phase.DEAD))

    assert holder(other, "x") == B1
    other.load(B1)
    assert holder(other, "x") is None


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_modes_do_not_depend_on_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        store = FileStore(str(tmp_path / "deep" / "store"))
        store.claim(draft(B1, "x"))
        with store.sink(B1) as sink:
            sink.commit()
    finally:
        os.umask(before)
        for folder, *_ in os.walk(tmp_path):
            Path(folder).chmod(0o700)
    folder = tmp_path / "deep" / "store"
    modes = {p.relative_to(folder).as_posix(): stat.S_IMODE(p.stat().st_mode) for p in folder.rglob("*")}
    assert {mode for name, mode in modes.items() if (folder / name).is_dir()} == {0o700}
    assert {mode for name, mode in modes.items() if name.endswith(("json", "jsonl"))} == {0o600}
    assert {mode & 0o077 for mode in modes.values()} == {0}


@pytest.mark.parametrize("document", [b"", b"{", b'{"schema": 1}', b'{"schema": 1, "record": {"id": 7}}', b"\xff\xfe"])
def test_a_damaged_record_costs_one_batch_and_is_set_aside(
    tmp_path: Path, document: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    FileStore(str(tmp_path)).claim(draft(B1, "x"))
    FileStore(str(tmp_path)).claim(draft(B2, "y"))
    (tmp_path / "batches" / f"{B1}.json").write_bytes(document)

    with caplog.at_level(logging.WARNING):
        store = FileStore(str(tmp_path))

    assert (holder(store, "x"), holder(store, "y")) == (None, B2)
    assert "the file is ignored" in caplog.text
    assert (tmp_path / "batches" / f"{B1}.json").read_bytes() == document
    store.claim(draft(B3, "z"))
    assert (tmp_path / "batches" / f"{B1}.json.damaged").read_bytes() == document
    assert "set aside" in caplog.text


def test_a_newer_record_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    FileStore(str(tmp_path)).claim(draft(B1, "x"))
    path = tmp_path / "batches" / f"{B1}.json"
    path.write_bytes(path.read_bytes().replace(b'"schema":2', b'"schema":3'))

    assert holder(FileStore(str(tmp_path)), "x") is None
    assert path.exists()
    assert "newer" in caplog.text


def test_a_record_of_another_name_is_not_believed(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path))
    store.claim(draft(B1, "x"))
    replace_file(tmp_path / "batches" / f"{B2}.json", to_json(draft(B1, "y"), store.seal))

    assert holder(FileStore(str(tmp_path)), "y") is None


@pytest.mark.parametrize("batch_id", ["../x", "a/b", "", "A", "x" * 24, "0" * 23, "0" * 25, "F" * 24, "."])
def test_an_id_cannot_leave_the_folder(tmp_path: Path, batch_id: str) -> None:
    store = FileStore(str(tmp_path))
    for use in (store.load, store.drive, store.has_rows):
        with pytest.raises(ValueError, match="batch id"):
            use(batch_id)


def test_what_the_system_refuses_is_a_cache_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileStore(str(tmp_path))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CacheError, match="No space left"):
        store.claim(draft(B1, "x"))
    monkeypatch.undo()
    assert list((tmp_path / "batches").glob("*.tmp")) == []
    assert holder(FileStore(str(tmp_path)), "x") is None


DRIVER = """
import sys, time
from batchling.cache.files import FileStore
from tests.cache.drafts import TARGET, draft
store = FileStore(sys.argv[1])
claim = store.claim(draft(sys.argv[2], *sys.argv[3:]))
print(sorted(claim.record.members) if claim.record else [], flush=True)
sys.stdin.readline()
"""


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", DRIVER, str(folder), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.thorough
def test_processes_divide_the_keys(tmp_path: Path) -> None:
    keys = [f"k{n}" for n in range(40)]
    processes = [start(tmp_path, f"{n:024x}", *keys) for n in range(4)]
    claimed = [line_of(process) for process in processes]
    for process in processes:
        process.communicate("\n", timeout=10)

    assert sorted(claimed, key=len) == ["[]\n"] * 3 + [f"{sorted(keys)}\n"]


@pytest.mark.thorough
def test_the_lock_of_a_killed_driver_is_free(tmp_path: Path) -> None:
    process = start(tmp_path, B1, "x")
    assert line_of(process) == "['x']\n"
    store = FileStore(str(tmp_path))
    assert not store.drive(B1)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    assert store.drive(B1)
    record = store.load(B1)
    assert record is not None
    assert record.phase is Phase.PLANNED


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_neither_holds_nor_frees_the_parents_locks(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path))
    store.claim(draft(B1, "x"))
    child = os.fork()
    if child == 0:
        store.after_fork()
        thinks = store.drive(B1)
        store.close()
        os._exit(10 + thinks)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 10

    assert not FileStore(str(tmp_path)).drive(B1)
    store.close()
    assert FileStore(str(tmp_path)).drive(B1)


KEYS = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True)


class TwoStores(RuleBasedStateMachine):
    """Any interleaving of two processes on one folder, with an older batchling beside them and a log that is damaged at
    any time: a key is held by one live record at most, and a claim knows it."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.stores = [FileStore(self.folder.name), FileStore(self.folder.name)]
        self.records: list[dict[str, Record]] = [{}, {}, {}]
        self.count = 0

    def teardown(self) -> None:
        for store in self.stores:
            store.close()
        self.folder.cleanup()

    @rule(who=st.integers(0, 1), keys=KEYS)
    def claim(self, who: int, keys: list[str]) -> None:
        self.count += 1
        holders = {key: record.id for each in self.records for record in each.values() for key in record.holds}
        claim = self.stores[who].claim(draft(f"{self.count:024x}", *keys))
        assert claim.theirs == {key: holders[key] for key in keys if key in holders}
        assert set(claim.theirs) | set(claim.record.members if claim.record else ()) == set(keys)
        if claim.record:
            self.records[who][claim.record.id] = claim.record

    @rule(who=st.integers(0, 1), data=st.data(), phase=st.sampled_from(Phase))
    def move(self, who: int, data: st.DataObject, phase: Phase) -> None:
        from batchling.core.lifecycle import MOVES

        movable = [record for record in self.records[who].values() if phase in MOVES[record.phase]]
        if movable:
            record = data.draw(st.sampled_from(movable))
            freed = frozenset(record.members[:1]) if phase is Phase.ENDED else record.freed
            self.records[who][record.id] = record = record.move(phase, job=Job("j"), freed=freed)
            self.stores[who].save(record)

    @rule(keys=KEYS)
    def older_batchling_claims(self, keys: list[str]) -> None:
        """As it did before there was a log of changes, with the same lock."""
        self.count += 1
        free = [
            key for key in keys if all(key not in record.holds for each in self.records for record in each.values())
        ]
        if free and self.count > 1 and (Path(self.folder.name) / "secret").exists():
            record = draft(f"{self.count:024x}", *free)
            path = Path(self.folder.name) / "batches" / f"{record.id}.json"
            path.parent.mkdir(mode=0o700, exist_ok=True)
            replace_file(path, to_json(record, self.stores[0].seal))
            self.records[2][record.id] = record

    @rule(damage=st.sampled_from([b"", b"x", b"\n* 1000000000\n", None]))
    def log_is_damaged(self, damage: bytes | None) -> None:
        log = Path(self.folder.name) / "changes"
        if damage is None:
            log.unlink(missing_ok=True)
        elif log.exists():
            log.write_bytes(log.read_bytes() + damage if damage else b"")

    @rule(who=st.integers(0, 1))
    def look(self, who: int) -> None:
        live = [record for each in self.records for record in each.values() if record.phase is not Phase.DEAD]
        assert {record.id for record in self.stores[who].records() if record.phase is not Phase.DEAD} == {
            record.id for record in live
        }
        under_way = {record.id for record in live if record.phase is Phase.RUNNING}
        assert self.stores[who].in_flight(TARGET) == under_way

    @rule(who=st.integers(0, 1))
    def restart(self, who: int) -> None:
        self.stores[who].close()
        self.stores[who] = FileStore(self.folder.name)

    @invariant()
    def one_holder(self) -> None:
        held = [key for records in self.records for record in records.values() for key in record.holds]
        assert len(held) == len(set(held))
        fresh = FileStore(self.folder.name)
        assert {key for key in "abcdef" if holder(fresh, key)} == set(held)


TestTwoStores = TwoStores.TestCase
TestTwoStores.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)


def test_callers_that_come_at_once_name_an_account_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a dry run, which writes no secret: one caller makes one up while another asks."""
    store = FileStore(str(tmp_path / "new"), look=True)
    inside, leave = threading.Event(), threading.Event()
    made = iter((b"1" * 32, b"2" * 32))

    def slow(_: int) -> bytes:
        secret = next(made)
        if secret == b"1" * 32:
            inside.set()
            leave.wait(20)
        return secret

    monkeypatch.setattr("batchling.cache.files.secrets.token_bytes", slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(lambda: store.seal.secret)
        inside.wait(20)
        second = pool.submit(lambda: store.seal.secret)
        wait([second], timeout=0.2)  # a second secret would be there at once
        leave.set()
        assert first.result(20) == second.result(20) == store.seal.secret
