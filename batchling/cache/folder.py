"""Whose a cache folder is, and which of its files are ours.

A folder is recognised as a cache by the mark that is put into it when it is created, never by its name or its contents:
BATCHLING_CACHE_DIR may name a project's folder by mistake. Only files with names that we generate are touched. A link,
a pipe, or another user's file is not ours, whatever its name.

    CACHEDIR.TAG    the mark: backups skip such folders (bford.info/cachedir)
    secret          32 bytes that seal the records (see `core.seal`), readable only by their owner
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from batchling.cache.durable import flush, make_private, new_file, sync_folder
from batchling.cache.layout import BATCHES, BELOW, MARK, NOTES, RESULTS, SECRET, TOP
from batchling.errors import CacheError

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
"""Files that a folder may contain and still count as empty."""


class RefusedFolder(CacheError):
    """A folder that is not ours to use; nothing in it was touched."""


class NotOurs(OSError):
    """A file that has one of our names but is not ours."""

    def __init__(self, path: Path | str, why: str) -> None:
        self.why: str = f"{os.path.basename(path)} {why}"
        super().__init__(errno.EPERM, self.why)


class Folder:
    """A cache folder, which need not exist yet. Any thread."""

    def __init__(self, path: str) -> None:
        self.path: Path = Path(path).expanduser()

    def check(self) -> None:
        """Raise `RefusedFolder` for a folder that is not ours to use. Changes nothing."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return
        except NotADirectoryError as fault:
            raise self._refused("a part of its path is a file") from fault
        if not stat.S_ISDIR(found.st_mode):
            raise self._refused("it is a file")
        if (whose := _owner(found)) is not None:
            raise self._refused(f"it belongs to {whose}; use a new folder inside it")
        # A sticky folder lets others add files, but not remove ours.
        if os.name == "posix" and found.st_mode & 0o002 and not found.st_mode & stat.S_ISVTX:
            raise self._refused("everybody may write to it; chmod o-w fixes that, or use a new folder inside it")
        if not self._is_marked() and (name := self._first_of_others()) is not None:
            raise self._refused(
                f"it is not empty ({name!r:.60}), and not a cache made by batchling; use a new folder inside it"
            )
        self._check_below(BATCHES, RESULTS, NOTES)

    def _check_below(self, *names: str) -> None:
        for name in names:
            with suppress(FileNotFoundError):
                below = (self.path / name).lstat()
                if not stat.S_ISDIR(below.st_mode):
                    raise self._refused(f"{name} in it is a link or a file")
                if (whose := _owner(below)) is not None:
                    raise self._refused(f"{name} in it belongs to {whose}")

    def prepare(self, *names: str) -> None:
        """Create and mark the folder, and create these inside it. Raises `RefusedFolder` or `OSError`."""
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
        """The secret; None if there is none yet. Raises `RefusedFolder` or `OSError`."""
        path = self.path / SECRET
        try:
            found = read_ours(path, _SMALL)
        except FileNotFoundError:
            return None
        except NotOurs as fault:
            raise self._refused(fault.why) from fault
        if len(found) != _SECRET_BYTES:
            raise self._refused(
                "its secret is damaged. Without it, nothing here can be trusted: restore the file, or remove the "
                "folder once no job is under way"
            )
        return found

    def keep_secret(self, ours: bytes | None = None) -> bytes:
        """The secret, created (or set to `ours`) if there is none. Two processes that do this at once get the same
        one."""
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
        """Every file that is ours, judged by name and kind; with `names`, only those in these folders inside it. Raises
        `OSError`."""
        for name in names or ("", *BELOW):
            ours = BELOW.get(name, TOP)
            if name and (self.path / name).is_symlink():
                continue
            with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.path / name) as entries:
                for entry in entries:
                    if ours.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                        yield entry

    def _is_marked(self) -> bool:
        """Whether it has our mark. Raises `RefusedFolder` if it was made by a newer batchling."""
        try:
            mark = read_ours(self.path / MARK, _SMALL)
        except OSError:
            return False
        version = _VERSION.search(mark) if mark.startswith(_SIGNATURE) else None
        if version is not None and int(version[1]) > 1:
            raise self._refused("it was made by a newer batchling")
        return version is not None

    def _first_of_others(self) -> str | None:
        """The name of something in it that we did not make. If there is nothing like that, the folder is empty, or is a
        cache from before there were marks."""
        for name in sorted(os.listdir(self.path)):
            if name in BELOW:
                with suppress(NotADirectoryError):
                    for inner in sorted(os.listdir(self.path / name)):
                        if not BELOW[name].fullmatch(inner):
                            return f"{name}/{inner}"
            elif name not in _OF_SYSTEMS and not TOP.fullmatch(name):
                return name
        return None

    def _place(self, name: str, content: bytes) -> None:
        """Write a file as a whole and durably, unless it already exists: the first writer wins."""
        path = self.path / name
        with new_file(path) as (file, mine):
            file.write(content)
            flush(file)
            try:
                os.link(mine, path)
            except FileExistsError:
                pass
            except OSError:  # a file system without links
                if not path.exists():
                    mine.rename(path)
        sync_folder(self.path)

    def _refused(self, problem: str) -> RefusedFolder:
        return RefusedFolder(str(self.path), problem)


def open_ours(path: Path | str) -> BinaryIO:
    """A file of ours, opened for reading. Raises `NotOurs` for anything but a regular file of this user: links are not
    followed, and pipes are not waited for. Raises `OSError` for other problems."""
    return os.fdopen(_open_ours(path, os.O_RDONLY), "rb")


def open_log(path: Path | str) -> FileIO:
    """A file of ours, opened for reading and appending without a buffer, and created if there is none. Raises like
    `open_ours`."""
    return FileIO(_open_ours(path, os.O_RDWR | os.O_APPEND | os.O_CREAT), "ab+")


def _open_ours(path: Path | str, flags: int) -> int:
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as fault:
        if fault.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO):
            raise NotOurs(path, "is a link, a pipe or a socket") from fault
        if fault.errno == errno.EACCES and (whose := _owner(os.lstat(path))) is not None:
            raise NotOurs(path, f"belongs to {whose}") from fault
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise NotOurs(path, "is not a regular file")
        if (whose := _owner(found)) is not None:
            raise NotOurs(path, f"belongs to {whose}")
        if flags & os.O_CREAT and stat.S_IMODE(found.st_mode) != 0o600:
            os.fchmod(descriptor, 0o600)
        return descriptor
    except BaseException:
        os.close(descriptor)
        raise


def check_ours(path: Path) -> None:
    """Raise `NotOurs` for anything but a regular file of this user, or if it has another name elsewhere. Raises
    `FileNotFoundError`, too."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        raise NotOurs(path, "is a link, or not a regular file")
    if (whose := _owner(found)) is not None:
        raise NotOurs(path, f"belongs to {whose}")


def read_ours(path: Path, most: int) -> bytes:
    """The content of a file of ours. Raises `NotOurs` for more than `most` bytes, and whatever `open_ours` raises."""
    with open_ours(path) as file:
        return read_all(file, path, most)


def read_all(file: BinaryIO, path: Path | str, most: int) -> bytes:
    """The rest of an open file. Raises `NotOurs` for more than `most` bytes."""
    # Not `read(most + 1)`, for which Python would allocate that much.
    size = os.fstat(file.fileno()).st_size
    if size > most:
        raise NotOurs(path, f"is larger than {most:,} bytes")
    return file.read(max(0, size - file.tell()))


def _owner(found: os.stat_result) -> str | None:
    """The owner of a file, if that is another user."""
    if not hasattr(os, "geteuid") or found.st_uid == os.geteuid():
        return None
    return f"user {found.st_uid}"
