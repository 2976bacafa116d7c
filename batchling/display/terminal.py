"""A few lines below the cursor of a terminal that others write to as well.

The cursor stays where the program left it, in the middle of a line if need be, so prints, prompts and one-line progress
bars continue as if nothing was there; what is below it is ours. We write to the terminal itself, never to stdout, and
change none of its modes, so there is nothing to repair when the process is killed. Python's own streams, where they are
this very terminal, notify us before they write: the lines disappear first, and come back below the new text. Anything
that moves the cursor up (a progress bar of several lines, a full-screen program) draws its own picture: then we draw
none for a while. Output that bypasses Python's streams (a subprocess) may end up next to a piece of ours, but is not
lost.
"""

from __future__ import annotations

import io
import os
import re
import select
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from batchling.system import clock

if sys.platform != "win32":
    import termios

_MOVES = re.compile(r"\x1b(?:\[\d*[AFd]|\[\d*(?:;\d*)?[Hf]|\[s|\[\?(?:47|1047|1049)h|[78M])")
"""What moves the cursor off its line, takes over the screen, or overwrites the saved cursor position."""
_PAUSE = 5.0
"""Seconds without our lines after somebody else drew; twice as long each time."""
_LONGEST_PAUSE = 3600.0
_AGAIN = 0.1
"""Seconds: if a program prints more often than this, our lines come back a moment later."""
_STALLED = 2.0
"""Seconds for which a terminal may accept no output."""


class Terminal:
    """The terminal behind stderr. `show` and `clear` belong to one thread; any thread may write. After `release`, the
    streams are as they were."""

    def __init__(self, file: TextIO) -> None:
        self._fd = file.fileno()
        self._lock = threading.RLock()
        self._lines: list[str] = []
        self._drawn = False
        self._drawn_at = 0.0
        self._line_start: bool | None = None
        self._released = False
        self._spaced = False
        self._quiet_until = 0.0
        self._pause = _PAUSE
        self._writes: dict[TextIO, tuple[Callable[[str], int], object]] = {}
        device = os.fstat(self._fd).st_rdev
        for stream in dict.fromkeys((file, sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)):
            if stream is not None and is_terminal(stream) and os.fstat(stream.fileno()).st_rdev == device:
                self._watch(stream)

    @property
    def size(self) -> tuple[int, int]:
        """(columns, lines), as they are now."""
        columns, lines = os.get_terminal_size(self._fd)
        return columns or 80, lines or 24  # a terminal that does not know reports 0

    def show(self, lines: list[str]) -> None:
        """Draw these lines in place of the current ones. They contain colours, and fit the width."""
        with self._held() as held:
            if not held or self._released or clock.monotonic() < self._quiet_until or not self._is_ours():
                return
            if lines != self._lines or not self._drawn or self._spaced != (self._line_start is False):
                self._lines = lines
                self._draw()

    def clear(self) -> None:
        """Remove the lines."""
        with self._held() as held:
            if held:
                self._lines = []
                self._erase()

    def release(self) -> None:
        """Remove the lines, and restore the streams. Any thread; never waits for long."""
        try:
            self.clear()
        finally:
            self.restore()

    def restore(self) -> None:
        """Restore the streams. A stream that somebody else has wrapped in the meantime keeps our wrapper, which no
        longer does anything."""
        self._released = True
        writes, self._writes = self._writes, {}
        for stream, (_, ours) in writes.items():
            if vars(stream).get("write") is ours:
                del stream.write

    @contextmanager
    def _held(self) -> Iterator[bool]:
        """Take the lock, unless its holder is stuck in a terminal that accepts no output."""
        held = self._lock.acquire(timeout=1.0)
        try:
            yield held
        finally:
            if held:
                self._lock.release()

    def _is_ours(self) -> bool:
        """Whether we are in the foreground, and nothing reads single keys (an editor, a pager, a prompt)."""
        if sys.platform == "win32":  # it has neither
            return True
        try:
            in_front = os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:  # not the terminal that controls this process: we cannot be in the background
            in_front = True
        return in_front and bool(termios.tcgetattr(self._fd)[3] & termios.ICANON)

    # The streams.

    def _watch(self, stream: TextIO) -> None:
        original = stream.write
        if "write" in vars(stream):  # somebody else watches it; theirs is called, and later restored
            return

        def write(text: str) -> int:
            if stream not in self._writes:
                return original(text)
            with self._lock:
                self._before(text)
                try:
                    return original(text)
                finally:
                    self._after(text)

        self._writes[stream] = original, write
        stream.write = write  # type: ignore[method-assign]

    def _before(self, text: str) -> None:
        try:
            if "\x1b" in text and _MOVES.search(text):
                self._quiet_until = clock.monotonic() + self._pause
                self._pause = min(_LONGEST_PAUSE, 2 * self._pause)
                self._erase()
            elif "\n" in text:
                self._erase()
        except Exception:  # the program's own output must be printed
            self.restore()

    def _after(self, text: str) -> None:
        if not text:
            return
        self._line_start = text[-1] == "\n"
        now = clock.monotonic()
        if self._released or self._drawn or not self._lines or now < self._quiet_until or now - self._drawn_at < _AGAIN:
            return
        try:
            if self._is_ours():
                self._draw()
        except Exception:
            self.restore()

    # What is written.

    def _draw(self) -> None:
        if not self._lines:
            self._erase()
            return
        self._spaced = self._line_start is False
        lines = ["", *self._lines] if self._spaced else self._lines
        count = len(lines)
        # `ESC D` moves a line down in the same column, and scrolls at the bottom, so there is room wherever we are.
        pieces = ["\x1bD" * count, f"\x1b[{count}A", "\x1b7\x1b[0m"]
        if self._line_start and not self._drawn:
            pieces.append("\x1b[K")
        pieces += [f"\r\n{line}\x1b[K" for line in lines]
        pieces.append("\x1b[J\x1b8")
        self._put("".join(pieces))
        self._drawn = True
        self._drawn_at = clock.monotonic()

    def _erase(self) -> None:
        if self._drawn:
            self._drawn = False
            # At the start of a line everything from the cursor on is ours; otherwise all but the rest of its line.
            self._put("\x1b[J" if self._line_start else "\x1bD\x1b[A\x1b7\r\n\x1b[J\x1b8")

    def _put(self, text: str) -> None:
        left = memoryview(text.encode())
        while left:
            try:
                left = left[os.write(self._fd, left) :]
            except BlockingIOError:
                # Somebody has made the terminal non-blocking, and its buffer is full.
                if not select.select([], [self._fd], [], _STALLED)[1]:
                    raise


def is_terminal(stream: TextIO) -> bool:
    """Whether it is one of Python's own text streams, and a terminal."""
    try:
        return isinstance(stream, io.TextIOWrapper) and stream.isatty()
    except ValueError:  # closed
        return False
