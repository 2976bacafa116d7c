"""Whose a cache folder is, and which of its files are ours.

A folder is a cache by the mark that is put into it when it is made, never by its name or by what lies in it:
BATCHLING_CACHE_DIR may name a project's folder by mistake. Only files whose names we make are touched. A link, a pipe,
or a file of somebody else is none of ours, whatever it is called.

    CACHEDIR.TAG    the mark: backups leave such folders out (bford.info/cachedir)
    secret          32 bytes that seal the records (see `core.seal`), read by their owner alone
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from batchling.cache.durable import make_private, sync_folder, written
from batchling.errors import CacheError

MARK = "CACHEDIR.TAG"
SECRET = "secret"  # noqa: S105  # its file name
ID = re.compile(r"[0-9a-f]{24}")
"""A batch's id."""
TEMPORARY = re.compile(r".+\.[0-9a-f]{8}\.tmp")

_TOP = re.compile(r"(CACHEDIR\.TAG|secret)(\.[0-9a-f]{8}\.tmp)?|index(\.spare)?\.lock")
_BELOW = {
    "batches": re.compile(r"[0-9a-f]{24}\.(lock|(json|note)(\.[0-9a-f]{8}\.tmp)?|json(\.[0-9a-f]{8})?\.damaged)"),
    "results": re.compile(r"[0-9a-f]{24}\.jsonl(\.[0-9a-f]{8}\.tmp|\.damaged)?"),
    "programs": re.compile(r"[0-9a-f]{32}\.json(\.[0-9a-f]{8}\.tmp)?"),
}
"""The names that we make, by folder."""

_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55\n"
_VERSION = re.compile(rb"^# batchling cache, version (\d{1,9})$", re.MULTILINE)
_MARKED = (
    _SIGNATURE
    + b"""# batchling cache, version 1
# Records of batches, answers that were paid for, and the secret that seals them: leave it to `batchling cache`.
"""
)
_SECRET_BYTES = 32
_SMALL = 4_096
_OF_SYSTEMS = frozenset({"lost+found", ".DS_Store", "Thumbs.db", "desktop.ini", ".gitignore", ".gitkeep", ".keep"})
"""What a folder may hold and be empty all the same."""


class RefusedFolder(CacheError):
    """A folder that is not ours to use; nothing in it was touched."""


class NotOurs(OSError):
    """A file that has one of our names and is none of ours."""

    def __init__(self, path: Path, why: str) -> None:
        self.why: str = f"{path.name} {why}"
        super().__init__(errno.EPERM, self.why)


class Folder:
    """A cache folder, which need not be there yet. Any thread."""

    def __init__(self, path: str) -> None:
        self.path: Path = Path(path).expanduser()

    def check(self) -> None:
        """Raise `RefusedFolder` for a folder that is not ours to use. Changes nothing."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return
        except NotADirectoryError as fault:
            raise self._refused("it lies below a file") from fault
        if not stat.S_ISDIR(found.st_mode):
            raise self._refused("it is a file")
        if (whose := _owner(found)) is not None:
            raise self._refused(f"it belongs to {whose}; a new one below it would do")
        # A sticky folder lets others add files and take none of ours away.
        if os.name == "posix" and found.st_mode & 0o002 and not found.st_mode & stat.S_ISVTX:
            raise self._refused("everybody may write to it; chmod o-w mends that, and a new one below it would do")
        if not self._is_marked() and (name := self._first_of_others()) is not None:
            raise self._refused(
                f"it is not empty ({name!r:.60}), and no cache that batchling has made; a new one below it would do"
            )
        self._check_below("batches", "results")

    def _check_below(self, *names: str) -> None:
        for name in names:
            with suppress(FileNotFoundError):
                below = (self.path / name).lstat()
                if not stat.S_ISDIR(below.st_mode):
                    raise self._refused(f"{name} in it is a link or a file")
                if (whose := _owner(below)) is not None:
                    raise self._refused(f"{name} in it belongs to {whose}")

    def prepare(self, *names: str) -> None:
        """Make and mark the folder, and these below it. Raises `RefusedFolder`, or `OSError`."""
        self.check()
        self._check_below(*names)
        if not self.path.is_dir():
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
        if not self._is_marked():
            self._place(MARK, _MARKED)
        for below in map(self.path.joinpath, names):
            if below.is_dir():
                make_private(below)
            else:
                below.mkdir(mode=0o700, exist_ok=True)
                below.chmod(0o700)

    def secret(self) -> bytes | None:
        """The secret; None when there is none yet. Raises `RefusedFolder`, or `OSError`."""
        path = self.path / SECRET
        try:
            found = read_ours(path, _SMALL)
        except FileNotFoundError:
            return None
        except NotOurs as fault:
            raise self._refused(fault.why) from fault
        if len(found) != _SECRET_BYTES:
            raise self._refused(
                "its secret is damaged. Without it nothing here can be trusted: restore the file, or remove the folder "
                "once no job is under way"
            )
        return found

    def keep_secret(self, ours: bytes | None = None) -> bytes:
        """The secret, made (or set to `ours`) when there is none. Two processes at once get the same one."""
        found = self.secret()
        if found is None:
            self.prepare()
            self._place(SECRET, ours or secrets.token_bytes(_SECRET_BYTES))
            found = self.secret()
        assert found is not None
        path = self.path / SECRET
        if os.name == "posix" and path.stat().st_mode & 0o077:
            path.chmod(0o600)
        return found

    def files(self, *names: str) -> Iterator[os.DirEntry[str]]:
        """Every file that is ours, by its name and its kind; with `names`, those in these folders below it. Raises
        `OSError`."""
        for name in names or ("", *_BELOW):
            ours = _BELOW.get(name, _TOP)
            if name and (self.path / name).is_symlink():
                continue
            with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.path / name) as entries:
                for entry in entries:
                    if ours.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                        yield entry

    def _is_marked(self) -> bool:
        """Whether it has our mark. Raises `RefusedFolder` when a newer batchling has made it."""
        try:
            said = read_ours(self.path / MARK, _SMALL)
        except OSError:
            return False
        version = _VERSION.search(said) if said.startswith(_SIGNATURE) else None
        if version is not None and int(version[1]) > 1:
            raise self._refused("a newer batchling has made it")
        return version is not None

    def _first_of_others(self) -> str | None:
        """The name of something in it that we did not make. A folder without any is empty, or was a cache before there
        were marks."""
        for name in sorted(os.listdir(self.path)):
            if name in _BELOW:
                with suppress(NotADirectoryError):
                    for inner in sorted(os.listdir(self.path / name)):
                        if not _BELOW[name].fullmatch(inner):
                            return f"{name}/{inner}"
            elif name not in _OF_SYSTEMS and not _TOP.fullmatch(name):
                return name
        return None

    def _place(self, name: str, content: bytes) -> None:
        """Write a file whole and durably, unless there is one already: the first writer wins."""
        path = self.path / name
        with written(path, content) as temporary:
            try:
                os.link(temporary, path)
            except FileExistsError:
                pass
            except OSError:  # a file system without links
                if not path.exists():
                    temporary.rename(path)
        sync_folder(self.path)

    def _refused(self, problem: str) -> RefusedFolder:
        return RefusedFolder(str(self.path), problem)


def open_ours(path: Path) -> BinaryIO:
    """A file of ours, to be read. Raises `NotOurs` for what is no regular file of this user: links are not followed,
    pipes not waited for. Raises `OSError` otherwise."""
    flags = os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as fault:
        if fault.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO):
            raise NotOurs(path, "is a link, a pipe or a socket") from fault
        if fault.errno == errno.EACCES and (whose := _owner(path.lstat())) is not None:
            raise NotOurs(path, f"belongs to {whose}") from fault
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise NotOurs(path, "is no file")
        if (whose := _owner(found)) is not None:
            raise NotOurs(path, f"belongs to {whose}")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def check_ours(path: Path) -> None:
    """Raise `NotOurs` for what is no regular file of this user, or has another name elsewhere; `FileNotFoundError`."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        raise NotOurs(path, "is a link or no file")
    if (whose := _owner(found)) is not None:
        raise NotOurs(path, f"belongs to {whose}")


def read_ours(path: Path, most: int) -> bytes:
    """What a file of ours holds. Raises `NotOurs` for more than `most` bytes, and as `open_ours`."""
    with open_ours(path) as file:
        return read_all(file, path, most)


def read_all(file: BinaryIO, path: Path, most: int) -> bytes:
    """What an open file holds. Raises `NotOurs` for more than `most` bytes."""
    found = file.read(most + 1)
    if len(found) > most:
        raise NotOurs(path, f"is larger than {most:,} bytes")
    return found


def _owner(found: os.stat_result) -> str | None:
    """Whose a file is, if it is somebody else's."""
    if not hasattr(os, "geteuid") or found.st_uid == os.geteuid():
        return None
    return f"user {found.st_uid}"
