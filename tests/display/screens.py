"""A pseudo terminal whose other end is an emulator: what a person would see."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import termios

import pyte


class Screen:
    """A pseudo terminal: `stream` is the program's side; `text` what is on it now."""

    def __init__(self, columns: int = 40, lines: int = 10) -> None:
        self.master, self.slave = pty.openpty()
        self.emulator = pyte.HistoryScreen(columns, lines)
        self._feed = pyte.ByteStream(self.emulator)
        self.stream = io.TextIOWrapper(io.FileIO(self.slave, "w", closefd=False), "utf-8", line_buffering=True)
        self.resize(columns, lines)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.emulator.resize(lines, columns)

    def print(self, text: str, end: str = "\n") -> None:
        print(text, end=end, file=self.stream, flush=True)

    def take(self) -> None:
        """Wait for what is written next."""
        self._feed.feed(os.read(self.master, 65536))

    def close(self) -> None:
        self.stream.close()
        os.close(self.slave)
        os.close(self.master)

    @property
    def text(self) -> list[str]:
        """What is on it, when nobody else writes to it."""
        # What was written before is there when the mark is, which shows nothing.
        os.write(self.slave, b"\0\0END")
        seen = b""
        while not seen.endswith(b"\0\0END"):
            seen += os.read(self.master, 65536)
        self._feed.feed(seen.removesuffix(b"\0\0END"))
        return self.now

    @property
    def now(self) -> list[str]:
        lines = [line.rstrip() for line in self.emulator.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def all_text(self) -> list[str]:
        now = self.text
        past = [
            "".join(line[column].data for column in range(self.emulator.columns)).rstrip()
            for line in self.emulator.history.top
        ]
        return past + now
