"""Nothing above the budget is sent; what was reserved too much is free again; the ledger proves both."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import httpx
import pytest

from batchling import OptionError, batchify
from batchling.core import events
from batchling.core.budget import Budget
from batchling.core.cost import Cost
from batchling.core.model import Target
from batchling.engine.family import Family
from batchling.providers.sizes import size_of
from batchling.testing import ProviderServer
from tests.engine.calls import QUICK, TLS, together
from tests.waiting import wait_until_async

MODEL = "gpt-5-mini"
TARGET = Target("openai", "b", "/v1/chat/completions", MODEL, "a")


def body(text: str, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_completion_tokens": 1_000, **more}


def most(asked: dict[str, Any]) -> float:
    """The most that a request costs in a batch: gpt-5-mini is $0.25 in, $2 out per million, and half of it."""
    return (size_of("/v1/chat/completions", asked).input * 0.25 + 1_000 * 2) / 1e6 / 2


def ask(server: ProviderServer, *bodies: dict[str, Any], path: str = "chat/completions") -> list[httpx.Response]:
    async def all_at_once() -> list[httpx.Response]:
        async with httpx.AsyncClient(verify=TLS, headers={"authorization": "Bearer k"}) as client:
            return await asyncio.gather(*(client.post(f"{server.openai_url}/{path}", json=each) for each in bodies))

    return asyncio.run(all_at_once())


def budget(server: ProviderServer, dollars: float, calls: int, **options: Any) -> Any:
    return batchify(**{"gateways": server.gateways, **QUICK, **together(calls), "budget_usd": dollars, **options})


def statuses(answers: list[httpx.Response]) -> list[int]:
    return sorted(answer.status_code for answer in answers)


@pytest.mark.parametrize(("extra", "sent"), [(0.0, 3), (-1e-9, 2), (1e-9, 3)])
def test_the_cut_is_exact(provider_server: ProviderServer, extra: float, sent: int) -> None:
    bodies = [body(f"question {n}") for n in range(5)]
    with budget(provider_server, 3 * most(bodies[0]) + extra, 5) as none:
        answers = ask(provider_server, *bodies)

    assert none is None
    assert statuses(answers) == [200] * sent + [402] * (5 - sent)
    assert len(provider_server.billed()) == sent
    refused = next(answer for answer in answers if answer.status_code == 402)
    assert refused.headers["x-should-retry"] == "false"
    assert refused.json()["error"]["code"] == "batchling_budget"
    assert "budget is left" in refused.json()["error"]["message"]


def test_true_cost_frees_room(provider_server: ProviderServer, capsys: pytest.CaptureFixture[str]) -> None:
    """An answer of a few tokens costs less than its maximum of a thousand, so that another one fits."""
    context = budget(provider_server, 1.5 * most(body("first")), 1)
    with context:
        first = ask(provider_server, body("first"))
        second = ask(provider_server, body("other"))
        third = ask(provider_server, body("third", max_completion_tokens=2_000))

    assert statuses(first + second) == [200, 200]
    assert statuses(third) == [402]
    assert len(provider_server.billed()) == 2
    assert context.receipt.denied == 1
    assert context.receipt.cost.paid < 1.5 * most(body("first"))
    assert "1 of them not sent: over budget" in capsys.readouterr().err


def test_while_a_batch_runs_its_reservation_stands(provider_server: ProviderServer) -> None:
    provider_server.hold()
    with budget(provider_server, 1.5 * most(body("first")), 1):

        async def both() -> tuple[httpx.Response, httpx.Response]:
            async with httpx.AsyncClient(verify=TLS, headers={"authorization": "Bearer k"}) as client:
                url = f"{provider_server.openai_url}/chat/completions"
                first = asyncio.create_task(client.post(url, json=body("first")))
                await wait_until_async(provider_server.creates, "the job is created")
                second = await client.post(url, json=body("other"))
                provider_server.release()
                return await first, second

        first, second = asyncio.run(both())

    assert (first.status_code, second.status_code) == (200, 402)
    assert len(provider_server.billed()) == 1


@pytest.mark.thorough
def test_resubmissions_are_covered(provider_server: ProviderServer) -> None:
    """A batch that expires without its rows costs nothing; its requests reserve again, and no more than once."""
    bodies = [body("first"), body("other")]
    provider_server.expire_job(done=0.0)
    with budget(provider_server, 2 * most(bodies[0]), 2):
        answers = ask(provider_server, *bodies)

    assert statuses(answers) == [200, 200]
    assert len(provider_server.creates()) == 2
    assert len(provider_server.billed()) == 2


def test_a_refused_batch_gives_its_money_back(provider_server: ProviderServer) -> None:
    provider_server.fail_job("invalid_json_line", "no", line=1)
    bodies = [body("first"), body("other")]
    with budget(provider_server, 2 * most(bodies[0]), 2):
        answers = ask(provider_server, *bodies)

    assert statuses(answers) == [200, 400]
    assert len(provider_server.billed()) == 1


@pytest.mark.thorough
def test_cached_answers_cost_nothing(provider_server: ProviderServer) -> None:
    with budget(provider_server, 1.0, 1):
        ask(provider_server, body("first"))
    with budget(provider_server, 0, 2):
        answers = ask(provider_server, body("first"), body("other"))

    assert statuses(answers) == [200, 402]
    assert len(provider_server.billed()) == 1


@pytest.mark.thorough
def test_what_another_scope_has_sent_meanwhile_costs_nothing(provider_server: ProviderServer) -> None:
    """This scope knows the cache as it was when it began, and learns only at its claim that a request is there."""
    context = budget(provider_server, 1.5 * most(body("first")), 1)
    with budget(provider_server, 1.0, 1):
        ask(provider_server, body("first"))
    with context:
        answers = ask(provider_server, body("first")) + ask(provider_server, body("other"))

    assert statuses(answers) == [200, 200]
    assert len(provider_server.billed()) == 2


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"model": "house-model"}, "the price of model house-model is not known"),
        ({"max_completion_tokens": None}, "sets no maximum of output tokens"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]},
            "media",
        ),
    ],
)
def test_what_cannot_be_held_to_a_budget_is_not_sent(
    provider_server: ProviderServer, change: dict[str, Any], why: str
) -> None:
    with budget(provider_server, 1_000, 1):
        (answer,) = ask(provider_server, {**body("a"), **change})

    assert answer.status_code == 402
    assert why in answer.json()["error"]["message"]
    assert provider_server.calls() == []


def test_an_unknown_cost_stays_reserved_and_a_dead_batch_costs_nothing() -> None:
    purse = Budget(1.0, lambda target, items: {})
    quotes = {"a": Decimal("0.4"), "b": Decimal("0.7"), "c": Decimal("0.6")}
    assert list(purse.reserve("1", quotes)) == ["b"]
    assert purse.taken == purse.limit
    Family(purse).on_event(events.Ended("1", 2, 0, Cost(answers=2, full=None, paid=None)))
    assert purse.taken == 1
    assert list(purse.reserve("2", quotes)) == ["a", "b", "c"]

    purse = Budget(1.0, lambda target, items: {})
    purse.reserve("1", quotes)
    Family(purse).on_event(events.Died("1", "refused"))
    assert purse.taken == 0


@pytest.mark.parametrize("value", [-1, float("nan"), "5", True])
def test_a_budget_is_a_number(value: Any) -> None:
    with pytest.raises(OptionError, match="budget_usd"):
        batchify(budget_usd=value)
