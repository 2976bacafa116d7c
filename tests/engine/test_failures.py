"""How failures reach the program: as the provider's own answers. And what a fault on the wire does not do."""

from __future__ import annotations

import httpx
import pytest
import requests

from batchling.engine.patience import REFUSALS
from batchling.testing import ProviderServer
from tests.engine.calls import TLS, ask, ask_all, ask_claude, chat, scope, together
from tests.patience import be_patient

LIMITED = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down", "details": None}}


@pytest.mark.thorough
def test_a_refused_key_is_the_providers_401(provider_server: ProviderServer) -> None:
    with scope(provider_server):
        openai = ask(provider_server, "x", key="sk-bad")
        claude = ask_claude(provider_server, "x", key="sk-bad")

    assert (openai.status_code, openai.json()["error"]["code"]) == (401, "invalid_api_key")
    assert (claude.status_code, claude.json()["error"]["type"]) == (401, "authentication_error")
    assert openai.headers["x-should-retry"] == claude.headers["x-should-retry"] == "false"


def test_a_bad_row_fails_alone(provider_server: ProviderServer) -> None:
    error = {"error": {"message": "bad row", "type": "invalid_request_error", "param": None, "code": None}}
    provider_server.fail_rows(lambda body: body["messages"][0]["content"] == "3", 400, error)
    with scope(provider_server, **together(6)):
        answers = ask_all(provider_server, [f"{n}" for n in range(6)])

    assert [r.status_code for r in answers] == [200, 200, 200, 400, 200, 200]
    assert answers[3].json() == error
    assert len(provider_server.creates()) == 1


@pytest.mark.thorough
def test_a_row_that_could_succeed_is_tried_again_and_then_told(provider_server: ProviderServer) -> None:
    provider_server.fail_rows(lambda body: "once" in str(body), 429, LIMITED, times=1)
    provider_server.fail_rows(lambda body: "always" in str(body), 429, LIMITED)
    with scope(provider_server, batch_window_seconds=0.05):
        assert ask_claude(provider_server, "once").status_code == 200
        always = ask_claude(provider_server, "always")

    assert (always.status_code, always.json()["error"]["message"]) == (429, "slow down")
    assert "retry-after" not in always.headers
    assert len(provider_server.creates()) == 2 + 3


@pytest.mark.thorough
def test_a_job_that_fails_as_a_whole_concerns_every_row(provider_server: ProviderServer) -> None:
    with scope(provider_server):
        answer = ask(provider_server, "x", model="no-such-model")
    assert (answer.status_code, answer.json()["error"]["message"]) == (404, "The model 'no-such-model' does not exist.")

    for _ in range(4):  # whole, again, in halves
        provider_server.fail_job("invalid_request", "your organisation is on hold")
    with scope(provider_server, **together(2)):
        answers = ask_all(provider_server, ["a", "b"])
    assert [(r.status_code, r.json()["error"]["message"]) for r in answers] == [
        (400, "your organisation is on hold")
    ] * 2


def test_a_job_that_fails_for_one_row_spares_the_others(provider_server: ProviderServer) -> None:
    provider_server.fail_job("invalid_request", "this line is bad", line=2)
    with scope(provider_server, **together(3)):
        answers = ask_all(provider_server, ["a", "b", "c"])

    assert sorted(r.status_code for r in answers) == [200, 200, 400]
    assert len(provider_server.billed()) == 2


@pytest.mark.thorough
@pytest.mark.parametrize("call", [ask, ask_claude])
def test_rows_that_expired_are_asked_again(provider_server: ProviderServer, call: object) -> None:
    provider_server.expire_job(done=0.0)
    with scope(provider_server, batch_window_seconds=0.05):
        assert call(provider_server, "x").status_code == 200  # type: ignore[operator]

    assert len(provider_server.creates()) == 2
    assert len(provider_server.billed()) == 1


@pytest.mark.thorough
@pytest.mark.parametrize("call", [ask, ask_claude])
def test_rows_that_never_run_are_told_in_the_providers_shape(provider_server: ProviderServer, call: object) -> None:
    for _ in range(3):
        provider_server.expire_job(done=0.0)
    with scope(provider_server, batch_window_seconds=0.05):
        answer = call(provider_server, "x")  # type: ignore[operator]

    assert answer.status_code == 424
    assert "never ran" in answer.json()["error"]["message"]
    assert answer.headers["x-should-retry"] == "false"
    assert provider_server.billed() == []


@pytest.mark.thorough
def test_half_an_expired_job_is_kept(provider_server: ProviderServer) -> None:
    provider_server.expire_job(done=0.5)
    with scope(provider_server, **together(10)):
        answers = ask_all(provider_server, [f"{n}" for n in range(10)])

    assert [r.status_code for r in answers] == [200] * 10
    assert sorted(provider_server.jobs().values()) == [5, 10]
    assert len(provider_server.billed()) == 10


@pytest.mark.thorough
@pytest.mark.parametrize("call", [ask, ask_claude])
def test_a_create_that_was_turned_away_is_repeated(provider_server: ProviderServer, call: object) -> None:
    provider_server.fail_call("POST", "/batches", 429, b"{}", {"retry-after": "0.01"}, times=2)
    with scope(provider_server):
        assert call(provider_server, "x").status_code == 200  # type: ignore[operator]

    assert [seen.status for seen in provider_server.creates()] == [429, 429, 200]
    assert len(provider_server.billed()) == 1


@pytest.mark.thorough
def test_a_key_that_stops_working_is_told_and_its_job_kept(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    revoked = b'{"error": {"message": "revoked", "type": "x"}}'
    be_patient(monkeypatch, refusals=0.0)
    provider_server.fail_call("GET", "/batches/", 401, revoked, times=REFUSALS)
    with scope(provider_server):
        first = ask(provider_server, "x")
    with scope(provider_server):
        second = ask(provider_server, "x")

    assert (first.status_code, first.json()["error"]["message"]) == (401, "revoked")
    assert second.status_code == 200
    assert len(provider_server.creates()) == len(provider_server.billed()) == 1


@pytest.mark.parametrize("key", ["sk-1\n", "sk-1 ", "sk\x00"])
@pytest.mark.parametrize("kind", ["authorization", "x-api-key"])
def test_a_key_that_no_header_can_carry_fails_as_it_does_without(
    provider_server: ProviderServer, capsys: pytest.CaptureFixture[str], kind: str, key: str
) -> None:
    """A newline from an environment file: the caller's own client says so, at once."""
    url = f"{provider_server.openai_url}/chat/completions"
    if kind == "x-api-key":
        url = f"{provider_server.anthropic_url}/v1/messages"
    headers = {kind: key if kind == "x-api-key" else f"Bearer {key}"}
    with scope(provider_server), pytest.raises(httpx.LocalProtocolError):
        httpx.post(url, json=chat("x", max_tokens=9), headers=headers, verify=TLS)

    assert "a header that HTTP does not allow" in capsys.readouterr().err
    httpx.get(f"{provider_server.openai_url}/models", verify=TLS)  # the server has seen the connection go by then
    assert provider_server.calls("POST") == []


@pytest.mark.thorough
def test_a_key_with_strange_letters_is_the_providers_to_refuse(provider_server: ProviderServer) -> None:
    url = f"{provider_server.openai_url}/chat/completions"
    headers = {"authorization": "Bearer sk-bad…".encode()}
    with scope(provider_server):
        with requests.Session() as session:
            assert session.post(url, json=chat("x"), headers=headers, timeout=20).status_code == 401
