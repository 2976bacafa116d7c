"""What a scope shows while it is open: live lines on a terminal or in a notebook, or a few plain lines.

One display serves all scopes of a process. Its own thread draws it a few times a second, from what the events have
added up to; nothing that goes wrong there reaches a batch. Nothing is drawn in the first second, nor in a forked or
spawned child, whose parent may be drawing on the same terminal.
"""

from __future__ import annotations

import io
import logging
import os
import stat
import sys
import threading
from contextvars import Context
from typing import TYPE_CHECKING, Literal

from batchling.core import events
from batchling.display.cancelling import show
from batchling.display.plain import Lines
from batchling.display.progress import Progress, view
from batchling.display.terminal import Terminal, is_terminal
from batchling.system import clock
from batchling.system.forks import on_fork

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from batchling.display.drawing import Signs
    from batchling.display.notebook import Notebook

_log = logging.getLogger("batchling.display")

Choice = Literal["auto", "live", "plain", "off"]
Mode = Literal["terminal", "notebook", "plain", "off"]
CHOICES: tuple[Choice, ...] = ("auto", "live", "plain", "off")

PATIENCE = 1.0
"""Seconds for which a scope shows nothing: a scope that ends sooner needs no display."""
_TICK = 0.25
_SLOW = (1.0, 5.0)
"""Seconds between two drawings when nothing happens, and when nothing has happened for a long time."""
_LONG = 600.0


class Display:
    """What one scope shows. `open` and `close` are called by its context; `add` on the engine's loop thread."""

    def __init__(self, wanted: Choice) -> None:
        self._wanted = wanted
        self._broken = False
        self.mode: Mode = "off"
        self.changes: int = 0
        self.progress: Progress = Progress(0.0)
        self.lines: Lines = Lines(0.0)

    def open(self) -> None:
        """The scope was entered."""
        try:
            now = clock.time()
            self.progress, self.lines = Progress(now), Lines(now)
            self.mode = mode(self._wanted)
            if self.mode != "off":
                _screen.enter(self)
        except Exception:
            self._give_up()

    def prepare(self) -> None:
        """Import what draws, since there will be something to show. Called in a caller's thread, and not before a call
        is made, since it takes a tenth of a second."""
        try:
            _screen.prepare(self.mode)
        except Exception:
            self._give_up()

    def add(self, event: events.Event) -> None:
        """Process one event."""
        if self._broken or self._wanted == "off":
            return
        try:
            self.changes += 1
            self.progress.add(event, clock.time())
            if self.mode == "plain":
                self.lines.add(event)
            show(event)
        except Exception:
            self._give_up()

    def close(self) -> None:
        """The scope is being left: nothing of it stays on a terminal."""
        try:
            _screen.leave(self)
        except Exception:
            self._give_up()

    def _give_up(self) -> None:
        self._broken = True
        _log.debug("the display failed and is off", exc_info=True)


def mode(wanted: Choice) -> Mode:
    """The mode in which this choice is shown, here and now."""
    if wanted in ("plain", "off"):
        return "off" if wanted == "off" else "plain"
    if in_notebook():
        return "notebook"
    if sys.stderr is None or not is_terminal(sys.stderr) or os.environ.get("TERM", "") in _DUMB:
        return "plain"
    if _is_child():
        return "off"
    if wanted == "auto" and (os.environ.get("CI", "").lower() not in ("", "0", "false") or _stdout_is_a_pipe()):
        return "plain"
    return "terminal"


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook. IPython is used only if the program has imported it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


_DUMB = ("dumb", "unknown") if sys.platform == "win32" else ("dumb", "unknown", "")


def _is_child() -> bool:
    processes = sys.modules.get("multiprocessing.process")
    return _screen.forked or (processes is not None and processes.parent_process() is not None)


def _stdout_is_a_pipe() -> bool:
    """A pipe's other end may print to this terminal without our seeing it: `program | tee log`."""
    try:
        return stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)
    except (AttributeError, OSError, ValueError):
        return False


class _Screen:
    """The display of this process: the scopes that show something, and the thread that draws them."""

    def __init__(self, *, forked: bool = False) -> None:
        self.forked = forked
        self.terminal: Terminal | None = None
        self._scopes: list[Display] = []
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._painter: _Painter | None = None
        self._notebook: Notebook | None = None

    def enter(self, scope: Display) -> None:
        """Start to show a scope."""
        with self._lock:
            if scope.mode == "terminal" and self.terminal is None:
                # Now, so we notice who else draws on it before we do.
                self.terminal = Terminal(sys.stderr)
            self._scopes.append(scope)
            if self._thread is None:
                self._wake = threading.Event()
                self._thread = threading.Thread(
                    target=self._run, args=(self._wake,), name="batchling-display", daemon=True
                )
                # In an empty context: the thread is outside the caller's scope.
                Context().run(self._thread.start)

    def prepare(self, mode: Mode) -> None:
        """Load what draws in this mode."""
        if mode == "terminal" and self._painter is None:
            self._painter = _Painter()
        elif mode == "notebook" and self._notebook is None:
            from batchling.display.notebook import Notebook

            self._notebook = Notebook()

    def leave(self, scope: Display) -> None:
        """Stop showing a scope; the display disappears with the last one. Any thread."""
        with self._lock:
            if scope not in self._scopes:
                return
            if scope.mode == "notebook" and self._notebook is not None:
                self._show_in_notebook()
            self._scopes.remove(scope)
            terminal = None
            if not any(other.mode == "terminal" for other in self._scopes):
                terminal, self.terminal = self.terminal, None
            if not any(other.mode == "notebook" for other in self._scopes):
                self._notebook = None
            if not self._scopes:
                self._wake.set()
                self._thread = None
        if terminal is not None:
            terminal.release()

    def drop(self) -> None:
        """Stop showing anything, and release everything; in a forked child or after a failure."""
        self._scopes = []
        if self.terminal is not None:
            self.terminal.restore()

    # The thread.

    def _run(self, over: threading.Event) -> None:
        pause = PATIENCE
        seen, seen_at, changed_at = -1, 0.0, clock.monotonic()
        try:
            while not over.wait(pause):
                pause = _TICK
                now = clock.monotonic()
                changes = sum(scope.changes for scope in self._scopes)
                if changes != seen:
                    changed_at = now
                elif now - seen_at < _SLOW[now - changed_at > _LONG]:
                    continue
                seen, seen_at = changes, now
                self._show()
        except Exception:
            _log.debug("the display failed and is off", exc_info=True)
            with self._lock:
                if self.terminal is not None:
                    self.terminal.release()

    def _show(self) -> None:
        now = clock.time()
        with self._lock:
            scopes = [scope for scope in self._scopes if now - scope.progress.started >= PATIENCE - 0.05]
            terminal = self.terminal
        for scope in scopes:
            if scope.mode == "plain":
                scope.lines.tell(scope.progress, now)
        if terminal is not None and self._painter is not None:
            shown = [scope.progress for scope in scopes if scope.mode == "terminal"]
            terminal.show(self._painter.paint(shown, now, terminal.size))
        if any(scope.mode == "notebook" for scope in scopes):
            with self._lock:
                self._show_in_notebook()

    def _show_in_notebook(self) -> None:
        if self._notebook is None:
            return
        from batchling.display.drawing import draw

        shown = [scope.progress for scope in self._scopes if scope.mode == "notebook"]
        if lines := draw(view(shown, clock.time()), *self._notebook.size):
            self._notebook.show(lines)


class _Painter:
    """Turns progress into the lines of a terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        from batchling.display.drawing import ASCII, UNICODE

        self._console: Console = Console(file=io.StringIO(), force_terminal=True, force_jupyter=False, highlight=False)
        encoding = (getattr(sys.stderr, "encoding", None) or "").lower()
        self._signs: Signs = UNICODE if encoding.replace("-", "").startswith("utf8") else ASCII

    def paint(self, scopes: list[Progress], now: float, size: tuple[int, int]) -> list[str]:
        """The lines, with the colours that this terminal supports."""
        from batchling.display.drawing import draw

        width, height = size
        lines = draw(view(scopes, now), width - 1, height - 2, self._signs)
        return _coloured(self._console, lines, width) if lines else []


def _coloured(console: Console, lines: list[Text], width: int) -> list[str]:
    from rich.text import Text

    console.width = width
    with console.capture() as captured:
        console.print(Text("\n").join(lines), no_wrap=True, soft_wrap=True)
    return captured.get().rstrip("\n").split("\n")


_screen = _Screen()


def _start_anew_after_fork() -> None:
    global _screen
    _screen.drop()
    _screen = _Screen(forked=True)


on_fork(in_child=_start_anew_after_fork)
