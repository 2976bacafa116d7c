"""The lines below the cursor, on a real pseudo terminal whose other end is an emulator: what a person would see."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import termios
from collections.abc import Iterator

import pytest
from rich.console import Console
from rich.live import Live
from tqdm import tqdm

from batchling.display.terminal import Terminal
from tests.display.screens import Screen

OURS = ["first line of ours", "second line of ours"]


@pytest.fixture
def terminal(screen: Screen) -> Iterator[Terminal]:
    made = Terminal(screen.stream)
    yield made
    made.release()


def test_lines_stand_below_the_programs_own_and_go_without_a_trace(screen: Screen, terminal: Terminal) -> None:
    screen.print("a")
    terminal.show(OURS)
    assert screen.text == ["a", "", *OURS]
    screen.print("b")
    assert screen.text in (["a", "b"], ["a", "b", "", *OURS])
    terminal.show(OURS[:1])
    assert screen.text == ["a", "b", "", OURS[0]]
    terminal.release()
    screen.print("c")
    assert screen.text == ["a", "b", "c"]


def test_an_unfinished_line_goes_on_where_it_was(screen: Screen, terminal: Terminal) -> None:
    screen.print("name: ", end="")
    terminal.show(OURS)
    screen.print("alice", end="")
    assert screen.text == ["name: alice", "", *OURS]
    screen.print("!\nnext ", end="")
    terminal.show(["other"])
    terminal.clear()
    screen.print("line")
    assert screen.text == ["name: alice!", "next line"]


def test_a_line_written_over_itself_stays_whole(screen: Screen, terminal: Terminal) -> None:
    for number in range(3):
        screen.print(f"step {number} of 3", end="\r")
        terminal.show([str(number)])
        assert screen.text == [f"step {number} of 3", "", str(number)]
    terminal.clear()
    assert screen.text == ["step 2 of 3"]


def test_a_full_screen_scrolls_and_loses_nothing(screen: Screen, terminal: Terminal) -> None:
    for number in range(30):
        screen.print(f"line {number}")
        terminal.show([f"ours {number}", "more"])
    terminal.release()
    assert [line for line in screen.all_text if line] == [f"line {number}" for number in range(30)]


def test_what_goes_past_python_loses_nothing(screen: Screen, terminal: Terminal) -> None:
    terminal.show(OURS)
    subprocess.run([sys.executable, "-c", "print('from a child\\n' * 3, end='')"], stdout=screen.slave, check=True)
    terminal.show(["new"])
    terminal.release()
    screen.print("end")
    seen = screen.text
    assert [line[:12] for line in seen[:3]] == ["from a child"] * 3
    assert seen[-1] == "end"


def test_a_progress_bar_of_one_line_and_ours_live_together(screen: Screen, terminal: Terminal) -> None:
    with tqdm(total=3, ncols=30, mininterval=0, file=screen.stream, leave=True) as bar:
        for number in range(3):
            bar.update()
            terminal.show([f"ours {number}"])
            seen = screen.text
            assert f"{number + 1}/3" in seen[0]
            assert seen[-1] == f"ours {number}"
    terminal.release()
    (line,) = screen.text
    assert line.startswith("100%")


def test_who_draws_several_lines_has_the_terminal(screen: Screen, terminal: Terminal) -> None:
    terminal.show(OURS)
    with tqdm(total=2, ncols=30, position=0, file=screen.stream) as outer:
        with tqdm(total=2, ncols=30, position=1, file=screen.stream, leave=False) as inner:
            inner.update()
            outer.update()
            terminal.show(OURS)
            seen = screen.text
    assert [line[:5] for line in seen] == ["  0%|", "  0%|"]


def test_a_live_display_of_rich_is_left_alone(screen: Screen, terminal: Terminal) -> None:
    console = Console(file=screen.stream, force_terminal=True, width=40)
    with Live("one\ntwo\nthree", console=console, auto_refresh=False) as live:
        live.update("uno\ndue\ntre", refresh=True)
        terminal.show(OURS)
        live.update("un\ndeux\ntrois", refresh=True)
        assert screen.text == ["un", "deux", "trois"]
    terminal.show(OURS)
    assert screen.text == ["un", "deux", "trois"]


def test_who_reads_single_keys_has_the_terminal(screen: Screen, terminal: Terminal) -> None:
    mode = termios.tcgetattr(screen.slave)
    mode[3] &= ~termios.ICANON
    termios.tcsetattr(screen.slave, termios.TCSANOW, mode)
    terminal.show(OURS)
    assert screen.text == []
    mode[3] |= termios.ICANON
    termios.tcsetattr(screen.slave, termios.TCSANOW, mode)
    terminal.show(OURS)
    assert screen.text == ["", *OURS]


def test_a_resized_terminal_is_asked_for_its_size(screen: Screen, terminal: Terminal) -> None:
    assert terminal.size == (40, 10)
    terminal.show(["x" * 38, "y" * 38])
    assert len(screen.text) == 3
    screen.resize(20, 10)
    assert terminal.size == (20, 10)
    terminal.show(["x" * 18])
    assert screen.text == ["", "x" * 18]


def test_the_streams_are_given_back(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", screen.stream)
    before = screen.stream.write
    with io.TextIOWrapper(io.FileIO(screen.slave, "w", closefd=False)) as stderr:
        terminal = Terminal(stderr)
        assert "write" in vars(stderr)
        terminal.release()
    terminal = Terminal(screen.stream)
    captured = screen.stream.write
    assert captured != before
    terminal.release()
    assert screen.stream.write == before
    assert "write" not in vars(screen.stream)
    terminal.show(OURS)  # a thread that is late
    captured("still works\n")
    assert screen.text == ["still works"]


def test_a_stream_that_somebody_took_over_keeps_working(screen: Screen) -> None:
    terminal = Terminal(screen.stream)
    ours = screen.stream.write
    screen.stream.write = lambda text: ours(text.upper())  # type: ignore[method-assign]
    terminal.release()
    screen.print("still")
    del screen.stream.write
    assert screen.text == ["STILL"]


def test_a_stdout_elsewhere_is_not_touched(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Screen()
    monkeypatch.setattr(sys, "stdout", other.stream)
    terminal = Terminal(screen.stream)
    assert "write" not in vars(other.stream)
    terminal.show(OURS)
    assert other.text == []
    terminal.release()
    other.close()


def test_a_terminal_that_is_gone_breaks_no_print(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(screen.stream)
    terminal.show(OURS)

    def gone(descriptor: int, piece: object) -> int:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "write", gone)
        screen.print("printed")
    assert "printed" in " ".join(screen.text)
    assert "write" not in vars(screen.stream)
