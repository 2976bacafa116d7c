"""What the receipt says is what a hand calculation gives: real scopes, answers with counts set by the test."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from batchling import BatchingContext, Receipt, batchify
from batchling.testing import ProviderServer
from tests.engine.calls import QUICK, TLS, ask_all, chat, together
from tests.engine.programs import start_program
from tests.waiting import wait_until

MILLION = 1_000_000


def in_openai(text: str, model: str) -> dict[str, Any]:
    return {**chat(text), "model": model}


def in_claude(text: str, model: str) -> dict[str, Any]:
    return {"max_tokens": 9, **in_openai(text, model)}


def in_gemini(text: str, model: str) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}]}


@dataclass(frozen=True)
class Case:
    """Two answers of `model`, whose usage is `usage`; `prices` are US dollars per million tokens, as genai-prices has
    them; `full` and `paid` are worked out by hand, for both answers together."""

    provider: str
    path: str
    model: str
    body: Callable[[str, str], dict[str, Any]]
    place: str
    usage: Mapping[str, Any]
    listed: str
    prices: Mapping[str, str]
    full: float
    paid: float
    headers: Mapping[str, str] = None  # type: ignore[assignment]


OPENAI_USAGE = {
    "prompt_tokens": 400_000,
    "completion_tokens": 100_000,
    "total_tokens": 500_000,
    "prompt_tokens_details": {"cached_tokens": 150_000},
}
CASES = [
    Case(
        "openai",
        "/v1/chat/completions",
        "gpt-5-mini",
        in_openai,
        "usage",
        OPENAI_USAGE,
        "openai",
        {"input_mtok": "0.25", "output_mtok": "2", "cache_read_mtok": "0.025"},
        full=2 * (0.25 * 0.25 + 0.15 * 0.025 + 0.1 * 2),
        paid=0.26625,  # half of it, the cached tokens' too
    ),
    Case(
        "anthropic",
        "/v1/messages",
        "claude-haiku-4-5",
        in_claude,
        "usage",
        {
            "input_tokens": 200_000,
            "cache_read_input_tokens": 300_000,
            "cache_creation_input_tokens": 100_000,
            "cache_creation": {"ephemeral_5m_input_tokens": 60_000, "ephemeral_1h_input_tokens": 40_000},
            "output_tokens": 50_000,
        },
        "anthropic",
        {
            "input_mtok": "1",
            "output_mtok": "5",
            "cache_read_mtok": "0.1",
            "cache_write_mtok": "1.25",
            "cache_write_1h_mtok": "2",
        },
        full=2 * (0.2 * 1 + 0.3 * 0.1 + 0.06 * 1.25 + 0.04 * 2 + 0.05 * 5),
        paid=0.635,  # half of it: the discounts multiply
        headers={"x-api-key": "k", "anthropic-version": "2023-06-01"},
    ),
    Case(
        "gemini",
        "/v1beta/models/gemini-2.5-flash:generateContent",
        "gemini-2.5-flash",
        in_gemini,
        "usageMetadata",
        {
            "promptTokenCount": 1_000_000,
            "cachedContentTokenCount": 400_000,
            "candidatesTokenCount": 80_000,
            "thoughtsTokenCount": 20_000,
            "totalTokenCount": 1_100_000,
        },
        "google",
        {"input_mtok": "0.3", "output_mtok": "2.5", "cache_read_mtok": "0.03"},
        full=2 * (0.6 * 0.3 + 0.4 * 0.03 + 0.1 * 2.5),
        paid=2 * (0.6 * 0.15 + 0.4 * 0.03 + 0.1 * 1.25),  # cached tokens cost no less in a batch
        headers={"x-goog-api-key": "k"},
    ),
    Case(
        "mistral",
        "/v1/chat/completions",
        "mistral-small-latest",
        in_openai,
        "usage",
        {"prompt_tokens": 3_000_000, "completion_tokens": 1_000_000, "total_tokens": 4_000_000},
        "mistral",
        {"input_mtok": "0.15", "output_mtok": "0.6"},
        full=2 * (3 * 0.15 + 0.6),
        paid=1.05,
    ),
    Case(
        "groq",
        "/openai/v1/chat/completions",
        "openai/gpt-oss-20b",
        in_openai,
        "usage",
        OPENAI_USAGE,
        "groq",
        {"input_mtok": "0.075", "output_mtok": "0.3", "cache_read_mtok": "0.0375"},
        full=2 * (0.25 * 0.075 + 0.15 * 0.0375 + 0.1 * 0.3),
        paid=2 * (0.4 * 0.0375 + 0.1 * 0.15),  # the batch knows no cheaper cached tokens
    ),
]


def said_by_server(usage: Mapping[str, Any], place: str) -> Callable[[bytes], bytes]:
    """Puts this usage into every answer of a result, however it is wrapped."""
    made = json.dumps({place: usage})[1:-1].encode()
    pattern = rb'"%s":\s*(\{(?:[^{}]|\{[^{}]*\})*\})' % place.encode()
    return lambda body: re.sub(pattern, made, body)


def run(server: ProviderServer, case: Case, texts: list[str], **options: Any) -> tuple[Receipt, list[httpx.Response]]:
    context = batchify(gateways=server.gateways, **{**QUICK, **together(len(texts)), **options})

    async def ask() -> list[httpx.Response]:
        url = f"{server.url}/{case.provider}{case.path}"
        async with httpx.AsyncClient(verify=TLS) as client:
            bodies = [case.body(text, case.model) for text in texts]
            headers = dict(case.headers or {"authorization": "Bearer k"})
            return await asyncio.gather(*(client.post(url, json=body, headers=headers) for body in bodies))

    with context:
        answers = asyncio.run(ask())
    return context.receipt, answers


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.provider)
def test_equals_a_hand_sum(provider_server: ProviderServer, case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    from genai_prices.data_snapshot import get_snapshot

    _, model = get_snapshot().find_provider_model(case.model, None, case.listed, None)
    listed = model.get_prices(datetime.now(UTC)).__dict__
    assert {name: listed[name] for name in case.prices} == {k: Decimal(v) for k, v in case.prices.items()}, "new price"

    provider_server.change_reply("GET", "", said_by_server(case.usage, case.place), times=99)
    receipt, answers = run(provider_server, case, ["a", "b"])
    assert [answer.json()[case.place] for answer in answers] == [case.usage] * 2

    (line,) = receipt.lines
    assert (line.provider, line.model.removeprefix("models/")) == (case.provider, case.model)
    assert (line.answered, line.from_cache, line.failed, line.batches) == (2, 0, 0, 1)
    assert receipt.cost.full == pytest.approx(case.full, abs=1e-12)
    assert receipt.cost.paid == pytest.approx(case.paid, abs=1e-12)
    assert receipt.cost.saved == pytest.approx(case.full - case.paid, abs=1e-12)
    assert receipt.unpriced == ()
    text = capsys.readouterr().err
    assert "paid $" in text
    assert "instead of $" in text

    again, _ = run(provider_server, case, ["a", "b"])
    assert (again.from_cache, again.answered) == (2, 0)
    assert again.cost.answers == 0, "counted once, whatever the number of runs"
    document = json.loads(receipt.to_json())
    assert document["cost"]["paid"] == receipt.cost.paid


def test_answers_that_are_downloaded_again_are_not_counted_again(provider_server: ProviderServer) -> None:
    runs = [run(provider_server, CASES[0], ["a", "b"], cache="no-results")[0] for _ in range(2)]

    assert [receipt.cost.answers for receipt in runs] == [2, 0]
    assert [(receipt.from_cache, receipt.failed) for receipt in runs] == [(0, 0), (2, 0)]


def test_a_run_that_collects_what_another_left_counts_it(provider_server: ProviderServer) -> None:
    """The first run submits and is left by an exception; the second one reads the answers first, and counts them."""
    provider_server.hold()
    context = batchify(gateways=provider_server.gateways, **{**QUICK, **together(1)})
    with pytest.raises(KeyError), context:
        left = threading.Thread(target=lambda: suppressed(provider_server, "a"))
        left.start()
        wait_until(provider_server.creates, "the job is created")
        raise KeyError
    left.join()
    provider_server.release()
    assert context.receipt.cost.answers == 0
    again = batchify(gateways=provider_server.gateways, **{**QUICK, **together(1)})
    with again:
        ask_all(provider_server, ["a"])
    assert (again.receipt.from_cache, again.receipt.cost.answers) == (1, 1)


def suppressed(server: ProviderServer, text: str) -> None:
    with suppress(Exception):
        ask_all(server, [text])


@pytest.mark.thorough
def test_unknown_price_is_unknown(provider_server: ProviderServer, capsys: pytest.CaptureFixture[str]) -> None:
    receipt, _ = run(provider_server, CASES[0], ["a"], batch_size=1)
    nameless = Case("openai", "/v1/chat/completions", "house-model", in_openai, "usage", {}, "", {}, 0, 0)
    unknown, _ = run(provider_server, nameless, ["a"], batch_size=1)

    assert receipt.cost.paid is not None
    assert unknown.cost.paid is None
    assert unknown.cost.full is None
    assert unknown.cost.input > 0
    assert unknown.unpriced == ("house-model",)
    assert "unknown price for model house-model" in capsys.readouterr().err
    assert json.loads(unknown.to_json())["cost"]["paid"] is None


def test_unknown_discount_leaves_paid_unknown(
    provider_server: ProviderServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Novita's discount is not confirmed."""
    model = "meta-llama/llama-3.1-8b-instruct"
    case = Case("novita", "/openai/v1/chat/completions", model, in_openai, "usage", {}, "novita", {}, 0, 0)
    receipt, answers = run(provider_server, case, ["a"], batch_size=1)

    assert answers[0].status_code == 200
    assert receipt.cost.full is not None
    assert receipt.cost.paid is None
    assert receipt.cost.saved is None
    assert f"unknown batch price for model {model} ($" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "share"), [("meta-llama/Llama-3.3-70B-Instruct-Turbo", 0.5), ("Qwen/Qwen1.5-72B", 1.0)]
)
def test_a_discount_of_some_models_only(
    provider_server: ProviderServer, caplog: pytest.LogCaptureFixture, model: str, share: float
) -> None:
    case = Case("together", "/v1/chat/completions", model, in_openai, "usage", {}, "together", {}, 0, 0)
    receipt, answers = run(provider_server, case, ["a"], batch_size=1)

    assert answers[0].status_code == 200
    assert receipt.cost.full
    assert receipt.cost.paid == pytest.approx(receipt.cost.full * share)
    assert ("no discount on " + model in caplog.text) is (share == 1.0)


def test_failed_rows_cost_nothing_and_abandoned_ones_do(provider_server: ProviderServer) -> None:
    provider_server.fail_rows(lambda body: "bad" in json.dumps(body), 400, {"message": "no", "code": "bad"})
    receipt, answers = run(provider_server, CASES[0], ["a", "bad"])

    assert sorted(answer.status_code for answer in answers) == [200, 400]
    assert (receipt.answered, receipt.failed, receipt.cost.answers) == (2, 1, 1)
    bills = provider_server.billed(batch=True)
    assert receipt.cost.input == sum(bill.input_tokens for bill in bills)
    assert receipt.cost.output == sum(bill.output_tokens for bill in bills)


def test_receipt_is_there_during_the_scope(provider_server: ProviderServer) -> None:
    context: BatchingContext = batchify(gateways=provider_server.gateways, **{**QUICK, **together(2)})
    assert context.receipt == Receipt()
    with context as entered:
        assert entered is None
        ask_all(provider_server, ["a", "b"])
        assert context.receipt.lines[0].batches == 1
        assert context.receipt.cost.answers == 2
    assert context.receipt.answered == 2
    assert context.receipt.seconds > 0
    assert context.receipt == context.receipt


PROGRAM = """
import sys
from types import SimpleNamespace
from batchling import batchify
from tests.engine.calls import ask_all
print("ready", flush=True)
sys.stdin.readline()
server = SimpleNamespace(openai_url=sys.argv[1] + "/openai/v1")
context = batchify(
    gateways={sys.argv[1]: "openai"}, batch_size=3, batch_window_seconds=2.0, batch_poll_interval_seconds=0.05
)
with context:
    ask_all(server, ["a", "b", "c"])
print(context.receipt.to_json().decode())
"""


@pytest.mark.thorough
def test_two_processes_count_once(provider_server: ProviderServer, batchling_cache: Path) -> None:
    processes = [start_program(provider_server, batchling_cache, PROGRAM) for _ in range(2)]
    outputs = [process.communicate("go\n", timeout=40)[0] for process in processes]

    receipts = [json.loads(output) for output in outputs]
    assert [receipt["answered"] + receipt["from_cache"] for receipt in receipts] == [3, 3]
    assert sorted(receipt["cost"]["answers"] for receipt in receipts) == [0, 3]
    bills = provider_server.billed()
    assert len(bills) == 3
    assert sum(receipt["cost"]["input"] for receipt in receipts) == sum(bill.input_tokens for bill in bills)
