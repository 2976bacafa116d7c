"""What single gateways and providers were seen to do: the kinds of the public reports that no other table has."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from math import inf

import pytest

from batchling import events
from batchling.testing import ProviderServer
from tests.engine.calls import ask, ask_all, scope
from tests.faults.calls import ask_all as ask_provider
from tests.faults.calls import run
from tests.patience import be_patient

PAGE = b"<!DOCTYPE html><title>Just a moment...</title>"
PROVIDERS = pytest.mark.parametrize("provider", ["openai", "anthropic"])


@pytest.mark.thorough
@PROVIDERS
@pytest.mark.parametrize("status", [500, 200])
@pytest.mark.parametrize("most", [0, 2])
def test_a_create_that_may_have_acted_uses_up_a_try(
    provider_server: ProviderServer, provider: str, status: int, most: int
) -> None:
    """The job exists, its reply is lost, and no list ever shows it (litellm-docs#1408, together-py#525)."""
    body = b'{"job": null}' if status == 200 else b""
    provider_server.lose_created(status, body, times=100)
    provider_server.spoil_lists("nothing")

    assert ask_provider(provider_server, provider, ["a", "b"], max_resubmissions=most) == [424, 424]
    assert len(provider_server.jobs()) == most + 1


@pytest.mark.thorough
def test_what_may_have_been_paid_is_said(provider_server: ProviderServer) -> None:
    provider_server.lose_created(500, times=100)
    provider_server.spoil_lists("nothing")
    with scope(provider_server, batch_window_seconds=0.02):
        answer = ask(provider_server, "x")

    assert "3 calls to create a job were sent and got an error or no answer" in answer.text
    assert "may have run and been billed" in answer.text


@pytest.mark.thorough
@PROVIDERS
@pytest.mark.parametrize("alone", [False, True])
def test_a_row_that_never_comes_has_an_end(provider_server: ProviderServer, provider: str, alone: bool) -> None:
    """Counted as done and in no file (aqueduct#55), also when it is the only one of its job."""
    provider_server.lose_rows(lambda body: "lost" in json.dumps(body))
    texts = ["lost"] if alone else ["a", "lost", "b"]

    assert ask_provider(provider_server, provider, texts) == [424 if text == "lost" else 200 for text in texts]
    assert len(provider_server.jobs()) == 3


@PROVIDERS
def test_results_that_are_nobodys_are_not_bought_again(provider_server: ProviderServer, provider: str) -> None:
    """As LiteLLM before Bedrock hands out (litellm-docs#1408): JSON lines, none of them with a key of ours."""
    part = "/content" if provider == "openai" else "/results"
    lines = b'{"recordId": "1", "modelOutput": {}}\n' * 3
    provider_server.change_reply("GET", part, lambda _: lines, times=2)

    assert run(provider_server, provider) == [424] * 3
    assert run(provider_server, provider) == [200] * 3
    assert len(provider_server.jobs()) == 1


def _as_array(lines: bytes) -> bytes:
    return json.dumps([json.loads(line) for line in lines.splitlines()]).encode()


def _as_text(lines: bytes) -> bytes:
    return "\n".join(json.dumps(json.loads(line), indent=2) for line in lines.splitlines()).encode()


SHAPES: dict[str, Callable[[bytes], bytes]] = {
    "gzip without its header": gzip.compress,
    "gzip of several members": lambda lines: b"".join(map(gzip.compress, lines.splitlines(keepends=True))),
    "an array": _as_array,
    "an array in gzip": lambda lines: gzip.compress(_as_array(lines)),
    "an array over many lines": lambda lines: json.dumps(json.loads(_as_array(lines)), indent=4).encode(),
    "an object around an array": lambda lines: b'{"object": "list", "data": %s}' % _as_array(lines),
    "objects over many lines": _as_text,
    "with a mark and blank lines": lambda lines: b"\xef\xbb\xbf" + lines.replace(b"\n", b"\r\n\r\n"),
}


@PROVIDERS
@pytest.mark.parametrize("shape", SHAPES)
def test_a_file_in_another_shape_is_read(provider_server: ProviderServer, provider: str, shape: str) -> None:
    part = "/content" if provider == "openai" else "/results"
    provider_server.change_reply("GET", part, SHAPES[shape], times=inf)

    assert run(provider_server, provider) == [200] * 3
    assert run(provider_server, provider) == [200] * 3
    assert len(provider_server.jobs()) == 1


@PROVIDERS
def test_a_status_that_only_a_lenient_reader_takes(provider_server: ProviderServer, provider: str) -> None:
    odd = b'\xef\xbb\xbf{"eta": NaN, "note": "\\ud83d", '
    provider_server.change_reply("GET", "/batches/", lambda body: odd + body.lstrip()[1:], times=inf)

    assert run(provider_server, provider) == [200] * 3


@pytest.mark.thorough
@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_an_error_file_that_stays_unreadable_costs_no_other_row(provider_server: ProviderServer, status: int) -> None:
    """litellm#36034 (403), #33989 (500)."""
    provider_server.fail_rows(lambda body: "bad" in json.dumps(body), 400, {"error": {"message": "bad"}})
    provider_server.fail_call("GET", "_error/content", status, b"{}", times=10_000)
    with scope(provider_server, batch_window_seconds=0.3, batch_size=3):
        answers = ask_all(provider_server, ["a", "bad", "b"])

    assert [answer.status_code for answer in answers] == [200, 424, 200]
    assert "its error file cannot be read" in answers[1].text


def test_an_output_file_that_stays_unreadable_keeps_the_batch(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_patient(monkeypatch, results=0.0)
    provider_server.fail_rows(lambda body: "bad" in json.dumps(body), 400, {"error": {"message": "bad"}})
    provider_server.fail_call("GET", "_output/content", 403, b"{}")
    seen = []
    for _ in range(2):
        with scope(provider_server, batch_window_seconds=0.3, batch_size=3):
            seen.append([answer.status_code for answer in ask_all(provider_server, ["a", "bad", "b"])])

    assert seen == [[424, 400, 424], [200, 400, 200]]
    assert len(provider_server.billed()) == 2


@pytest.mark.parametrize("status", [301, 307, 308])
@pytest.mark.parametrize("part", ["/files", "/batches"])
def test_a_redirect_of_our_calls_is_followed(provider_server: ProviderServer, status: int, part: str) -> None:
    """Of a path without its last slash (open-webui#28397)."""
    provider_server.redirect_call("POST", part, status)

    assert run(provider_server, "openai") == [200] * 3
    assert len(provider_server.billed(batch=True)) == 3


@pytest.mark.parametrize("status", [302, 303, 405])
def test_what_a_status_says_of_our_call_is_nobodys_answer(provider_server: ProviderServer, status: int) -> None:
    provider_server.fail_call("POST", "/files", status, b"{}", {"location": "https://elsewhere.example/"}, times=100)

    assert run(provider_server, "openai") == [200] * 3
    assert len(provider_server.billed(batch=False)) == 3


@pytest.mark.thorough
@PROVIDERS
@pytest.mark.parametrize("status", [302, 400, 401, 402, 403, 404, 409])
@pytest.mark.parametrize("body", [b"{}", PAGE])
def test_one_refusal_ends_no_job(provider_server: ProviderServer, provider: str, status: int, body: bytes) -> None:
    """Cloudflare's page for a valid key (freellmapi#1298), a store that refuses a link once."""
    provider_server.fail_call("GET", "/batches/", status, body, times=2)
    provider_server.fail_call("GET", "/content" if provider == "openai" else "/results", status, body)

    assert run(provider_server, provider) == [200] * 3
    assert len(provider_server.jobs()) == 1


@pytest.mark.thorough
@pytest.mark.parametrize("status", [302, 400, 404, 405, 409, 410])
def test_a_refusal_that_stays_keeps_the_job(provider_server: ProviderServer, status: int) -> None:
    provider_server.fail_call("GET", "/batches/", status, b"{}", times=3)

    assert run(provider_server, "openai") == [424] * 3
    assert run(provider_server, "openai") == [200] * 3
    assert len(provider_server.jobs()) == 1


@pytest.mark.thorough
def test_a_list_that_tells_nothing_buys_nothing(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """litellm#38738; an end of minutes, then the next run looks again."""
    be_patient(monkeypatch, results=0.2)
    provider_server.lose_created(500)
    provider_server.spoil_lists("unreadable")
    first = run(provider_server, "openai")
    provider_server.recover()

    assert first == [424] * 3
    assert run(provider_server, "openai") == [200] * 3
    assert len(provider_server.jobs()) == 1


@pytest.mark.thorough
@PROVIDERS
def test_a_list_that_does_not_advance_ends(provider_server: ProviderServer, provider: str) -> None:
    """litellm#37150."""
    assert ask_provider(provider_server, provider, list("xyz")) == [200] * 3
    provider_server.show_per_page(1)
    provider_server.spoil_lists("repeating")
    provider_server.lose_created(500, acts=False)

    assert run(provider_server, provider) == [200] * 3
    assert len(provider_server.calls("GET", "/batches")) < 60


@PROVIDERS
@pytest.mark.parametrize("seconds", [-5_000, -600, 600, 5_000])
def test_the_providers_clock_counts(provider_server: ProviderServer, provider: str, seconds: int) -> None:
    """WSL#10006: our clock is ahead, or behind."""
    provider_server.shift_clock(seconds)
    provider_server.lose_created(500)

    assert run(provider_server, provider) == [200] * 3
    assert len(provider_server.jobs()) == 1


@PROVIDERS
@pytest.mark.parametrize("word", ["finished", "completed_with_errors", "error", "timed_out"])
def test_an_end_in_an_unknown_word(provider_server: ProviderServer, provider: str, word: str) -> None:
    if provider == "anthropic":
        pytest.skip("results have no name there that a status could hold")
    provider_server.call_success(word)

    assert run(provider_server, provider) == [200] * 3


@pytest.mark.thorough
def test_only_jobs_that_exist_use_up_the_hour(provider_server: ProviderServer) -> None:
    held: list[events.Held] = []

    def hear(event: events.Event) -> None:
        if isinstance(event, events.Held):
            held.append(event)

    provider_server.fail_call("POST", "/batches", 400, b'{"error": {"message": "no"}}')
    with scope(provider_server, batch_window_seconds=0.02, max_batches_per_hour=1, on_event=hear):
        statuses = [ask(provider_server, text).status_code for text in ("refused", "good")]

    assert statuses == [400, 200]
    assert held == []


def test_a_page_at_the_submission_is_no_answer(provider_server: ProviderServer) -> None:
    provider_server.fail_call("POST", "/files", 403, PAGE)
    provider_server.fail_call("POST", "/batches", 403, PAGE)

    assert run(provider_server, "openai") == [200] * 3
    assert len(provider_server.jobs()) == 1
