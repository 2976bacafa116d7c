"""Run by `tox -e reproducible`: builds wheel and source distribution twice, in places that differ in all that may show,
and compares the bytes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
WAYS = (
    (0o022, {"TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "1"}, 1_600_000_000),
    (0o077, {"TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "2"}, 1_700_000_000),
)
"""Umask, environment, and when the files were written."""
_LEFT_OUT = shutil.ignore_patterns(".git", ".tox", ".venv", "__pycache__", ".*_cache", ".hypothesis", "build", "dist")


def built(folder: Path, umask: int, environment: dict[str, str], written: int) -> dict[str, str]:
    """The digests of what is built from a copy of the checkout."""
    before = os.umask(umask)
    try:
        # Not with the modes of the checkout: `copyfile` makes them by the umask.
        shutil.copytree(ROOT, folder / "checkout", ignore=_LEFT_OUT, copy_function=shutil.copyfile)
        for copy in (folder / "checkout").rglob("*"):
            os.utime(copy, (written, written))
        command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder / "dist")]
        variables = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
        subprocess.run(
            command, cwd=folder / "checkout", env={**variables, **environment}, check=True, stdout=subprocess.DEVNULL
        )
    finally:
        os.umask(before)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((folder / "dist").iterdir())}


folders = [Path(tempfile.mkdtemp(prefix=f"build-{number}-")) for number in range(len(WAYS))]
try:
    first, second = (built(folder, *way) for folder, way in zip(folders, WAYS, strict=True))
finally:
    for each in folders:
        shutil.rmtree(each)
assert len(first) == 2, first
assert first == second, f"the two builds differ: {first} {second}"
for name, digest in first.items():
    print(f"sha256 {digest}  {name}")
print("1 passed, 0 failed")
