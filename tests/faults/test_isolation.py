"""One row spoils its batch, or its job fails as a whole: the others get their answers, at every provider."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batchling.testing import ProviderServer
from tests.providers.calls import ask, texts
from tests.providers.provider_cases import BY_NAME, PROVIDER_CASES, ProviderCase

HARD = "text 01"
NAMED = ["requests[{index}] is bad", "Request at line {line} is bad", "Batch request '{key}' is bad", "some row is bad"]
QUICK = {"openai", "mistral", "openrouter", "gemini"}

provider_cases = pytest.mark.parametrize(
    "provider_case",
    [
        pytest.param(provider_case, marks=() if provider_case.name in QUICK else pytest.mark.slow)
        for provider_case in PROVIDER_CASES
    ],
    ids=str,
)


def is_hard(body: Any) -> bool:
    return HARD in json.dumps(body)


@pytest.mark.thorough
@provider_cases
@pytest.mark.parametrize("at", ["upload", "create", "job"])
@pytest.mark.parametrize("message", NAMED)
def test_a_bad_row_is_refused_alone(
    provider_server: ProviderServer, provider_case: ProviderCase, at: Any, message: str
) -> None:
    asked = texts(provider_case)
    provider_server.refuse_batches_with(is_hard, 422, message, at=at)
    answers = ask(provider_server, provider_case, asked)

    refused = [text for text, answer in zip(asked, answers, strict=True) if not answer.is_success]
    assert [text for text in asked if HARD in text] == refused
    assert {answer.status_code for answer in answers if not answer.is_success} <= {400, 422}
    assert len(provider_server.billed()) == len(asked) - len(refused)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["openai", "mistral", "openrouter"])
def test_several_bad_rows_are_found_in_halves(provider_server: ProviderServer, name: str) -> None:
    asked = [f"text {number:02}" for number in range(24)]
    bad = {"text 03", "text 04", "text 17"}
    provider_server.refuse_batches_with(
        lambda body: any(text in json.dumps(body) for text in bad), 422, "no", at="create"
    )
    answers = ask(provider_server, BY_NAME[name], asked)

    assert {text for text, answer in zip(asked, answers, strict=True) if answer.status_code == 422} == bad
    assert len(provider_server.billed(batch=True)) == 21


@pytest.mark.thorough
def test_a_refusal_of_every_row_ends(provider_server: ProviderServer) -> None:
    provider_server.refuse_batches_with(lambda body: True, 422, "none of this", at="create")
    asked = [f"text {number:03}" for number in range(200)]
    # In one batch, however slow the machine: two smaller ones would be two searches.
    answers = ask(provider_server, BY_NAME["openai"], asked, batch_window_seconds=60.0)

    assert {answer.status_code for answer in answers} == {422}
    assert len(provider_server.creates()) < 300


@pytest.mark.thorough
@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_of_the_account_is_told_at_once(provider_server: ProviderServer, status: int) -> None:
    provider_server.refuse_batches_of(status, "not you", fewer_than=1_000)
    answers = ask(provider_server, BY_NAME["openai"], texts(BY_NAME["openai"]))

    assert {answer.status_code for answer in answers} == {status}
    assert len(provider_server.creates()) == 1


@provider_cases
def test_a_job_that_fails_for_nothing_is_submitted_again(
    provider_server: ProviderServer, provider_case: ProviderCase
) -> None:
    if provider_case.name in ("anthropic", "sference"):
        pytest.skip("no job fails there")
    provider_server.fail_job("server_error", "we had trouble", times=1)
    asked = texts(provider_case)

    assert {answer.status_code for answer in ask(provider_server, provider_case, asked)} == {200}
    assert len(provider_server.billed()) == len(asked)
    assert len(provider_server.creates()) == 2


@pytest.mark.thorough
@provider_cases
def test_what_ran_in_a_failed_job_is_read(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    if provider_case.name in ("anthropic", "sference"):
        pytest.skip("no job fails there")
    if provider_case.name in ("fireworks", "gemini", "vertex", "xai"):
        pytest.skip("a failed job there names no results")
    provider_server.fail_job("server_error", "half-way", done=0.5)
    asked = texts(provider_case)

    assert {answer.status_code for answer in ask(provider_server, provider_case, asked)} == {200}
    assert len(provider_server.billed()) == len(asked)


@pytest.mark.thorough
def test_trouble_that_stays_is_told_as_the_providers_own(provider_server: ProviderServer) -> None:
    provider_server.fail_job("server_error", "we had trouble", times=20)
    answers = ask(provider_server, BY_NAME["openai"], ["a", "b"])

    assert {answer.status_code for answer in answers} == {500}
    assert len(provider_server.creates()) == 5  # whole three times, then in halves
    assert provider_server.billed() == []


@pytest.mark.parametrize(
    "text",
    ["Model 'm' does not have a :batch endpoint.", "You do not have access to the model", "Invalid value for purpose"],
)
@pytest.mark.parametrize("name", ["openai", "mistral", "openrouter", "gemini", "anthropic"])
def test_a_refusal_of_the_model_goes_real_time(provider_server: ProviderServer, name: str, text: str) -> None:
    provider_server.refuse_batches_of(400, text, fewer_than=1_000)
    provider_case = BY_NAME[name]

    assert {answer.status_code for answer in ask(provider_server, provider_case, texts(provider_case))} == {200}
    assert len(provider_server.billed(batch=False)) == provider_case.texts
    assert len(provider_server.creates()) == 1


@pytest.mark.parametrize("name", ["openai", "mistral", "openrouter", "gemini", "anthropic"])
def test_too_few_requests_go_real_time(provider_server: ProviderServer, name: str) -> None:
    provider_server.refuse_batches_of(400, "Batch inference requires at least 100 requests", fewer_than=100)
    provider_case = BY_NAME[name]

    assert {answer.status_code for answer in ask(provider_server, provider_case, texts(provider_case))} == {200}
    assert len(provider_server.billed(batch=False)) == provider_case.texts


@pytest.mark.parametrize("name", ["openai", "mistral", "openrouter", "gemini", "anthropic"])
def test_an_allowance_that_never_fits_is_halved(provider_server: ProviderServer, name: str) -> None:
    """LiteLLM's rate limits count the requests of a batch (litellm#16075)."""
    said = "Batch contains {count} requests but only 2 requests remaining out of 2 RPM limit"
    provider_server.refuse_batches_of(429, said, more_than=2)
    provider_case = BY_NAME[name]

    assert {answer.status_code for answer in ask(provider_server, provider_case, texts(provider_case))} == {200}
    assert len(provider_server.billed(batch=True)) == provider_case.texts
