"""What makes two calls the same, as programs meet it: labels, ids, and the headers of a gateway."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import httpx

from batchling.testing import ProviderServer
from tests.engine.calls import TLS, ask, chat, said, scope, together

Body = dict[str, Any]


def post(
    server: ProviderServer, bodies: list[Body], headers: list[dict[str, str]] | None = None
) -> list[httpx.Response]:
    """All at once, on one event loop; each with its own headers."""
    more = headers or [{}] * len(bodies)

    async def gather() -> list[httpx.Response]:
        async with httpx.AsyncClient(verify=TLS, headers={"authorization": "Bearer sk-1"}) as client:
            url = f"{server.openai_url}/chat/completions"
            return await asyncio.gather(
                *(client.post(url, json=body, headers=each) for body, each in zip(bodies, more, strict=True))
            )

    return asyncio.run(gather())


def rows(server: ProviderServer) -> list[Body]:
    """The bodies of all rows that the server is going to answer."""
    seen: list[Body] = []
    server.fail_rows(lambda body: seen.append(body) or False, 500, {})
    return seen


def test_a_random_cache_key_buys_nothing_twice(provider_server: ProviderServer) -> None:
    sent = rows(provider_server)
    for _ in range(2):
        key = f"agents-sdk:run:{uuid.uuid4().hex}"
        with scope(provider_server, **together(5)):
            answers = post(provider_server, [chat(f"q{n}", prompt_cache_key=key) for n in range(5)])
        assert [answer.status_code for answer in answers] == [200] * 5

    assert len(provider_server.billed()) == 5
    assert len({row["prompt_cache_key"] for row in sent}) == 1


def test_calls_that_differ_in_labels_alone_are_samples(provider_server: ProviderServer) -> None:
    provider_server.vary()
    sent = rows(provider_server)
    bodies = [chat("q", user=f"u{n}") for n in range(4)]
    with scope(provider_server, **together(4)):
        first = [said(answer) for answer in post(provider_server, bodies)]
    with scope(provider_server):
        second = [said(answer) for answer in post(provider_server, [chat("q", user=f"v{n}") for n in range(4)])]

    assert len(set(first)) == 4
    assert second == first
    assert sorted(row["user"] for row in sent) == ["u0", "u1", "u2", "u3"]
    assert len(provider_server.billed()) == 4


def test_joined_duplicates_may_differ_in_labels(provider_server: ProviderServer) -> None:
    with scope(provider_server, duplicates="join"):
        answers = post(provider_server, [chat("q", user=f"u{n}") for n in range(4)])

    assert [answer.status_code for answer in answers] == [200] * 4
    assert len(provider_server.billed()) == 1


def test_a_retry_with_another_label_joins_its_first_try(provider_server: ProviderServer) -> None:
    with scope(provider_server):
        tries = [{"x-stainless-retry-count": f"{count}"} for count in range(2)]
        answers = post(provider_server, [chat("q", user=f"u{n}") for n in range(2)], tries)

    assert [answer.status_code for answer in answers] == [200, 200]
    assert len(provider_server.billed()) == 1


def test_a_dry_run_knows_what_is_cached(provider_server: ProviderServer) -> None:
    with scope(provider_server):
        post(provider_server, [chat("q", user="u1")])
    with (context := scope(provider_server, dry_run=True)):
        post(provider_server, [chat("q", user="u2"), chat("new", user="u2")])

    assert len(provider_server.billed()) == 1
    (line,) = context.receipt.lines  # type: ignore[attr-defined]
    assert line.estimate.cached == 1


def agent(server: ProviderServer, questions: int) -> None:
    """Calls tools whose ids are made up anew in each run, as pydantic-ai does for Gemini."""
    ids = [uuid.uuid4().hex for _ in range(questions)]
    bodies = []
    for number, made in enumerate(ids):
        call = {"id": made, "type": "function", "function": {"name": "f", "arguments": "{}"}}
        messages = [
            {"role": "user", "content": f"q{number}"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": made, "content": f"r{number}"},
        ]
        bodies.append({"model": "m", "messages": messages})
    with scope(server, **together(questions)):
        assert [answer.status_code for answer in post(server, bodies)] == [200] * questions


def test_random_ids_of_tool_calls_buy_nothing_twice(provider_server: ProviderServer) -> None:
    sent = rows(provider_server)
    agent(provider_server, 6)
    agent(provider_server, 6)

    assert len(provider_server.billed()) == 6
    for row in sent:
        assert row["messages"][1]["tool_calls"][0]["id"] == row["messages"][2]["tool_call_id"]
        assert len(row["messages"][2]["tool_call_id"]) == 32


def test_what_changes_an_answer_is_asked_again(provider_server: ProviderServer) -> None:
    for seed in (1, 2):
        with scope(provider_server):
            assert ask(provider_server, "q", seed=seed).status_code == 200

    assert len(provider_server.billed()) == 2
    assert json.dumps([bill.endpoint for bill in provider_server.billed()]).count("chat") == 2
