"""`batchify(on_event=...)`: in order, on a thread of its own, and without a way to slow or break a batch."""

from __future__ import annotations

import asyncio
import logging
import os
import threading

import pytest

from batchling import OptionError, batchify, events
from batchling.scope import context
from batchling.testing import ProviderServer
from tests.engine.calls import ask, ask_all, gather, scope, together
from tests.waiting import wait_until


def names(heard: list[events.Event]) -> list[str]:
    return [type(event).__name__ for event in heard]


def test_events_come_in_order_on_one_thread(provider_server: ProviderServer) -> None:
    heard: list[events.Event] = []
    threads: set[str] = set()

    def listen(event: events.Event) -> None:
        threads.add(threading.current_thread().name)
        heard.append(event)

    with scope(provider_server, on_event=listen, **together(3)):
        ask_all(provider_server, list("abc"))

    # Calls that arrive together share an event.
    order = list(dict.fromkeys(name for name in names(heard) if name != "Polled"))
    assert order == ["Queued", "Submitted", "Ended", "Answered"]
    for kind in (events.Queued, events.Answered):
        assert sum(event.calls for event in heard if isinstance(event, kind)) == 3
    submitted = next(event for event in heard if isinstance(event, events.Submitted))
    assert (submitted.rows, submitted.target.model) == (3, "m")
    assert threads == {"batchling-events"}
    assert "batchling-events" not in {thread.name for thread in threading.enumerate() if thread.is_alive()}


def test_a_listener_that_raises_is_logged_once_and_stays_called(
    provider_server: ProviderServer, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[events.Event] = []

    def listen(event: events.Event) -> None:
        heard.append(event)
        raise SystemExit("no")

    with scope(provider_server, on_event=listen, **together(2)):
        answers = ask_all(provider_server, list("ab"))

    assert [answer.status_code for answer in answers] == [200, 200]
    assert names(heard)[-1] == "Answered"
    complaints = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(complaints) == 1
    assert complaints[0].exc_info is not None


@pytest.mark.thorough
def test_a_listener_that_blocks_delays_no_answer_and_is_waited_for_so_long_only(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "_LISTEN_SECONDS", 0.2)
    blocked, free = threading.Event(), threading.Event()

    def listen(event: events.Event) -> None:
        blocked.set()
        free.wait(30)

    with scope(provider_server, on_event=listen):
        assert ask(provider_server, "hi").status_code == 200
        assert blocked.is_set()
    free.set()


@pytest.mark.thorough
def test_several_listeners_and_a_listener_that_needs_the_loop(provider_server: ProviderServer) -> None:
    heard: list[events.Event] = []
    seen: list[events.Event] = []

    async def program() -> None:
        loop = asyncio.get_running_loop()

        async def note(event: events.Event) -> None:
            seen.append(event)

        def listen(event: events.Event) -> None:
            asyncio.run_coroutine_threadsafe(note(event), loop).result(10)

        async with scope(provider_server, on_event=[heard.append, listen]):  # type: ignore[attr-defined]
            await gather(provider_server, ["a"])

    asyncio.run(program())

    assert names(seen) == names(heard)
    assert names(seen)[-1] == "Answered"


@pytest.mark.thorough
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_tells_its_own_events(provider_server: ProviderServer) -> None:
    heard: list[events.Event] = []
    with scope(provider_server, on_event=heard.append):
        ask(provider_server, "parent")
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            heard.clear()
            ask(provider_server, "child")
            wait_until(lambda: "Answered" in names(heard), "the child hears of its answer")
            os.write(writer, " ".join(name for name in names(heard) if name != "Polled").encode())
            os._exit(0)
        os.close(writer)
        told_by_child = os.read(reader, 1000).decode()
        os.waitpid(child, 0)

    assert told_by_child == "Queued Submitted Ended Answered"
    assert names(heard).count("Queued") == 1


@pytest.mark.parametrize("value", [3, "print", [], [3], [print, None]])
def test_what_cannot_be_called_is_refused(value: object) -> None:
    with pytest.raises(OptionError, match="on_event"):
        batchify(on_event=value)  # type: ignore[arg-type]
