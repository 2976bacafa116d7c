"""A scope and the children that are forked inside it: one budget, one pace, one receipt."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from batchling import batchify
from batchling.core import events
from batchling.core.budget import Budget
from batchling.core.cost import Cost
from batchling.display.receipt import Report
from batchling.engine.family import Family, _after_in_parent, _before_fork
from batchling.testing import ProviderServer
from tests.display.targets import CHAT
from tests.engine.calls import QUICK, ask, scope
from tests.engine.open_scope import batcher

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

ACCOUNT = ("openai", "https://api.openai.com/v1", "a")
HERE: Any = multiprocessing.get_context("fork") if hasattr(os, "fork") else None


def in_child(work: Callable[[], Any]) -> Any:
    """What a forked child returns."""
    results = HERE.SimpleQueue()
    child = HERE.Process(target=lambda: results.put(work()))
    child.start()
    found = results.get()
    child.join(20)
    assert child.exitcode == 0
    return found


def opened(limit: float | None = None, hear: Callable[[events.Event], None] | None = None) -> Family:
    family = Family(None if limit is None else Budget(limit, lambda target, items: {}), hear)
    family.open()
    return family


def reserve(family: Family, batch: str, amount: str = "0.4") -> bool:
    assert family.budget is not None
    return not family.reserve(family.budget, batch, {"k": Decimal(amount)})


# The budget.


@pytest.mark.thorough
def test_a_budget_is_for_all_workers(provider_server: ProviderServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Eight workers with a call each share what is enough for two; none has ended while the others ask."""
    begin = HERE.Barrier(8)

    def work(number: int, answers: Any) -> None:
        begin.wait(20)
        more = {"model": "gpt-5-mini", "max_completion_tokens": 400}
        answers.put(ask(provider_server, f"{number}", **more).status_code)

    context = scope(provider_server, budget_usd=0.0009, cache=False)
    answers = HERE.SimpleQueue()
    provider_server.hold()
    with context:
        children = [HERE.Process(target=work, args=(number, answers)) for number in range(8)]
        for child in children:
            child.start()
        refused = [answers.get() for _ in range(6)]
        provider_server.release()
        good = [answers.get() for _ in range(2)]
        for child in children:
            child.join(20)
    assert refused == [402] * 6
    assert good == [200] * 2
    assert len(provider_server.billed(batch=True)) == 2
    assert context.receipt.cost.answers == 2
    assert context.receipt.denied == 6
    assert "8 calls batched" in capsys.readouterr().err


def test_what_one_reserves_frees_or_pays_counts_for_all() -> None:
    family = opened(1.0)
    assert reserve(family, "mine")
    assert in_child(lambda: [reserve(family, "first"), reserve(family, "second")]) == [True, False]
    assert not reserve(family, "third")
    family.on_event(events.Died("mine", "refused"))
    assert in_child(lambda: [reserve(family, "fourth"), reserve(family, "fifth")]) == [True, False]
    assert family.budget is not None

    def ends() -> None:
        family.on_event(events.Died("fourth", "refused"))

    in_child(ends)
    assert reserve(family, "sixth")
    assert family.budget.taken == Decimal("0.8")


@pytest.mark.thorough
def test_many_at_once_never_take_more_than_there_is() -> None:
    family = opened(1.0)
    begin = HERE.Barrier(6)
    counts = HERE.SimpleQueue()

    def work(number: int) -> None:
        begin.wait(20)
        counts.put(sum(reserve(family, f"{number} {turn}", "0.01") for turn in range(40)))

    children = [HERE.Process(target=work, args=(number,)) for number in range(6)]
    for child in children:
        child.start()
    assert sum(counts.get() for _ in children) == 100
    for child in children:
        child.join(20)
    family.gather()
    assert family.budget is not None
    assert family.budget.taken == 1


def test_what_a_killed_child_has_reserved_may_have_been_spent() -> None:
    family = opened(1.0)
    reserved = HERE.Event()

    def work() -> None:
        reserve(family, "killed", "0.7")
        reserved.set()
        signal.pause()

    child = HERE.Process(target=work)
    child.start()
    assert reserved.wait(20)
    child.kill()
    child.join(20)
    assert not reserve(family, "mine")
    assert reserve(family, "small", "0.3")


@pytest.mark.thorough
@pytest.mark.parametrize("reuses", [False, True])
def test_a_child_that_closes_its_files_keeps_its_own_clean_and_spends_nothing(tmp_path: Path, reuses: bool) -> None:
    family = opened(1.0)
    own = tmp_path / "own"

    def as_a_daemon() -> list[Any]:
        assert family._journal is not None
        number = family._journal._file
        os.close(number)
        if reuses:
            taken = os.open(own, os.O_RDWR | os.O_CREAT)
            os.dup2(taken, number)
        may = reserve(family, "lost")
        family.on_event(events.Died("lost", "refused"))
        family._journal = None
        gc.collect()
        # A number that is the program's own now stays open.
        return [may, own.read_bytes() if reuses else b"", not reuses or bool(os.fstat(number))]

    assert in_child(as_a_daemon) == [False, b"", True]
    assert reserve(family, "mine")


@pytest.mark.thorough
def test_a_child_without_the_journal_answers_402(provider_server: ProviderServer) -> None:
    def as_a_daemon() -> int:
        journal = batcher().family._journal
        assert journal is not None
        os.close(journal._file)
        return ask(provider_server, "a", model="gpt-5-mini", max_completion_tokens=400).status_code

    with scope(provider_server, budget_usd=1):
        assert in_child(as_a_daemon) == 402
    assert provider_server.creates() == []


def test_a_line_that_was_cut_off_spoils_only_itself() -> None:
    family = opened(1.0)

    def cut_off() -> None:
        assert family._journal is not None
        os.write(family._journal._file, b'\nabc reserved ["half", {"k": "0.')
        reserve(family, "whole", "0.9")

    in_child(cut_off)
    assert not reserve(family, "mine")


# The pace.


def test_the_creations_of_an_hour_are_those_of_all() -> None:
    family = opened()
    first = family.launch(ACCOUNT, 3)
    assert isinstance(first, str)

    def work() -> list[Any]:
        made, given_up, none_left = (family.launch(ACCOUNT, 3) for _ in range(3))
        family.launched(ACCOUNT, made, created=True)
        family.launched(ACCOUNT, given_up, created=False)
        return [made, given_up, none_left]

    none_left = in_child(work)[-1]
    assert tuple(none_left) == (0, None)
    second = family.launch(ACCOUNT, 3)
    assert isinstance(second, str)
    found = family.launch(ACCOUNT, 3)
    assert isinstance(found, tuple)
    assert found[0] == 1
    assert isinstance(family.launch(("other", "", ""), 1), str)


def test_a_launch_of_a_killed_child_counts() -> None:
    family = opened()

    def work() -> None:
        family.launch(ACCOUNT, 1)
        os.kill(os.getpid(), signal.SIGKILL)

    child = HERE.Process(target=work)
    child.start()
    child.join(20)
    assert child.exitcode == -signal.SIGKILL
    assert isinstance(family.launch(ACCOUNT, 1), tuple)


@pytest.mark.thorough
def test_a_forked_batch_waits_for_the_hour_of_its_parents(provider_server: ProviderServer) -> None:
    with scope(provider_server, max_batches_per_hour=1):
        assert ask(provider_server, "mine").status_code == 200
        child = HERE.Process(target=ask, args=(provider_server, "one too many"))
        child.start()
        child.join(1.5)
        assert child.is_alive()
        child.kill()
        child.join(20)
    assert len(provider_server.creates()) == 1


# The receipt.


@pytest.mark.thorough
def test_the_receipt_has_what_children_and_their_children_did(
    provider_server: ProviderServer, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    def grandchild() -> int:
        return ask(provider_server, "grandchild").status_code

    def child() -> list[int]:
        return [ask(provider_server, "child").status_code, in_child(grandchild)]

    context = scope(provider_server)
    with context:
        assert in_child(child) == [200, 200]
        assert context.receipt.answered == 2
    assert context.receipt.answered == 2
    assert context.receipt.batches == 2
    assert context.receipt.cost.answers == 2
    assert "2 calls batched in 2 batches" in capsys.readouterr().err
    assert "no call was intercepted" not in caplog.text


@pytest.mark.thorough
def test_what_goes_real_time_in_a_child_is_reported(
    provider_server: ProviderServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with scope(provider_server):
        assert in_child(lambda: ask(provider_server, "a", stream=True).status_code) == 200
        assert ask(provider_server, "b").status_code == 200
    report = capsys.readouterr().err
    assert "1 call batched in 1 batch" in report
    assert "1 went real time" in report


@pytest.mark.thorough
def test_a_child_leaves_the_report_to_its_parent(
    provider_server: ProviderServer, capfd: pytest.CaptureFixture[str]
) -> None:
    def leave(context: Any) -> int:
        status = ask(provider_server, "a").status_code
        context.__exit__(None, None, None)
        return status

    context = scope(provider_server)
    with context:
        assert in_child(lambda: leave(context)) == 200
    assert capfd.readouterr().err.count("1 call batched in 1 batch") == 1


def test_a_real_time_call_counts_even_if_its_child_is_over_at_once(
    provider_server: ProviderServer, capsys: pytest.CaptureFixture[str]
) -> None:
    def note_and_die() -> None:
        batcher().bypass("POST", "https://api.openai.com/v1/responses", "streaming")
        os.kill(os.getpid(), signal.SIGKILL)

    with scope(provider_server):
        child = HERE.Process(target=note_and_die)
        child.start()
        child.join(20)
    assert "1 went real time" in capsys.readouterr().err


def test_a_batch_that_two_processes_follow_is_counted_by_the_one_that_tells_its_cost() -> None:
    report = Report()
    cost = Cost(answers=1, paid=1.0, full=2.0)
    for event in (
        events.Submitted(CHAT, "b", "j", 1),
        events.Attached(CHAT, "b", 1),
        events.Ended("b", 1, 0, None),
        events.Ended("b", 1, 0, cost),
    ):
        report.add(event)
    assert report.receipt(1.0).cost == cost


@pytest.mark.thorough
def test_nothing_is_shared_before_the_first_fork_and_after_the_scope(provider_server: ProviderServer) -> None:
    with scope(provider_server):
        family = batcher().family
        assert ask(provider_server, "a").status_code == 200
        assert not family.has_children
    in_child(lambda: 0)
    assert not family.has_children


def test_threads_may_fork_at_the_same_time() -> None:
    """What a fork calls, without one: filelock refuses a second fork meanwhile."""
    family = opened(1.0)
    asked, done = threading.Event(), threading.Event()

    def fork() -> None:
        asked.set()
        _before_fork()
        _after_in_parent()
        done.set()

    _before_fork()
    other = threading.Thread(target=fork)
    other.start()
    assert asked.wait(20)
    assert not done.is_set()
    _after_in_parent()
    other.join(20)
    assert done.is_set()
    assert reserve(family, "mine")


def test_a_scope_without_a_temporary_folder_still_forks(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(*args: Any, **options: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", none)
    with batchify(**QUICK):
        assert in_child(lambda: 7) == 7
    assert "a forked child has its own budget, its own limit of batches per hour, and its own receipt" in caplog.text
