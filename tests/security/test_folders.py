"""A folder is ours by its mark, and nothing in it is touched but files of the names that we make."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from batchling import batchify, jobs
from batchling.cache.files import FileStore
from batchling.cache.folder import Folder, RefusedFolder
from batchling.cache.footprints import Footprints
from batchling.cache.layout import MARK, SECRET
from batchling.errors import CacheError
from batchling.testing import ProviderServer
from tests.cache.drafts import draft
from tests.cache.ids import B1, B2, holder
from tests.engine.calls import ask_all, scope, together

FOREIGN = {"results/run42.jsonl": "mine\n", "batches/plan.json": "{}", "batches/part.1.tmp": "x", "package.json": "{}"}


def fill(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        os.utime(folder / name, (1.0, 1.0))


def state(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """All there is in a folder: modes, times and contents. Of a lock of ours no time: older filelocks set that when they
    try it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        seen = path.lstat()
        content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        ours = path.suffix == ".lock" and len(path.stem) == len(B1)
        found[path.relative_to(folder).as_posix()] = (seen.st_mode, 0 if ours else seen.st_mtime_ns, content)
    return found


COMMANDS = (["jobs"], ["jobs", "--json"], ["jobs", "--refresh"], ["cache"], ["cache", "prune", "--older-than", "1m"])
COMMANDS += (["collect", "--once"], ["cancel", "--all", "--yes"], ["show", "b"])


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "batchling", *words]
    environment = {**os.environ, "BATCHLING_CACHE_DIR": str(folder)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)


@pytest.mark.thorough
@pytest.mark.parametrize("files", [FOREIGN, *({name: text} for name, text in FOREIGN.items())], ids=["all", *FOREIGN])
def test_somebody_elses_folder_is_refused_and_untouched(tmp_path: Path, files: dict[str, str]) -> None:
    fill(tmp_path, files)
    before = state(tmp_path)
    for words in COMMANDS if files is FOREIGN else (["jobs"], ["cache", "prune", "--older-than", "1m"]):
        done = run(tmp_path, *words)
        assert done.returncode != 0
        assert "not a cache made by batchling" in done.stderr
        assert "Traceback" not in done.stderr
    Footprints(str(tmp_path), "p").write(("a", "b", "c"), [])
    with pytest.raises(RefusedFolder, match="not empty"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("BATCHLING_CACHE_DIR", str(tmp_path))
        batchify()
    assert state(tmp_path) == before


def test_the_tag_of_another_tool_is_not_ours(tmp_path: Path) -> None:
    fill(tmp_path, {MARK: "Signature: 8a477f597d28d172789f06886806bc55\n# by pytest\n", "results/run42.jsonl": ""})
    with pytest.raises(RefusedFolder):
        FileStore(str(tmp_path))


def test_a_mark_of_the_future_is_left_alone(tmp_path: Path) -> None:
    FileStore(str(tmp_path)).claim(draft(B1, "x"))
    mark = tmp_path / MARK
    mark.write_text(mark.read_text().replace("version 1", "version 2"))
    with pytest.raises(RefusedFolder, match="newer"):
        FileStore(str(tmp_path))


def test_a_new_folder_is_marked_and_sealed(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    store = FileStore(str(folder))
    assert not folder.exists()
    secret = store.seal.secret
    assert sorted(os.listdir(folder)) == [MARK, SECRET]
    assert stat.S_IMODE((folder / SECRET).stat().st_mode) == 0o600
    assert (folder / MARK).read_bytes().startswith(b"Signature: 8a477f597d28d172789f06886806bc55")
    assert (folder / SECRET).read_bytes() == secret == FileStore(str(folder)).seal.secret


def test_what_systems_put_into_folders_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / ".gitignore").write_text("*\n")
    assert FileStore(str(tmp_path)).claim(draft(B1, "x")).record is not None


def test_a_cache_from_before_the_marks_is_taken_over(tmp_path: Path) -> None:
    FileStore(str(tmp_path)).claim(draft(B1, "x"))
    (tmp_path / MARK).unlink()
    assert holder(FileStore(str(tmp_path)), "x") == B1
    FileStore(str(tmp_path)).claim(draft(B2, "y"))
    assert (tmp_path / MARK).exists()


@pytest.mark.thorough
def test_in_a_cache_too_only_our_names_are_touched(tmp_path: Path) -> None:
    FileStore(str(tmp_path)).claim(draft(B1, "x"))
    mine = {
        **FOREIGN,
        f"batches/{B2}x.json": "{",
        "results/part.tmp": "",
        "programs/notes.json": "",
        "batches/b.lock": "",
    }
    fill(tmp_path, mine)
    before = {name: each for name, each in state(tmp_path).items() if name in mine}
    for words in COMMANDS:
        run(tmp_path, *words)
    FileStore(str(tmp_path)).claim(draft("0" * 24, "z"))
    for _ in range(2):
        Footprints(str(tmp_path), "p").write(("a", "b", "c"), [])
    assert {name: each for name, each in state(tmp_path).items() if name in mine} == before


@pytest.mark.thorough
def test_listings_change_nothing(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path))
    store.claim(draft(B1, "x"))
    store.close()
    damaged = tmp_path / "batches" / f"{B2}.json"
    fill(tmp_path, {f"batches/{B2}.json": "{", f"batches/{B2}.json.00000000.tmp": "", f"results/{B2}.jsonl": "row"})
    before = state(tmp_path)
    for words in (["jobs"], ["jobs", "--json"], ["cache"], ["show", B1[:10]], ["doctor"]):
        assert "Traceback" not in run(tmp_path, *words).stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BATCHLING_CACHE_DIR", str(tmp_path))
        assert [each.record.id for each in jobs.listing()] == [B1]
        with batchify(dry_run=True, display="off"):
            pass
    assert state(tmp_path) == before
    assert damaged.exists()


def test_a_dry_run_makes_no_folder(provider_server: ProviderServer, batchling_cache: Path) -> None:
    with scope(provider_server, **together(2), dry_run=True):
        ask_all(provider_server, ["a", "b"])
    assert not batchling_cache.exists()


def a_link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def a_pipe(path: Path, victim: Path) -> None:
    os.mkfifo(path)


def a_device(path: Path, victim: Path) -> None:
    path.symlink_to("/dev/zero")


def a_socket(path: Path, victim: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def a_folder(path: Path, victim: Path) -> None:
    path.mkdir()


@pytest.mark.thorough
@pytest.mark.skipif(os.name != "posix", reason="links, pipes and sockets of POSIX")
@pytest.mark.parametrize("plant", [a_link, a_pipe, a_device, a_socket, a_folder])
@pytest.mark.parametrize(
    "name",
    [f"batches/{B1}.json", f"batches/{B1}.note", f"batches/{B1}.lock", f"results/{B1}.jsonl", "index.lock"],
)
def test_what_is_no_file_of_ours_hangs_nobody(tmp_path: Path, name: str, plant: Callable[[Path, Path], None]) -> None:
    folder, victim = tmp_path / "cache", tmp_path / "victim"
    victim.write_text("precious")
    victim.chmod(0o644)
    store = FileStore(str(folder))
    store.claim(draft(B2, "y"))
    if not name.endswith(f"{B1}.json"):
        store.claim(draft(B1, "x"))
    store.close()
    (folder / name).unlink(missing_ok=True)
    plant(folder / name, victim)

    for words in (["jobs"], ["cache"], ["cache", "prune", "--older-than", "1m"]):
        done = run(folder, *words)
        assert "Traceback" not in done.stderr
    try:
        store = FileStore(str(folder))
        assert holder(store, "y") == B2
        store.claim(draft("0" * 24, "z"))
    except CacheError as fault:
        assert name in ("index.lock", f"batches/{B1}.lock"), fault
    assert (victim.read_text(), stat.S_IMODE(victim.stat().st_mode)) == ("precious", 0o644)


@pytest.mark.parametrize("name", ["index.lock", f"batches/{B1}.lock", SECRET])
def test_a_hard_link_is_not_locked_or_emptied(tmp_path: Path, name: str) -> None:
    folder, victim = tmp_path / "cache", tmp_path / "victim"
    victim.write_text("precious")
    FileStore(str(folder)).claim(draft(B1, "x"))
    (folder / name).unlink()
    os.link(victim, folder / name)

    try:
        store = FileStore(str(folder))
        store.claim(draft(B2, "y"))
        store.drive(B1)
    except CacheError:
        pass
    assert victim.read_text() == "precious"


def test_a_folder_that_everybody_may_write_to_is_refused(tmp_path: Path) -> None:
    FileStore(str(tmp_path)).claim(draft(B1, "x"))
    tmp_path.chmod(0o777)
    with pytest.raises(RefusedFolder, match="everybody may write"):
        FileStore(str(tmp_path))
    tmp_path.chmod(0o1777)
    assert holder(FileStore(str(tmp_path)), "x") == B1


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root may give a folder away")
@pytest.mark.parametrize("name", ["", "batches", "results"])
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, name: str) -> None:
    FileStore(str(tmp_path)).claim(draft(B1, "x"))
    os.chown(tmp_path / name, 12345, -1)
    before = state(tmp_path)
    with pytest.raises(RefusedFolder, match="12345"):
        FileStore(str(tmp_path))
    assert state(tmp_path) == before


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root may give a file away")
@pytest.mark.parametrize("name", [f"batches/{B1}.json", SECRET])
def test_a_file_of_somebody_else_is_not_read(tmp_path: Path, name: str) -> None:
    FileStore(str(tmp_path)).claim(draft(B1, "x"))
    os.chown(tmp_path / name, 12345, -1)
    if name == SECRET:
        with pytest.raises(RefusedFolder, match="12345"):
            FileStore(str(tmp_path))
    else:
        assert holder(FileStore(str(tmp_path)), "x") is None


@pytest.mark.parametrize("name", ["batches", "results"])
def test_a_link_in_the_place_of_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    cache, project = tmp_path / "cache", tmp_path / "project"
    fill(project, {"package.json": "{}", f"{B1}.json": "{"})
    Folder(str(cache)).prepare()
    (cache / name).symlink_to(project)
    before = state(project)
    with pytest.raises(RefusedFolder, match="link"):
        FileStore(str(cache))
    assert state(project) == before


@pytest.mark.thorough
def test_a_link_to_programs_is_passed_over(tmp_path: Path) -> None:
    cache, project = tmp_path / "cache", tmp_path / "project"
    fill(project, {f"{'0' * 32}.json": "{}", f"{'0' * 32}.json.00000000.tmp": ""})
    FileStore(str(cache)).claim(draft(B1, "x"))
    (cache / "programs").symlink_to(project)
    before = state(project)
    Footprints(str(cache), "p").write(("a", "b", "c"), [])
    run(cache, "cache", "prune", "--older-than", "1m")
    assert state(project) == before


def test_a_damaged_secret_is_told_and_kept(tmp_path: Path) -> None:
    FileStore(str(tmp_path)).claim(draft(B1, "x"))
    (tmp_path / SECRET).write_bytes(b"short")
    with pytest.raises(RefusedFolder, match="secret is damaged"):
        FileStore(str(tmp_path))
    assert (tmp_path / SECRET).read_bytes() == b"short"


def test_a_secret_that_others_could_read_is_closed_again(tmp_path: Path) -> None:
    FileStore(str(tmp_path)).claim(draft(B1, "x"))
    (tmp_path / SECRET).chmod(0o644)
    assert FileStore(str(tmp_path)).claim(draft(B2, "x")).theirs == {"x": B1}
    assert stat.S_IMODE((tmp_path / SECRET).stat().st_mode) == 0o600
