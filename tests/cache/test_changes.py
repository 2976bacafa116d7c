"""What a claim costs does not grow with the cache, and it misses nothing: whoever changed what, with or without a line in
the log of changes, and whatever became of that log."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from batchling.cache import changes, locks
from batchling.cache.files import FileStore
from batchling.core.lifecycle import Phase, Record, to_json
from batchling.core.model import Job
from batchling.core.seal import Seal
from tests.cache.disk_counts import counted
from tests.cache.drafts import TARGET, draft
from tests.cache.ids import B1, B2, B3, B9


def claimed(store: FileStore, batch_id: str, *keys: str) -> Record:
    record = store.claim(draft(batch_id, *keys)).record
    assert record is not None
    assert record.members == keys
    return record


def older_batchling_writes(folder: Path, record: Record, seal: Seal) -> None:
    """As before there was a log."""
    temporary = folder / "batches" / f"{record.id}.json.01234567.tmp"
    temporary.write_bytes(to_json(record, seal))
    temporary.chmod(0o600)
    temporary.replace(folder / "batches" / f"{record.id}.json")


def two_stores(folder: Path) -> tuple[FileStore, FileStore]:
    """Two processes that know all about each other."""
    one, other = FileStore(str(folder)), FileStore(str(folder))
    claimed(one, B1, "x")
    assert other.claim(draft(B9, "x")).theirs == {"x": B1}
    with counted() as counts:
        assert other.claim(draft(B9, "x")).theirs == {"x": B1}
    assert counts["listings"] == 0
    return one, other


def costs(folder: Path, batches: int) -> dict[str, Counter[str]]:
    """What everything costs in a cache of so many batches, of which another process has written two meanwhile."""
    other = FileStore(str(folder))
    for number in range(batches):
        record = claimed(other, f"{number:024x}", f"k{number}", f"l{number}")
        other.save(record.move(Phase.RUNNING, job=Job(f"j{number}")).move(Phase.ENDED))
    store = FileStore(str(folder))
    found: dict[str, Counter[str]] = {}
    news: list[Record] = []

    def write_news() -> None:
        news.append(claimed(other, f"a{len(news):023x}", f"news {len(news)}"))
        if len(news) > 1:
            other.save(news[-2].move(Phase.RUNNING, job=Job(f"news {len(news)}")))

    mine = claimed(store, B9, "mine")
    work: dict[str, Callable[[], object]] = {
        "claim": lambda: claimed(store, B1, "x"),
        "claim of what others hold": lambda: store.claim(draft(B2, "k0", "l1")),
        "save": lambda: store.save(mine.move(Phase.PLANNED, left_at=1.0)),
        "load": lambda: store.load("0" * 24),
        "lookup": lambda: store.lookup(["k0", "l1", "nobody"]),
        "in_flight": lambda: store.in_flight(TARGET),
        "jobs": store.jobs,
    }
    for name, each in work.items():
        write_news()
        with counted() as found[name]:
            each()
    other.close()
    store.close()
    return found


def test_nothing_grows_with_the_number_of_batches(tmp_path: Path) -> None:
    few, many = costs(tmp_path / "few", 4), costs(tmp_path / "many", 40)

    assert few == many
    assert {name: counts["listings"] for name, counts in few.items()} == dict.fromkeys(few, 0)


def test_what_others_save_is_read_when_it_is_needed(tmp_path: Path) -> None:
    one, other = two_stores(tmp_path)
    records = [claimed(one, f"{number:024x}", f"k{number}") for number in range(5)]
    with counted() as counts:
        claimed(other, B2, "y")
    assert counts["read"] == 5  # what is new
    for record in records:
        one.save(record.move(Phase.DEAD))
    with counted() as counts:
        claimed(other, B3, "z")
    assert (counts["read"], counts["listings"]) == (0, 0)
    with counted() as counts:
        assert claimed(other, B9, "k1", "k3").members == ("k1", "k3")
    assert counts["read"] == 2


def test_an_older_batchling_is_noticed(tmp_path: Path) -> None:
    one, other = two_stores(tmp_path)
    older_batchling_writes(tmp_path, draft(B2, "y"), one.seal)

    assert one.claim(draft(B3, "y")).theirs == {"y": B2}
    with counted() as counts:
        claimed(one, B3, "z")
    assert counts["listings"] == 0
    assert other.claim(draft(B9, "y", "z")).theirs == {"y": B2, "z": B3}


def test_an_older_batchling_is_noticed_though_the_clock_stands_still(tmp_path: Path) -> None:
    """Two changes within a tick of the file system's clock have the same time."""
    one, other = two_stores(tmp_path)
    for number, store in enumerate((one, other, one, other)):
        older_batchling_writes(tmp_path, draft(f"{number:024x}", f"k{number}"), one.seal)
        os.utime(tmp_path / "batches", (2_000_000_000, 2_000_000_000))
        assert store.claim(draft(B9, f"k{number}")).theirs == {f"k{number}": f"{number:024x}"}


def test_a_folder_whose_time_shows_nothing_is_always_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new_file = changes.new_file

    @contextmanager
    def unseen(path: Path) -> Iterator[object]:
        before = path.parent.stat()
        with new_file(path) as made:
            yield made
        os.utime(path.parent, ns=(before.st_atime_ns, before.st_mtime_ns))

    monkeypatch.setattr(changes, "new_file", unseen)
    store = FileStore(str(tmp_path))
    claimed(store, B1, "x")
    before = (tmp_path / "batches").stat()
    older_batchling_writes(tmp_path, draft(B2, "y"), store.seal)
    os.utime(tmp_path / "batches", ns=(before.st_atime_ns, before.st_mtime_ns))

    assert store.claim(draft(B3, "y")).theirs == {"y": B2}


@pytest.mark.parametrize("rest", [b"x", b"\n* 12", b"\n" + B1.encode(), b"\0" * 100, b"\n\n\nrubbish\n", b"\n" * 200])
@pytest.mark.parametrize("after", [False, True], ids=["at the end", "in the middle"])
def test_a_torn_log_hides_nothing(tmp_path: Path, rest: bytes, *, after: bool) -> None:
    one, other = two_stores(tmp_path)
    with (tmp_path / "changes").open("ab") as log:
        log.write(rest)
    if after:
        older_batchling_writes(tmp_path, draft(B2, "y"), one.seal)
    claimed(one, B3, "z")

    assert other.claim(draft(B9, "z")).theirs == {"z": B3}
    assert other.claim(draft(B9, "y")).theirs == ({"y": B2} if after else {})


def remove(log: Path) -> None:
    log.unlink()


def replace_by_folder(log: Path) -> None:
    log.unlink()
    log.mkdir()


def replace_by_link(log: Path) -> None:
    log.rename(log.parent / "results" / "log")
    log.symlink_to(log.parent / "results" / "log")


def empty(log: Path) -> None:
    log.write_bytes(b"")


@pytest.mark.parametrize("spoil", [remove, replace_by_folder, replace_by_link, empty])
def test_a_log_that_is_gone_hides_nothing(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    one, other = two_stores(tmp_path)
    claimed(one, B2, "y")
    spoil(tmp_path / "changes")

    assert other.claim(draft(B9, "y")).theirs == {"y": B2}
    claimed(one, B3, "z")
    assert other.claim(draft(B9, "z")).theirs == {"z": B3}
    assert FileStore(str(tmp_path)).claim(draft(B9, "x", "y", "z")).theirs == {"x": B1, "y": B2, "z": B3}


@pytest.mark.parametrize("name", ["", "batches"])
def test_a_folder_that_is_gone_is_noticed(tmp_path: Path, name: str) -> None:
    one, other = two_stores(tmp_path / "cache")
    shutil.rmtree(tmp_path / "cache" / name)
    claimed(one, B2, "x")

    assert other.claim(draft(B9, "x")).theirs == {"x": B2}


def test_a_record_that_is_removed_by_hand_is_noticed(tmp_path: Path) -> None:
    one, other = two_stores(tmp_path)
    (tmp_path / "batches" / f"{B1}.json").unlink()

    assert claimed(other, B2, "x")
    assert one.claim(draft(B3, "x")).theirs == {"x": B2}


@pytest.mark.parametrize("names", [("batches", "changes"), ("batches",), ("changes",)], ids="+".join)
def test_an_older_copy_that_is_restored_is_noticed(tmp_path: Path, names: tuple[str, ...]) -> None:
    cache, copy = tmp_path / "cache", tmp_path / "copy"
    one, other = two_stores(cache)
    shutil.copytree(cache, copy)  # with its times
    claimed(one, B2, "y")
    assert other.claim(draft(B9, "y")).theirs == {"y": B2}
    (cache / "batches" / f"{B2}.json").unlink()
    for name in names:
        if name == "batches":
            shutil.rmtree(cache / name)
            shutil.copytree(copy / name, cache / name)
        else:
            shutil.copy2(copy / name, cache / name)

    assert claimed(other, B3, "y")
    assert one.claim(draft(B9, "x", "y")).theirs == {"x": B1, "y": B3}


def test_a_shortened_log_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MOST_BYTES", 1_000)
    monkeypatch.setattr(changes, "_KEPT_BYTES", 300)
    one, near = two_stores(tmp_path)
    far = FileStore(str(tmp_path))
    for number in range(60):
        claimed(one, f"{number:024x}", f"k{number}")
        with counted() as counts:
            assert near.claim(draft(B9, f"k{number}")).theirs == {f"k{number}": f"{number:024x}"}
        assert counts["listings"] == 0
        assert (tmp_path / "changes").stat().st_size <= 1_100
    keys = [f"k{number}" for number in range(60)]
    assert far.claim(draft(B9, *keys)).record is None


def test_a_store_that_is_opened_in_the_middle_of_a_change_sees_it(tmp_path: Path) -> None:
    one, _ = two_stores(tmp_path)
    with one._index_lock.held() as lease, one._records.staged(draft(B2, "y"), one.seal) as staged:
        with one._records.changing(B2, lease):
            late = FileStore(str(tmp_path))
            late.jobs()
            one._records.put(staged)

    assert late.claim(draft(B9, "y")).theirs == {"y": B2}


def test_a_save_goes_on_without_the_lock_and_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_MOMENT", 0.01)
    one, other = two_stores(tmp_path)
    record = one.load(B1)
    assert record is not None
    with FileLock(tmp_path / "index.lock"):
        one.save(record.move(Phase.DEAD))

    assert other.jobs() == frozenset()
    assert claimed(other, B2, "x")


def test_who_saves_does_not_skip_what_others_wrote(tmp_path: Path) -> None:
    one, other = two_stores(tmp_path)
    claimed(other, B2, "y")
    record = one.load(B1)
    assert record is not None
    one.save(record.move(Phase.PLANNED, left_at=1.0))

    assert one.claim(draft(B9, "y")).theirs == {"y": B2}


def test_a_save_without_the_lock_in_the_middle_of_a_claim_is_noticed(tmp_path: Path) -> None:
    one, other = two_stores(tmp_path)
    record = one.load(B1)
    assert record is not None
    with (
        one._records.staged(record.move(Phase.RUNNING, job=Job("j")), one.seal) as saved,
        other._index_lock.held() as lease,
        other._records.staged(draft(B2, "y"), one.seal) as staged,
    ):
        late = FileStore(str(tmp_path))
        with other._records.changing(B2, lease):
            with one._records.changing(B1, None):
                one._records.put(saved)
            other._records.put(staged)

    assert late.jobs() == {"j"}


def test_who_changes_something_after_a_long_sleep_vouches_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Suspended in the middle of a save, while others stopped waiting for the lock."""
    one, other = two_stores(tmp_path)
    record = one.load(B1)
    assert record is not None
    put = one._records.put

    def put_late(staged: object) -> None:
        older_batchling_writes(tmp_path, draft(B2, "y"), one.seal)
        monkeypatch.setattr(locks, "LEASE", -1.0)
        put(staged)  # type: ignore[arg-type]

    monkeypatch.setattr(one._records, "put", put_late)
    one.save(record.move(Phase.RUNNING, job=Job("j")))
    monkeypatch.undo()

    assert other.claim(draft(B9, "y")).theirs == {"y": B2}


def test_the_first_claim_tidies_up_what_was_found_at_the_beginning(tmp_path: Path) -> None:
    two_stores(tmp_path)
    batches = tmp_path / "batches"
    before = batches.stat()
    killed = (batches / f"{B2}.json.00000000.tmp", tmp_path / f"{B2}.json.00000001.tmp")
    for path in killed:
        path.touch()
        os.utime(path, (1, 1))
    young = tmp_path / f"{B3}.json.00000000.tmp"
    young.touch()
    damaged = batches / f"{B1}.json"
    damaged.write_bytes(b"{")
    os.utime(batches, ns=(before.st_atime_ns, before.st_mtime_ns))

    store = FileStore(str(tmp_path))
    assert damaged.exists()
    with counted() as counts:
        claimed(store, B9, "x")
    assert counts["listings"] == 0
    assert [path.exists() for path in (damaged, *killed, young)] == [False, False, False, True]
    assert (batches / f"{B1}.json.damaged").read_bytes() == b"{"
