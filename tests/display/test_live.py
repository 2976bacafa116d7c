"""The display of whole programs: what is on their terminal, and that nothing of it reaches their batches."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from batchling import batchify
from batchling.core import events
from batchling.display import live
from batchling.display.live import Choice, Display, mode
from batchling.display.plain import Lines
from batchling.display.progress import Progress, view
from batchling.display.terminal import Terminal
from batchling.errors import OptionError
from batchling.testing import ProviderServer
from tests.display.screens import Screen
from tests.display.targets import CHAT
from tests.engine.calls import QUICK, ask, gather, together
from tests.waiting import wait_until_async

PROGRAM = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
import httpx
from batchling import batchify

def ask(number):
    body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": str(number)}]}
    return httpx.post(sys.argv[1] + "/chat/completions", json=body, headers={"authorization": "Bearer k"}).status_code

with batchify(batch_size=9, batch_window_seconds=2.0, batch_poll_interval_seconds=0.05, display=sys.argv[2]):
    with ThreadPoolExecutor(9) as pool:
        answers = pool.map(ask, range(9))
        print("printed before")
        print("and to stderr", file=sys.stderr)
        if sys.argv[3:] == ["fork"]:
            input()
            if os.fork() == 0:
                with batchify(batch_window_seconds=0.1, batch_poll_interval_seconds=0.05, display="live"):
                    print(ask("child"), flush=True)
                    os._exit(0)
            os.wait()
        print("printed between", list(answers))
"""


class Program:
    """PROGRAM on a pseudo terminal that is its stdin and stderr, with stdout in a file."""

    def __init__(self, server: ProviderServer, folder: Path, *words: str, columns: int = 80) -> None:
        self.screen = Screen(columns, 24)
        self.out = folder / "out"
        gateways = ",".join(f"{base}={name}" for base, name in server.gateways.items())
        environment = {**os.environ, "TERM": "xterm-256color", "BATCHLING_GATEWAYS": gateways, "CI": ""}
        command = [sys.executable, "-c", PROGRAM, server.openai_url, *words]
        with self.out.open("w") as out:
            slave = self.screen.slave
            self.process = subprocess.Popen(
                command, stdin=slave, stdout=out, stderr=slave, env=environment, start_new_session=True
            )

    def until(self, seen: Callable[[str], bool]) -> str:
        """What is on the screen, once that is so."""
        while not seen(text := "\n".join(self.screen.now)):
            self.screen.take()
        return text

    def end(self, status: int = 0) -> str:
        """What stays on the screen."""
        assert self.process.wait(30) == status
        return "\n".join(self.screen.all_text)


@pytest.fixture
def start(provider_server: ProviderServer, tmp_path: Path) -> Iterator[Callable[..., Program]]:
    started: list[Program] = []

    def run(*words: str, columns: int = 80) -> Program:
        provider_server.hold()
        started.append(Program(provider_server, tmp_path, *words, columns=columns))
        return started[-1]

    yield run
    provider_server.release()
    for program in started:
        program.process.kill()
        program.process.wait()
        program.screen.close()


@pytest.mark.thorough
def test_a_program_on_a_terminal(provider_server: ProviderServer, start: Callable[..., Program]) -> None:
    program = start("auto")

    shown = program.until(lambda text: "submitted" in text)
    assert re.search(r"^and to stderr\n\nbatchling  0 of 9 answered · \d+ s\n\nprovider", shown)
    assert re.search(r"openai +gpt-5-mini +─+ +0 / 9", shown)
    provider_server.release()

    left = program.end()
    assert left.split("\n")[0] == "and to stderr"
    assert left.split("\n")[1].startswith("batchling: 9 calls batched in 1 batch")
    assert left.split("\n")[2].startswith("  63 tokens in, ")
    assert len(left.split("\n")) == 3
    assert program.out.read_text() == f"printed before\nprinted between {[200] * 9}\n"


@pytest.mark.thorough
def test_the_display_follows_the_width(provider_server: ProviderServer, start: Callable[..., Program]) -> None:
    program = start("live", columns=140)
    assert "batches" in program.until(lambda text: "submitted" in text.split("state")[-1])
    program.screen.resize(60, 24)
    # A terminal sees the columns that are gone as soon as it is drawn anew.
    program.until(lambda text: "submitted" in text and max(map(len, text.split("\n"))) < 60)
    provider_server.release()
    program.end()


@pytest.mark.thorough
def test_a_forked_child_does_not_draw(provider_server: ProviderServer, start: Callable[..., Program]) -> None:
    program = start("live", "fork")
    program.until(lambda text: "submitted" in text)
    provider_server.release()
    os.write(program.screen.master, b"\n")
    left = program.end()
    assert left.count("batchling: ") == 1
    assert "200" in program.out.read_text().split("\n")


@pytest.mark.thorough
def test_ctrl_c_finds_a_clean_terminal(provider_server: ProviderServer, start: Callable[..., Program]) -> None:
    program = start("live")
    program.until(lambda text: "submitted" in text)
    program.process.send_signal(signal.SIGINT)
    program.until(lambda text: "Ctrl-C again within 2 s cancels it" in text)
    text = program.end(-signal.SIGINT)
    assert "submitted" not in text.replace("never submitted", "")
    assert "left early. 1 job keeps running" in text


def plain(server: ProviderServer, words: str, tmp_path: Path, **environment: str) -> list[str]:
    gateways = ",".join(f"{base}={name}" for base, name in server.gateways.items())
    command = [sys.executable, "-c", words + PROGRAM, server.openai_url, "plain"]
    server.hold()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "BATCHLING_GATEWAYS": gateways, **environment},
    )
    assert process.stderr is not None
    lines = []
    with process.stderr as stderr:
        for line in stderr:
            lines.append(line.rstrip("\n"))
            if "submitted" in line:
                server.release()
    assert process.wait(30) == 0
    return lines


@pytest.mark.thorough
def test_plain_lines_are_few_and_printed_once(provider_server: ProviderServer, tmp_path: Path) -> None:
    lines = plain(provider_server, "", tmp_path)
    assert lines[:2] == ["and to stderr", "batchling: openai gpt-5-mini: 9 requests submitted in a batch"]
    assert lines[2].startswith("batchling: 9 calls batched")
    assert lines[3].startswith("  63 tokens in, ")
    assert len(lines) == 4


@pytest.mark.thorough
def test_where_logging_is_configured_the_log_has_it(provider_server: ProviderServer, tmp_path: Path) -> None:
    words = "import logging; logging.basicConfig(level='INFO'); logging.getLogger('httpx').setLevel('ERROR')"
    lines = plain(provider_server, words, tmp_path)
    assert sum("submitted" in line for line in lines) == 1
    assert any(re.match(r"INFO:batchling:batch \w+: 9 requests submitted", line) for line in lines)


@pytest.mark.thorough
def test_a_failing_display_breaks_no_batch(
    provider_server: ProviderServer, screen: Screen, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = threading.Event()

    def fail(*_: object) -> None:
        broken.set()
        raise LookupError("a bug of ours")

    monkeypatch.setattr(live, "PATIENCE", 0.01)
    monkeypatch.setattr(live._Painter, "paint", fail)
    monkeypatch.setattr(sys, "stderr", screen.stream)
    monkeypatch.setenv("TERM", "xterm")
    provider_server.hold()
    with caplog.at_level(logging.DEBUG, "batchling.display"):
        scope = batchify(gateways=provider_server.gateways, display="live", **QUICK)
        with scope, ThreadPoolExecutor(1) as pool:
            answer = pool.submit(ask, provider_server, "x")
            assert broken.wait(10)
            provider_server.release()
            assert answer.result().status_code == 200
    assert [record.getMessage() for record in caplog.records] == ["the display failed and is off"]
    assert "write" not in vars(screen.stream)


def test_a_failing_fold_breaks_no_batch(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    shown = Display("plain")
    monkeypatch.setattr(shown, "progress", None)
    with caplog.at_level(logging.DEBUG, "batchling.display"):
        shown.add(events.Queued(CHAT))
        shown.add(events.Queued(CHAT))
    assert len(caplog.records) == 1


def test_a_moment_shows_nothing(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen.stream)
    monkeypatch.setenv("TERM", "xterm")
    shown = Display("live")
    shown.open()
    assert isinstance(live._screen.terminal, Terminal)
    shown.add(events.Queued(CHAT))
    shown.close()
    assert live._screen.terminal is None
    assert screen.text == []


def test_what_the_engine_tells_adds_up(provider_server: ProviderServer) -> None:
    provider_server.hold()
    scope = batchify(gateways=provider_server.gateways, display="plain", **{**QUICK, **together(3)})  # type: ignore[arg-type]

    async def run() -> None:
        async with scope:
            assert live._screen._scopes == [scope._display]
            calls = [asyncio.create_task(gather(provider_server, [text])) for text in ("a", "b", "c")]
            await wait_until_async(lambda: provider_server.calls("GET", "/batches/"), "the job is polled")
            calls[0].cancel()
            await asyncio.gather(calls[0], return_exceptions=True)
            provider_server.release()
            await asyncio.gather(*calls[1:])

    asyncio.run(run())
    (row,) = view([scope._display.progress], 0).rows
    assert (row.asked, row.answered, row.queued, row.submitted, row.running) == (2, 2, 0, 0, 0)
    assert (row.batches, row.over) == (1, 1)
    assert live._screen._scopes == []


def test_plain_lines_are_printed_where_no_log_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for configured in (True, False):
        lines = Lines(0.0)
        progress = Progress(0.0)
        for event in (*[events.Queued(CHAT)] * 30, *[events.Submitted(CHAT, b, "j", 10) for b in "abc"]):
            progress.add(event, 0.0)
            lines.add(event)
        # pytest's own handlers are a configured log.
        monkeypatch.setattr(logging.getLogger("batchling"), "propagate", configured)
        lines.tell(progress, 1.0)
        lines.add(events.Ended("a", 9, 1))
        lines.tell(progress, 2.0)  # too soon after the last line
        lines.tell(progress, 7.0)
        lines.tell(progress, 500.0)
        progress.add(events.Polled("b", "", 5, 10), 500.0)
        lines.tell(progress, 700.0)
        for waiting, first in ((4, True), (3, False)):
            progress.add(event := events.Throttled(waiting, waiting, 1000, first), 700.0)
            lines.add(event)
        lines.tell(progress, 800.0)
        lines.tell(progress, 900.0)
        said = capsys.readouterr().err.split("\n")[:-1]
        assert said == (
            []
            if configured
            else [
                "batchling: openai gpt-5-mini: 30 requests submitted in 3 batches",
                "batchling: openai gpt-5-mini: a batch ended, 9 answered, 1 failed",
                "batchling: 5 of 30 requests done, 3 batches under way, 11 min",
                "batchling: 3 calls wait for room: max_waiting=1,000",
            ]
        )


def test_a_forked_child_leaves_the_terminal_to_its_parent(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen.stream)
    monkeypatch.setenv("TERM", "xterm")
    shown = Display("live")
    shown.open()
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writer, f"{mode('live')} {'write' in vars(screen.stream)}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with open(reader) as told:
        assert told.read() == "off False"
    assert "write" in vars(screen.stream)
    shown.close()


@pytest.mark.parametrize(
    ("wanted", "variables", "expected"),
    [
        ("auto", {}, "terminal"),
        ("auto", {"CI": "true"}, "plain"),
        ("auto", {"CI": "false"}, "terminal"),
        ("live", {"CI": "true"}, "terminal"),
        ("auto", {"TERM": "dumb"}, "plain"),
        ("live", {"TERM": "dumb"}, "plain"),
        ("auto", {"TERM": ""}, "plain"),
        ("plain", {}, "plain"),
        ("off", {}, "off"),
    ],
)
def test_when_it_is_live(
    wanted: Choice, variables: dict[str, str], expected: str, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", screen.stream)
    for name, value in {"TERM": "xterm", "CI": "", **variables}.items():
        monkeypatch.setenv(name, value)
    assert mode(wanted) == expected


def test_it_is_plain_without_a_terminal_or_behind_a_pipe(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("CI", "")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert mode("live") == "plain"
    monkeypatch.setattr(sys, "stderr", screen.stream)
    reader, writer = os.pipe()
    with open(reader, "rb"), open(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert (mode("auto"), mode("live")) == ("plain", "terminal")


def test_a_wrong_choice_is_told() -> None:
    with pytest.raises(OptionError, match=r'display: must be "auto", "live", "plain" or "off"; not True'):
        batchify(display=True)  # type: ignore[arg-type]
