"""Giving up well: Ctrl-C once and twice, SIGTERM, exceptions, and a close that cannot hang."""

from __future__ import annotations

import asyncio
import logging
import os
import pty
import signal
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from batchling.cache.files import FileStore
from batchling.core.lifecycle import Phase
from batchling.scope import context
from batchling.testing import ProviderServer
from tests.engine.calls import ask, ask_all, chat, gather, scope
from tests.engine.open_scope import batcher
from tests.engine.programs import HEAD, start_program
from tests.waiting import wait_until

WAITING = """
with batchify(**options):
    asyncio.run(gather(server, ["a", "b", "c"]))
"""

IN_A_THREAD = """
with batchify(**options):
    ThreadPoolExecutor(1).submit(asyncio.run, gather(server, ["a", "b", "c"])).result()
"""

STUBBORN = """
try:
    with batchify(**options):
        try:
            asyncio.run(gather(server, ["a", "b", "c"]))
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            threading.Event().wait(20)
except KeyboardInterrupt:
    print("left", flush=True)
"""


def wait_for_answered_poll(server: ProviderServer) -> None:
    wait_until(
        lambda: any(seen.status == 200 for seen in server.calls("GET", "/batches/")), "a poll of the job is answered"
    )


@pytest.mark.parametrize("times", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_a_second_ctrl_c_cancels_the_jobs_and_waits_for_it(
    provider_server: ProviderServer, batchling_cache: Path, times: int
) -> None:
    """Whatever goes wrong with the cancel call itself is tried again."""
    provider_server.hold()
    provider_server.fail_call("POST", "/cancel", 503, b"{}", times=times - 1)
    process = start_program(provider_server, batchling_cache, HEAD + STUBBORN)
    wait_for_answered_poll(provider_server)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "interrupted\n"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)

    assert output == "left\n"
    assert "batchling: cancelling: 0 of 1 job over (a provider may take ten minutes; Ctrl-C stops waiting)" in errors
    assert "batchling: cancelling: 1 of 1 job over" in errors
    assert "1 of 1 job cancelled and over; what was finished is paid for, and kept for the next run" in errors
    assert len(provider_server.calls("POST", "/cancel")) == times
    assert provider_server.billed() == []
    provider_server.release()
    with scope(provider_server):
        assert [answer.status_code for answer in ask_all(provider_server, list("abc"))] == [200] * 3
    assert len(provider_server.billed()) == 3


@pytest.mark.thorough
@pytest.mark.parametrize(("method", "status"), [("POST", 403), ("GET", 401)])
def test_a_job_that_was_not_cancelled_is_not_said_to_be(
    provider_server: ProviderServer, batchling_cache: Path, method: str, status: int
) -> None:
    """The provider refuses to cancel it, or to say what became of it."""
    provider_server.hold()
    process = start_program(provider_server, batchling_cache, HEAD + STUBBORN)
    wait_for_answered_poll(provider_server)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "interrupted\n"
    provider_server.fail_call(method, "/batches/", status, b"{}", times=1_000)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)

    assert "0 of 1 job cancelled and over; the others may end later, or keep running" in errors
    assert "1 of 1 job" not in errors


@pytest.mark.thorough
def test_on_a_terminal_there_is_a_moment_for_the_second_ctrl_c(
    provider_server: ProviderServer, batchling_cache: Path
) -> None:
    provider_server.hold()
    terminal, inside = pty.openpty()
    process = start_program(provider_server, batchling_cache, HEAD + WAITING, stderr=inside)
    wait_for_answered_poll(provider_server)
    process.send_signal(signal.SIGINT)
    shown = b""
    while b"cancels it." not in shown:
        shown += os.read(terminal, 4096)
    process.send_signal(signal.SIGINT)
    process.wait(30)
    shown += os.read(terminal, 65536)
    process.communicate()
    os.close(terminal)
    os.close(inside)

    assert b"batchling: 1 provider job keeps running. Ctrl-C again within 2 s cancels it." in shown
    assert b"cancelling: 1 of 1 job over" in shown
    assert len(provider_server.calls("POST", "/cancel")) == 1


@pytest.mark.thorough
def test_ctrl_c_in_the_middle_of_an_upload_leaves_at_once(
    provider_server: ProviderServer, batchling_cache: Path
) -> None:
    provider_server.stall_call("POST", "/files")
    process = start_program(provider_server, batchling_cache, HEAD + WAITING)
    wait_until(lambda: provider_server.calls("POST", "/files"), "the upload begins")
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, errors = process.communicate(timeout=20)

    assert time.monotonic() - began < 5, errors
    assert "KeyboardInterrupt" in errors
    assert provider_server.creates() == []
    with scope(provider_server):
        assert [answer.status_code for answer in ask_all(provider_server, list("abc"))] == [200] * 3
    assert len(provider_server.creates()) == 1


@pytest.mark.parametrize("program", [WAITING, pytest.param(IN_A_THREAD, marks=pytest.mark.slow)])
def test_sigterm_detaches(provider_server: ProviderServer, batchling_cache: Path, program: str) -> None:
    provider_server.hold()
    process = start_program(provider_server, batchling_cache, HEAD + program)
    wait_for_answered_poll(provider_server)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)

    assert process.returncode == 128 + signal.SIGTERM, errors
    assert "1 job keeps running at the provider: run the same program again to collect" in errors
    provider_server.release()
    with scope(provider_server):
        ask_all(provider_server, list("abc"))
    assert len(provider_server.billed()) == 3


def test_signals_are_given_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with ProviderServer() as server, scope(server):
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] != before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.thorough
def test_a_signal_that_comes_while_the_scope_is_left_is_not_swallowed(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = context.BatchingContext._close

    def interrupted(self: context.BatchingContext) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        close(self)

    monkeypatch.setattr(context.BatchingContext, "_close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        with scope(provider_server):
            assert ask(provider_server, "x").status_code == 200
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_exception_submits_nothing(provider_server: ProviderServer) -> None:
    async def fail() -> None:
        calls = asyncio.gather(gather(provider_server, ["a", "b"]))
        await asyncio.sleep(0.1)
        calls.cancel()
        raise RuntimeError("of the program's own")

    with pytest.raises(RuntimeError, match="of the program's own"):
        with scope(provider_server, batch_window_seconds=30):
            asyncio.run(fail())
    assert provider_server.calls("POST") == []


@pytest.mark.thorough
def test_a_close_that_waits_for_something_says_so_and_ends(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that does not answer any more, as a network drive can: the scope ends all the same."""
    monkeypatch.setattr(context, "_CLOSE_SECONDS", 0.3)
    stuck, free = threading.Event(), threading.Event()
    save = FileStore.save

    def hanging(store: FileStore, record: Any) -> None:
        if record.phase is Phase.RUNNING:
            stuck.set()
            free.wait(20)
        save(store, record)

    monkeypatch.setattr(FileStore, "save", hanging)
    began = time.monotonic()
    with caplog.at_level(logging.WARNING), pytest.raises(RuntimeError):
        with scope(provider_server):
            threading.Thread(target=ask, args=(provider_server, "x"), daemon=True).start()
            assert stuck.wait(10)
            raise RuntimeError
    took = time.monotonic() - began
    free.set()

    assert took < 5
    assert "without waiting for" in caplog.text
    monkeypatch.undo()


def test_close_is_idempotent_and_needs_nothing_to_have_happened(provider_server: ProviderServer) -> None:
    with scope(provider_server):
        engine = batcher()
    for _ in range(3):
        engine.close().result(5)
        engine.detach().result(5)


@pytest.mark.thorough
def test_a_loop_that_is_closed_with_calls_outstanding(provider_server: ProviderServer) -> None:
    """Nobody waits any more, and nobody tells us: the batch is finished, and its answers are kept."""
    import httpx

    loop = asyncio.new_event_loop()
    client = httpx.AsyncClient()
    with scope(provider_server):
        headers = {"authorization": "Bearer sk-1"}
        url = f"{provider_server.openai_url}/chat/completions"
        task = loop.create_task(client.post(url, json=chat("x"), headers=headers))
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.close()
        task.get_coro().close()  # type: ignore[union-attr]
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    with scope(provider_server):
        assert ask(provider_server, "x").status_code == 200
    assert len(provider_server.billed()) <= 1


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_threads_that_die_take_nobody_along(provider_server: ProviderServer) -> None:
    def die() -> None:
        raise SystemExit

    with scope(provider_server, batch_window_seconds=0.3):
        waiting = threading.Thread(target=ask, args=(provider_server, "x"))
        waiting.start()
        for _ in range(3):
            thread = threading.Thread(target=die)
            thread.start()
            thread.join()
        assert ask(provider_server, "y").status_code == 200
        waiting.join()
    assert len(provider_server.billed()) == 2


LEFT_WITH_A_JOB = """
submitted = threading.Event()
def listen(event):
    if type(event).__name__ == "Submitted":
        submitted.set()
with batchify(**options, on_event=listen):
    threading.Thread(target=lambda: asyncio.run(gather(server, ["a", "b", "c"]))).start()
    submitted.wait(20)
    {leave}
"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("leave", "status", "last"),
    [
        (
            "1 / 0",
            1,
            "batchling: 1 job keeps running at the provider. Run the same program again to collect the answers.",
        ),
        # The report is the last line already.
        (
            "sys.exit(3)",
            3,
            "batchling: left early. 1 job keeps running at the provider: run the same program again to collect the answers",
        ),
    ],
)
def test_the_last_line_of_a_program_says_where_its_jobs_stand(
    provider_server: ProviderServer, batchling_cache: Path, leave: str, status: int, last: str
) -> None:
    provider_server.hold()
    program = HEAD + LEFT_WITH_A_JOB.format(leave=leave)
    process = start_program(provider_server, batchling_cache, program)
    _, errors = process.communicate(timeout=20)

    assert process.returncode == status, errors
    assert errors.strip().split("\n")[-1] == last
    assert errors.count("Run the same program") <= 1
    provider_server.release()
    with scope(provider_server):
        ask_all(provider_server, list("abc"))
    assert len(provider_server.creates()) == 1


@pytest.mark.thorough
def test_jobs_that_are_over_are_not_spoken_of(provider_server: ProviderServer, batchling_cache: Path) -> None:
    """Left by an exception, then collected by a second scope of the same program."""
    provider_server.hold()
    program = f"""
try:
{textwrap.indent(LEFT_WITH_A_JOB.format(leave="1 / 0"), "    ")}
except ZeroDivisionError:
    print("left", flush=True)
    sys.stdin.readline()
{WAITING}"""
    process = start_program(provider_server, batchling_cache, HEAD + program)
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "left\n"
    provider_server.release()
    _, errors = process.communicate("go\n", timeout=20)

    assert process.returncode == 0, errors
    assert "3 from cache" in errors.split("batchling: ")[-1]
