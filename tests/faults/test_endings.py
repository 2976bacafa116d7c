"""What a job can end as: finished rows are answered, rows that never ran are asked again, nothing is billed twice."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from batchling.cache.files import FileStore
from batchling.testing import ProviderServer
from tests.engine.calls import ask, ask_all, ask_claude, scope
from tests.faults.calls import ask_all as ask_provider
from tests.faults.calls import run
from tests.patience import be_patient
from tests.waiting import wait_for_poll, wait_until

PROVIDERS = ["openai", "anthropic"]
RESULTS = {"openai": "/content", "anthropic": "/results"}
OVERLOADED = {"error": {"message": "overloaded", "type": "overloaded_error", "code": None, "param": None}}


def lines(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[bytes], bytes]:
    return lambda body: b"\n".join(change(body.rstrip(b"\n").split(b"\n"))) + b"\n"


def stranger(like: bytes) -> bytes:
    return json.dumps({**json.loads(like), "custom_id": "somebody-else-0"}).encode()


@pytest.mark.thorough
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("done", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("ending", ["expire_job", "cancel_job"])
def test_what_ran_is_kept_and_the_rest_asked_again(
    provider_server: ProviderServer, provider: str, ending: str, done: float
) -> None:
    getattr(provider_server, ending)(done)

    assert run(provider_server, provider) == [200] * 3
    ran = round(3 * done)
    assert sorted(provider_server.jobs().values()) == sorted([3] if ran == 3 else [3, 3 - ran])
    assert len(provider_server.billed()) == 3


@pytest.mark.thorough
@pytest.mark.parametrize("call", [ask, ask_claude])
@pytest.mark.parametrize("most", [0, 1, 3])
def test_how_often_it_is_asked_again_is_an_option(
    provider_server: ProviderServer, call: Callable[..., object], most: int
) -> None:
    for _ in range(most + 1):
        provider_server.expire_job(done=0.0)
    with scope(provider_server, batch_window_seconds=0.02, max_resubmissions=most):
        answer = call(provider_server, "x")

    assert answer.status_code == 424  # type: ignore[attr-defined]
    assert f"expired; tries: {most + 1})" in answer.text  # type: ignore[attr-defined]
    assert answer.headers["x-should-retry"] == "false"  # type: ignore[attr-defined]
    assert len(provider_server.jobs()) == most + 1
    assert call(provider_server, "x").status_code == 200  # type: ignore[attr-defined]


@pytest.mark.thorough
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("bad", [{"a"}, {"a", "b", "c"}])
def test_rows_that_failed_for_good_are_told_at_once_and_never_kept(
    provider_server: ProviderServer, provider: str, bad: set[str]
) -> None:
    """Also when all of them failed, and there is no output file at all."""
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": "no", "details": None}}
    provider_server.fail_rows(lambda body: body["messages"][0]["content"] in bad, 400, error, times=len(bad))

    expected = [400 if text in bad else 200 for text in "abc"]
    assert run(provider_server, provider) == expected
    assert len(provider_server.jobs()) == 1
    assert run(provider_server, provider) == [200] * 3
    assert len(provider_server.billed()) == 3


@pytest.mark.parametrize("provider", PROVIDERS)
def test_rows_in_any_order_twice_and_of_strangers(provider_server: ProviderServer, provider: str) -> None:
    provider_server.change_reply(
        "GET", RESULTS[provider], lines(lambda rows: [stranger(rows[0]), *reversed(rows), rows[1], b"", b"{}", b"\xff"])
    )

    assert run(provider_server, provider) == [200] * 3
    assert run(provider_server, provider) == [200] * 3
    assert len(provider_server.jobs()) == 1
    assert len(provider_server.billed()) == 3


@pytest.mark.thorough
def test_a_success_wins_over_a_failure_of_the_same_row(provider_server: ProviderServer) -> None:
    def doubled(rows: list[bytes]) -> list[bytes]:
        return [row.replace(b'"status_code":200', b'"status_code":500') for row in rows] + rows[:2] + rows

    for change in (doubled, lambda rows: doubled(rows)[::-1]):
        provider_server.change_reply("GET", "/content", lines(change))
        assert run(provider_server, "openai") == [200] * 3
    assert len(provider_server.jobs()) == 1


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_file_with_too_few_rows_is_downloaded_again(provider_server: ProviderServer, provider: str) -> None:
    """A connection that ends early can look like the end of the file: the provider's count says otherwise."""
    provider_server.change_reply("GET", RESULTS[provider], lines(lambda rows: rows[:1]))

    assert run(provider_server, provider) == [200] * 3
    assert len(provider_server.calls("GET", RESULTS[provider])) == 2
    assert len(provider_server.jobs()) == 1


@pytest.mark.thorough
@pytest.mark.parametrize("provider", PROVIDERS)
def test_broken_downloads_do_not_count_as_short_ones(provider_server: ProviderServer, provider: str) -> None:
    provider_server.cut_reply("GET", RESULTS[provider], times=3)
    provider_server.change_reply("GET", RESULTS[provider], lines(lambda rows: rows[:1]))

    assert run(provider_server, provider) == [200] * 3
    assert len(provider_server.calls("GET", RESULTS[provider])) == 5
    assert len(provider_server.jobs()) == 1


@pytest.mark.thorough
@pytest.mark.parametrize("provider", PROVIDERS)
def test_rows_that_come_late_are_waited_for(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    """xAI's store does not show all rows of a finished job at once."""
    be_patient(monkeypatch, rows=20.0)
    provider_server.change_reply("GET", RESULTS[provider], lines(lambda rows: rows[:1]), times=5)

    assert run(provider_server, provider) == [200] * 3
    assert len(provider_server.jobs()) == 1


@pytest.mark.thorough
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("page", [b"<html>log in first</html>", b""])
def test_a_page_in_place_of_results_buys_nothing(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch, provider: str, page: bytes
) -> None:
    """As of a proxy that answers for the provider, over and over."""
    be_patient(monkeypatch, rows=20.0)
    provider_server.change_reply("GET", RESULTS[provider], lambda _: page, times=6)

    assert run(provider_server, provider) == [200] * 3
    assert len(provider_server.calls("GET", RESULTS[provider])) == 7
    assert len(provider_server.jobs()) == 1


@pytest.mark.thorough
@pytest.mark.parametrize("provider", PROVIDERS)
def test_rows_that_are_in_no_file_are_asked_again(provider_server: ProviderServer, provider: str) -> None:
    provider_server.change_reply("GET", RESULTS[provider], lines(lambda rows: rows[:1]), times=3)

    assert run(provider_server, provider) == [200] * 3
    assert sorted(provider_server.jobs().values()) == [2, 3]


@pytest.mark.thorough
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_row_with_a_passing_trouble_is_asked_again(provider_server: ProviderServer, provider: str) -> None:
    provider_server.fail_rows(lambda body: body["messages"][0]["content"] == "b", 529, OVERLOADED, times=1)

    assert run(provider_server, provider) == [200] * 3
    assert sorted(provider_server.jobs().values()) == [1, 3]
    assert len(provider_server.billed()) == 3


@pytest.mark.parametrize(
    ("provider", "known"), [("openai", b'"status":"completed"'), ("anthropic", b'"processing_status":"ended"')]
)
def test_an_unknown_status_word_is_waited_out(
    provider_server: ProviderServer, caplog: pytest.LogCaptureFixture, provider: str, known: bytes
) -> None:
    name = known.split(b":")[0]

    def ponder(body: bytes) -> bytes:
        return body.replace(known, name + b':"pondering"').replace(b'"completed":3', b'"completed":2')

    provider_server.change_reply("GET", "/batches/", ponder, times=2)

    assert run(provider_server, provider) == [200] * 3
    assert "unknown status 'pondering' is treated as running" in caplog.text
    assert len(provider_server.jobs()) == 1


def test_finished_without_counts_and_files_is_waited_for_as_well(provider_server: ProviderServer) -> None:
    """Some providers count nothing: that the job is completed says that there are results."""

    def hidden(body: bytes) -> bytes:
        return json.dumps({**json.loads(body), "output_file_id": None, "request_counts": None}).encode()

    provider_server.change_reply("GET", "/batches/", hidden, times=4)
    assert run(provider_server, "openai") == [200] * 3
    assert len(provider_server.jobs()) == 1


@pytest.mark.thorough
def test_finished_without_files_is_waited_for_briefly(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hidden(body: bytes) -> bytes:
        return json.dumps({**json.loads(body), "output_file_id": None}).encode()

    provider_server.change_reply("GET", "/batches/", hidden, times=4)
    assert run(provider_server, "openai") == [200] * 3
    assert len(provider_server.jobs()) == 1

    be_patient(monkeypatch, files=0.05)
    provider_server.change_reply("GET", "/batches/", hidden, times=10_000)
    with scope(provider_server, batch_poll_interval_seconds=0.01, batch_window_seconds=0.02):
        lost = ask(provider_server, "nowhere to be seen")
    assert lost.status_code == 424
    assert "never ran (no row in the results; tries: 3)" in lost.text


def test_a_file_that_is_not_known_right_after_its_upload(provider_server: ProviderServer) -> None:
    error = {"error": {"message": "Cannot find file file-1", "param": "file_id", "code": None, "type": "x"}}
    provider_server.fail_call("POST", "/batches", 400, json.dumps(error).encode(), times=3)

    assert run(provider_server, "openai") == [200] * 3
    assert len(provider_server.jobs()) == 1


def test_a_row_without_money_is_not_asked_again(provider_server: ProviderServer) -> None:
    """OpenAI puts it into the error file of a finished job."""
    error = {"error": {"message": "no quota", "type": "insufficient_quota", "code": "insufficient_quota"}}
    provider_server.fail_rows(lambda body: body["messages"][0]["content"] == "b", 429, error)

    assert run(provider_server, "openai") == [200, 429, 200]
    assert len(provider_server.jobs()) == 1


@pytest.mark.thorough
def test_a_job_cancelled_in_its_validation_has_no_file_and_no_counts(provider_server: ProviderServer) -> None:
    def bare(body: bytes) -> bytes:
        nothing = {"output_file_id": None, "error_file_id": None, "request_counts": {"total": 0, "completed": 0}}
        return json.dumps({**json.loads(body), **nothing}).encode()

    provider_server.cancel_job(0.0)
    provider_server.change_reply("GET", "/batches/", bare)

    assert run(provider_server, "openai") == [200] * 3
    assert list(provider_server.jobs().values()) == [3, 3]


@pytest.mark.thorough
def test_bad_lines_are_taken_out_one_by_one(provider_server: ProviderServer) -> None:
    """OpenAI names the first bad line only: five of them are five failed jobs, and the innocent run in the sixth."""
    for _ in range(5):
        provider_server.fail_job("invalid_request", "this line is bad", line=1)
    with scope(provider_server, batch_window_seconds=0.05):
        answers = ask_all(provider_server, [f"{n}" for n in range(8)])

    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [400] * 5
    assert list(provider_server.jobs().values())[-1] == 3
    assert len(provider_server.billed()) == 3


@pytest.mark.thorough
def test_a_job_that_outlives_its_expiry_is_told_and_kept(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown word may stand for ever: the expiry and a grace bound it."""
    be_patient(monkeypatch, grace=-86_400.0)
    provider_server.hold()
    with scope(provider_server):
        late = ask(provider_server, "x")
    monkeypatch.undo()

    assert late.status_code == 424
    assert "long after its expiry" in late.text


@pytest.mark.thorough
def test_a_job_may_take_as_long_as_its_provider_says(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def later(body: bytes) -> bytes:
        if len(provider_server.calls("GET", "/batches/")) == 5:
            provider_server.release()
        return json.dumps({**json.loads(body), "expires_at": int(time.time()) + 3 * 86_400}).encode()

    be_patient(monkeypatch, grace=-86_400.0)
    provider_server.hold()
    provider_server.change_reply("GET", "/batches/", later, times=10_000)
    with scope(provider_server):
        assert ask(provider_server, "x").status_code == 200


@pytest.mark.thorough
def test_results_that_have_lapsed_are_bought_anew(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch, batchling_cache: Path
) -> None:
    """Stored rows are gone and the provider has forgotten the job: nothing can bring the answers back."""
    with scope(provider_server):
        ask(provider_server, "x")
    for path in batchling_cache.glob("results/*"):
        path.unlink()
    be_patient(monkeypatch, grace=-200_000.0)
    provider_server.fail_call("GET", "/batches/", 404, b"{}", times=3)
    with scope(provider_server):
        assert ask(provider_server, "x").status_code == 200
    assert len(provider_server.jobs()) == 2


@pytest.mark.thorough
@pytest.mark.parametrize("damage", ["gone", "cut", "scrambled"])
def test_damaged_results_are_downloaded_again_and_not_bought(
    provider_server: ProviderServer, batchling_cache: Path, damage: str
) -> None:
    with scope(provider_server):
        ask_all(provider_server, list("abc"))
    (path,) = batchling_cache.glob("results/*.jsonl")
    match damage:
        case "gone":
            path.unlink()
        case "cut":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        case "scrambled":
            path.write_bytes(bytes(255 - byte for byte in path.read_bytes()))
    with scope(provider_server):
        assert [answer.status_code for answer in ask_all(provider_server, list("abc"))] == [200] * 3

    assert len(provider_server.jobs()) == 1
    assert len(list(FileStore(str(batchling_cache)).rows(path.stem))) == 3


@pytest.mark.thorough
def test_jobs_of_other_batches_are_not_taken_for_a_lost_one(
    provider_server: ProviderServer, batchling_cache: Path
) -> None:
    """Anthropic has no tag, and another job of three rows runs: the cache knows whose it is."""
    texts = [["a", "b", "c"], ["d", "e", "f"]]
    provider_server.hold()
    answers: list[list[int]] = []

    def program(place: int) -> None:
        answers.append(ask_provider(provider_server, "anthropic", texts[place]))

    threads = [threading.Thread(target=program, args=(place,)) for place in range(2)]
    threads[0].start()
    wait_for_poll(provider_server)
    provider_server.drop_call("POST", "/batches")
    threads[1].start()
    wait_until(lambda: len(provider_server.jobs()) >= 2, "it creates its own job while the other one runs", 15)
    provider_server.release()
    for thread in threads:
        thread.join()

    assert answers == [[200] * 3] * 2
    assert len(provider_server.billed()) == 6


@pytest.mark.thorough
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_lost_job_is_looked_for_from_the_loss_of_its_reply_on(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    """A create call that was waited for longer than a list takes to show its job: one look is not enough."""
    be_patient(monkeypatch, listing=0.25)  # IDLE_SECONDS is 0.3 here
    provider_server.stall_call("POST", "/batches", acts=True)
    provider_server.change_reply("GET", "/batches", lambda body: b'{"data":[],"has_more":false}')

    assert run(provider_server, provider) == [200] * 3
    assert len(provider_server.jobs()) == 1
    assert len(provider_server.billed()) == 3
