"""A writer that is killed in the middle leaves what was there before, and no lock."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from batchling.cache.files import FileStore
from batchling.core.lifecycle import Phase
from tests.cache.drafts import draft
from tests.cache.ids import B1, B2, B3, B9, holder

WRITER = """
import os, sys
from batchling.cache.files import FileStore
from batchling.core.lifecycle import Phase
from tests.cache.ids import B2
from tests.cache.drafts import draft
store = FileStore(sys.argv[1])
def stop(*ignored):
    print("half-way", flush=True)
    sys.stdin.readline()
"""

IN_A_CLAIM = """
os.fsync = stop
store.claim(draft(B2, "y"))
"""

BEFORE_THE_RECORD = """
from batchling.cache.records import RecordFiles
RecordFiles.put = stop
store.claim(draft(B2, "y"))
"""

AFTER_THE_RECORD = """
put, store._records.put = store._records.put, lambda staged: (put(staged), stop())
store.claim(draft(B2, "y"))
"""

IN_A_SAVE = """
record = store.claim(draft(B2, "y")).record
os.fsync = stop
store.save(record.move(Phase.DEAD))
"""

IN_A_DOWNLOAD = """
store.claim(draft(B2, "y"))
with store.sink(B2) as sink:
    sink.write(b"row" * 100_000)
    stop()
"""


def killed_half_way(folder: Path, how: str) -> None:
    command = [sys.executable, "-c", WRITER + how, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, env=environment) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "half-way\n"
        writer.kill()


@pytest.mark.thorough
def test_killed_in_a_claim(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path))
    store.claim(draft(B1, "x"))
    killed_half_way(tmp_path, IN_A_CLAIM)

    claim = store.claim(draft(B3, "x", "y"))

    assert claim.record is not None
    assert (claim.record.members, claim.theirs) == (("y",), {"x": B1})
    assert FileStore(str(tmp_path)).load(B2) is None


@pytest.mark.thorough
@pytest.mark.parametrize("when", [BEFORE_THE_RECORD, AFTER_THE_RECORD], ids=["before", "after"])
def test_killed_beside_the_record(tmp_path: Path, when: str) -> None:
    """A record that its writer could not log any more is found all the same."""
    store = FileStore(str(tmp_path))
    store.claim(draft(B1, "x"))
    killed_half_way(tmp_path, when)

    claim = store.claim(draft(B3, "x", "y", "z"))

    assert claim.record is not None
    free, held = (("y", "z"), {"x": B1}) if when is BEFORE_THE_RECORD else (("z",), {"x": B1, "y": B2})
    assert (claim.record.members, claim.theirs) == (free, held)
    assert FileStore(str(tmp_path)).claim(draft(B9, "z")).theirs == {"z": B3}


@pytest.mark.thorough
def test_killed_in_a_save(tmp_path: Path) -> None:
    killed_half_way(tmp_path, IN_A_SAVE)

    store = FileStore(str(tmp_path))

    record = store.load(B2)
    assert record is not None
    assert (record.phase, holder(store, "y")) == (Phase.PLANNED, B2)
    assert store.drive(B2)


@pytest.mark.thorough
def test_killed_in_a_download(tmp_path: Path) -> None:
    killed_half_way(tmp_path, IN_A_DOWNLOAD)

    store = FileStore(str(tmp_path))

    assert not store.has_rows(B2)
    assert store.drive(B2)
    with store.sink(B2) as sink:
        sink.write(b"whole\n")
        sink.commit()
    assert list(store.rows(B2)) == [b"whole"]
