"""A forked child and the drive locks of its parent. Each case is a program of its own: in pytest's process, a child
that ends like any program would run the rest of the test session a second time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from batchling.cache.files import FileStore
from tests.cache.ids import B1, B2

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

FORK = """
import os, sys
from batchling.cache.files import FileStore
from tests.cache.ids import B1, B2
from tests.cache.drafts import draft
store = FileStore(sys.argv[1])
store.claim(draft(B1, "x"))
child = os.fork()
if child == 0:
    store.after_fork()
"""

ENDS_LIKE_A_PROGRAM = """
    store.close()
    sys.exit()
os.waitpid(child, 0)
print("waited", flush=True)
sys.stdin.readline()
"""

OUTLIVES_ITS_PARENT = """
    print(store.drive(B1), flush=True)
    sys.stdin.readline()
    os._exit(0)
os.waitpid(child, 0)
"""

DRIVES_A_BATCH_OF_ITS_OWN = """
    print(store.claim(draft(B2, "x", "y")), flush=True)
    sys.stdin.readline()
    os._exit(0)
os.waitpid(child, 0)
"""


def start(folder: Path, child: str) -> subprocess.Popen[str]:
    # Python 3.12 and later warn about fork in a process with threads.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK + child, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def line_of(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    return program.stdout.readline()


@pytest.mark.thorough
def test_a_child_that_ends_leaves_the_parents_lock_alone(tmp_path: Path) -> None:
    with start(tmp_path, ENDS_LIKE_A_PROGRAM) as program:
        assert line_of(program) == "waited\n"

        assert not FileStore(str(tmp_path)).drive(B1)
        program.communicate("\n", timeout=10)
        assert FileStore(str(tmp_path)).drive(B1)


@pytest.mark.thorough
def test_a_child_does_not_keep_the_lock_of_a_dead_parent(tmp_path: Path) -> None:
    with start(tmp_path, OUTLIVES_ITS_PARENT) as program:
        assert line_of(program) == "False\n"
        other = FileStore(str(tmp_path))
        assert not other.drive(B1)

        program.kill()
        program.wait()

        assert other.drive(B1)
        program.communicate("\n", timeout=10)


@pytest.mark.thorough
def test_a_child_claims_and_drives_on_its_own(tmp_path: Path) -> None:
    with start(tmp_path, DRIVES_A_BATCH_OF_ITS_OWN) as program:
        claim = line_of(program)

        assert "members=('y',)" in claim
        assert f"theirs={{'x': '{B1}'}}" in claim
        other = FileStore(str(tmp_path))
        assert (other.drive(B1), other.drive(B2)) == (False, False)
        program.communicate("\n", timeout=10)
        assert (other.drive(B1), other.drive(B2)) == (True, True)
