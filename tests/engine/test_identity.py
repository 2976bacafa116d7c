"""What makes two calls the same, as programs meet it: labels, ids, and the headers of a gateway."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from batchling.cache.files import FileStore
from batchling.core.model import Bypass, Request, Target
from batchling.engine.per_call import PerCallHeaders
from batchling.engine.waiter import Arrival
from batchling.environment.accounts import find_site
from batchling.providers import PROVIDERS
from batchling.providers.base import Route
from batchling.providers.files import FileDialect
from batchling.providers.routes import Routes
from batchling.testing import ProviderServer
from tests.engine.calls import ask, chat, post, said, scope, together

Body = dict[str, Any]

TRACES = [
    "x-cloud-trace-context",
    "ot-tracer-traceid",
    "ot-baggage-user",
    "request-id",
    "x-ms-client-request-id",
    "elastic-apm-traceparent",
    "newrelic",
    "helicone-request-id",
    "x-amz-date",
    "x-timestamp",
    "cf-ray",
    "x-instana-t",
    "sw8",
    "traceparent",
    "uberctx-key",
]
"""Of each family one."""


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


@pytest.mark.thorough
def test_joined_duplicates_may_differ_in_labels(provider_server: ProviderServer) -> None:
    with scope(provider_server, duplicates="join"):
        answers = post(provider_server, [chat("q", user=f"u{n}") for n in range(4)])

    assert [answer.status_code for answer in answers] == [200] * 4
    assert len(provider_server.billed()) == 1


@pytest.mark.thorough
def test_a_retry_with_another_label_joins_its_first_try(provider_server: ProviderServer) -> None:
    with scope(provider_server):
        tries = [{"x-stainless-retry-count": f"{count}"} for count in range(2)]
        answers = post(provider_server, [chat("q", user=f"u{n}") for n in range(2)], tries)

    assert [answer.status_code for answer in answers] == [200, 200]
    assert len(provider_server.billed()) == 1


@pytest.mark.thorough
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


@pytest.mark.thorough
def test_what_changes_an_answer_is_asked_again(provider_server: ProviderServer) -> None:
    for seed in (1, 2):
        with scope(provider_server):
            assert ask(provider_server, "q", seed=seed).status_code == 200

    assert len(provider_server.billed()) == 2
    assert json.dumps([bill.endpoint for bill in provider_server.billed()]).count("chat") == 2


def per_call(server: ProviderServer, count: int, *names: str, keep: dict[str, str] | None = None) -> list[int]:
    """Calls at once, each with headers of its own."""
    headers = [{**(keep or {}), **{name: uuid.uuid4().hex for name in names}} for _ in range(count)]
    return [answer.status_code for answer in post(server, [chat(f"q{n}") for n in range(count)], headers)]


@pytest.mark.parametrize("name", TRACES)
def test_a_trace_makes_no_account(provider_server: ProviderServer, name: str, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        with scope(provider_server, **together(3)):
            assert per_call(provider_server, 3, name) == [200] * 3

    assert list(provider_server.jobs().values()) == [3]
    assert name not in caplog.text


@pytest.mark.thorough
def test_a_header_that_is_new_in_every_call_is_left_out(
    provider_server: ProviderServer, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        with scope(provider_server, **together(8)):
            assert per_call(provider_server, 8, "x-whatever-id") == [200] * 8

    assert list(provider_server.jobs().values()) == [8]
    warnings = [record.getMessage() for record in caplog.records if "x-whatever-id" in record.getMessage()]
    assert len(warnings) == 2  # once in each scope
    assert "different in each of 8 calls" in warnings[0]


def test_calls_that_come_later_go_without_it_too(provider_server: ProviderServer) -> None:
    with scope(provider_server, **together(6)):
        per_call(provider_server, 6, "x-whatever-id", "x-other")
        per_call(provider_server, 6, "x-whatever-id", "x-other")

    assert sorted(provider_server.jobs().values()) == [6, 6]


@pytest.mark.thorough
def test_few_calls_show_nothing(provider_server: ProviderServer, caplog: pytest.LogCaptureFixture) -> None:
    with scope(provider_server):
        per_call(provider_server, 4, "x-whatever-id")

    assert sorted(provider_server.jobs().values()) == [1] * 4
    assert "x-whatever-id" not in caplog.text


@pytest.mark.parametrize("name", ["x-tenant", "x-whatever"])
def test_two_tenants_stay_apart(provider_server: ProviderServer, name: str, caplog: pytest.LogCaptureFixture) -> None:
    bodies = [chat(f"q{n // 2}") for n in range(40)]
    headers = [{name: "ab"[n % 2], "x-whatever-id": uuid.uuid4().hex} for n in range(40)]
    with scope(provider_server, **together(40)):
        post(provider_server, bodies, headers)

    assert sorted(provider_server.jobs().values()) == [20, 20]
    assert f"header {name} " not in caplog.text


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["x-api-key", "x-user-id", "x-team", "x-session-token", "helicone-auth"])
def test_who_asks_is_never_left_out(provider_server: ProviderServer, name: str) -> None:
    with scope(provider_server):
        per_call(provider_server, 6, name)

    assert sorted(provider_server.jobs().values()) == [1] * 6


@pytest.mark.thorough
def test_a_value_that_comes_again_separates_again(
    provider_server: ProviderServer, caplog: pytest.LogCaptureFixture
) -> None:
    with scope(provider_server, **together(5)):
        post(provider_server, [chat(f"q{n}") for n in range(5)], [{"x-what": f"{n}"} for n in range(5)])
        post(provider_server, [chat(f"r{n}") for n in range(5)], [{"x-what": f"{n}"} for n in range(5)])

    assert sorted(provider_server.jobs().values()) == [1, 1, 1, 1, 1, 5]
    assert "now a value was repeated" in caplog.text


def test_what_is_left_out_is_not_sent(provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from batchling.engine.sender import Sender

    sent: list[str] = []
    true = Sender.send

    async def watch(self: Sender, call: Any, *arguments: Any, **more: Any) -> Any:
        sent.extend(name for name, _ in call.request.headers)
        return await true(self, call, *arguments, **more)

    monkeypatch.setattr(Sender, "send", watch)
    with scope(provider_server, **together(6)):
        per_call(provider_server, 6, "x-whatever-id", keep={"x-org": "o"})

    assert "x-org" in sent
    assert "x-whatever-id" not in sent


def test_identical_calls_with_such_a_header_are_samples(provider_server: ProviderServer) -> None:
    provider_server.vary()
    headers = [[{"x-whatever-id": uuid.uuid4().hex} for _ in range(6)] for _ in range(2)]
    with scope(provider_server, **together(6)):
        first = [said(answer) for answer in post(provider_server, [chat("q")] * 6, headers[0])]
    with scope(provider_server, **together(6)):
        second = [said(answer) for answer in post(provider_server, [chat("q")] * 6, headers[1])]

    assert len(set(first)) == 6
    assert sorted(second) == sorted(first)
    assert len(provider_server.billed()) == 6


def test_or_are_joined(provider_server: ProviderServer) -> None:
    headers = [{"x-whatever-id": uuid.uuid4().hex} for _ in range(6)]
    with scope(provider_server, **together(6), duplicates="join"):
        answers = post(provider_server, [chat("q")] * 6, headers)

    assert [answer.status_code for answer in answers] == [200] * 6
    assert len(provider_server.billed()) == 1


def test_a_dry_run_leaves_it_out_too(provider_server: ProviderServer) -> None:
    with scope(provider_server, **together(6)):
        per_call(provider_server, 6, "x-whatever-id")
    with (context := scope(provider_server, **together(7), dry_run=True)):
        per_call(provider_server, 7, "x-whatever-id")
    (line,) = context.receipt.lines  # type: ignore[attr-defined]

    assert (line.estimate.cached, line.estimate.requests, line.estimate.batches) == (6, 7, 1)


def test_another_process_finds_the_credential(provider_server: ProviderServer, batchling_cache: Path) -> None:
    with scope(provider_server, **together(6)):
        per_call(provider_server, 6, "x-whatever-id")
    store = FileStore(str(batchling_cache))
    (record,) = store.records()
    place = (store.seal, provider_server.gateways)

    assert find_site(record.target, PROVIDERS["openai"], {"OPENAI_API_KEY": "sk-1"}, *place) is not None
    assert find_site(record.target, PROVIDERS["openai"], {"OPENAI_API_KEY": "sk-2"}, *place) is None


@pytest.mark.thorough
def test_a_provider_that_fails_at_it_leaves_nobody_waiting(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = FileDialect.target

    def target(self: FileDialect, route: Route, request: Request, body: Body) -> Target | Bypass:
        if "x-whatever-id" not in dict(request.headers):
            raise LookupError
        return true(self, route, request, body)

    monkeypatch.setattr(FileDialect, "target", target)
    with scope(provider_server, **together(6)):
        assert per_call(provider_server, 6, "x-whatever-id") == [200] * 6

    assert sorted(provider_server.jobs().values()) == [1] * 6


def test_official_hosts_are_not_looked_at() -> None:
    provider, route = matched = Routes({}).match("POST", "https://api.openai.com/v1/chat/completions")  # type: ignore[misc]
    headers = PerCallHeaders()
    for number in range(9):
        request = Request("POST", "https://api.openai.com/v1/chat/completions", (("x-whatever", f"{number}"),), b"{}")
        target = provider.target(route, request, {"model": "m"})
        headers.register(Arrival(matched, target, request, f"{number}"))

    assert headers.decide() == []
    assert not headers
