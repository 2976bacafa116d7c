"""What a call waits for: one outcome, whoever comes first, and everybody who waits is woken once."""

from __future__ import annotations

import os
import threading
from concurrent.futures import CancelledError, InvalidStateError, ThreadPoolExecutor

import pytest

from batchling.system import pending
from batchling.system.pending import Pending


def test_a_result() -> None:
    call: Pending[str] = Pending()
    assert (call.done(), call.cancelled(), call.wait(0)) == (False, False, False)
    call.set_result("yes")
    assert (call.done(), call.wait(), call.result(), call.exception()) == (True, True, "yes", None)


def test_an_exception_is_raised_each_time() -> None:
    call: Pending[str] = Pending()
    fault = KeyError("no")
    call.set_exception(fault)
    assert call.exception() is fault
    for _ in range(2):
        with pytest.raises(KeyError, match="no"):
            call.result()


def test_who_gives_up_is_told_so() -> None:
    call: Pending[str] = Pending()
    assert call.cancel()
    assert call.cancel()
    assert (call.done(), call.cancelled()) == (True, True)
    with pytest.raises(CancelledError):
        call.result()
    with pytest.raises(CancelledError):
        call.exception()


def test_the_first_outcome_stays() -> None:
    call: Pending[str] = Pending()
    call.set_result("first")
    for late in (lambda: call.set_result("second"), lambda: call.set_exception(ValueError())):
        with pytest.raises(InvalidStateError):
            late()
    assert not call.cancel()
    assert call.result() == "first"


def test_a_limit() -> None:
    call: Pending[str] = Pending()
    with pytest.raises(TimeoutError):
        call.result(timeout=0.001)
    call.set_result("late")
    assert call.result(timeout=0) == "late"


def test_threads_that_wait_are_all_woken() -> None:
    call: Pending[str] = Pending()
    with pytest.raises(TimeoutError):
        call.result(timeout=0.001)  # its place is free again
    ready = threading.Barrier(4)

    def one() -> str:
        ready.wait()
        return call.result(timeout=20)

    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(one) for _ in range(3)]
        ready.wait()
        call.set_result("all")
        assert [each.result() for each in waiting] == ["all"] * 3


def test_callbacks_come_once_and_cannot_break_each_other(caplog: pytest.LogCaptureFixture) -> None:
    call: Pending[str] = Pending()
    heard: list[object] = []

    def breaks(_: Pending[str]) -> None:
        raise ValueError("mine")

    call.add_done_callback(breaks)
    call.add_done_callback(heard.append)
    call.set_result("x")
    call.add_done_callback(heard.append)
    assert heard == [call, call]
    assert "a callback failed" in caplog.text


def test_a_callback_may_ask_and_give_up() -> None:
    """As a garbage collection may, in the middle of a change."""
    first: Pending[str] = Pending()
    second: Pending[str] = Pending()
    first.add_done_callback(lambda _: second.cancel())
    first.set_result("x")
    assert second.cancelled()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_child_is_not_locked_out_by_a_thread_of_its_parent() -> None:
    holds, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with pending._changing:
            holds.set()
            leave.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    holds.wait(20)
    child = os.fork()
    if child == 0:
        call: Pending[str] = Pending()
        call.set_result("x")
        os._exit(0 if call.result() == "x" else 1)
    _, status = os.waitpid(child, 0)
    leave.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0
