"""The classic traps, as folds of events: each is said once, and what is none of them is not."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType

import pytest
from msgspec import structs

from batchling.core import events
from batchling.core.events import (
    OUTSIDE,
    Answered,
    Bypassed,
    Died,
    Ended,
    Event,
    Held,
    Queued,
    Rehearsed,
    Submitted,
    Withdrawn,
)
from batchling.display.hints import Hints, full_price, nothing
from tests.display.targets import CHAT, CLAUDE


def said(*happened: Event) -> list[str]:
    hints = Hints()
    return [text for event in happened if (text := hints.add(event)) is not None]


def run(number: int, rows: int = 1, ok: bool = True, target: events.Target = CHAT) -> list[Event]:
    """A batch whose requests come, leave together and are answered, before anything else happens."""
    batch = f"b{number}"
    return [
        *[Queued(target)] * rows,
        Submitted(target, batch, "j", rows),
        Ended(batch, rows, 0),
        *[Answered(target, ok, False)] * rows,
    ]


def runs(*rows: int, ok: bool = True) -> list[Event]:
    return [event for number, size in enumerate(rows) for event in run(number, size, ok)]


def test_a_loop_is_told_once_at_its_second_batch() -> None:
    assert said(*run(0)) == []
    (text,) = said(*run(0), *run(1)[:2])
    assert "2 batches of gpt-5-mini in a row held one request each" in text
    assert "asyncio.gather" in text
    assert said(*runs(1, 1, 1, 1)) == [text]


def test_small_batches_that_were_asked_for_are_not_warned_of() -> None:
    assert said(events.Throttled(3, 3, 1, True), *run(1), *run(2), *run(3)) == []


@pytest.mark.parametrize("width", [2, 6, 12, 24, 64])
def test_a_blocked_pool_is_told_at_its_second_wave(width: int) -> None:
    (text,) = said(*runs(width, width, width, 3))
    assert f"held {width} requests each" in text


def test_a_loop_in_a_dry_run_is_told_before_it_costs_anything() -> None:
    one: list[Event] = [Queued(CHAT), Rehearsed(CHAT, 1), Answered(CHAT, True, False)]
    assert len(said(*one * 4)) == 1


@pytest.mark.parametrize(
    "happened",
    [
        pytest.param(runs(1000, 5, 2, 1, 1, 1), id="validation asks a few again, after a wave"),
        pytest.param(runs(5, 3, 1, 1), id="a small program asks a few again"),
        pytest.param(runs(65, 65, 65), id="batches that are not small"),
        pytest.param(runs(1, 1, 1, 1, ok=False), id="a call that fails is asked again"),
        pytest.param([*run(1), *run(2, target=CLAUDE), *run(3), *run(4, target=CLAUDE)], id="a step of each model"),
        pytest.param(
            [
                Queued(CHAT),
                Submitted(CHAT, "b0", "j", 1),
                *[event for n in (1, 2, 3) for event in (Died(f"b{n - 1}", "x"), Queued(CHAT))],
                *[
                    event
                    for n in (1, 2, 3)
                    for event in (Submitted(CHAT, f"b{n}", "j", 1), Ended(f"b{n}", 0, 1), Queued(CHAT))
                ],
            ],
            id="resubmissions answer nobody in between",
        ),
        pytest.param(
            [
                *[Queued(CHAT)] * 4,
                *[
                    e
                    for n in range(4)
                    for e in (Submitted(CHAT, f"b{n}", "j", 1), Ended(f"b{n}", 1, 0), Answered(CHAT, True, False))
                ],
            ],
            id="small batches by the scope's own batch_size",
        ),
        pytest.param(
            [e for n in range(4) for e in (Held(CHAT, "two at a time", True), *run(n))], id="batches that had to wait"
        ),
        pytest.param(
            [
                *[e for n in range(4) for e in (Queued(CHAT), Submitted(CHAT, f"b{n}", "j", 1))],
                *[Ended(f"b{n}", 1, 0) for n in range(4)],
            ],
            id="small batches beside each other",
        ),
    ],
)
def test_no_false_alarm(happened: list[Event]) -> None:
    assert said(*happened) == []


def test_a_time_limit_is_told_once_and_a_long_one_is_none() -> None:
    (text,) = said(Queued(CHAT, limit=60.0), Queued(CHAT, limit=60.0))
    assert "the program gives up a call to gpt-5-mini after 1 min" in text
    assert said(Queued(CHAT, limit=100_000.0), Queued(CHAT, limit=None)) == []


def test_short_cache_marks_are_told_once() -> None:
    (text,) = said(
        Queued(CLAUDE, has_short_cache_mark=True),
        Queued(structs.replace(CLAUDE, model="other"), has_short_cache_mark=True),
    )
    assert '"ttl": "1h"' in text


def test_two_traps_of_one_call_are_both_told() -> None:
    (text,) = said(Queued(CLAUDE, limit=300.0, has_short_cache_mark=True))
    assert "after 5 min" in text
    assert "1h" in text


@pytest.mark.parametrize("event", [Queued(CHAT), Bypassed("h", "/p", "streaming"), Withdrawn(CHAT)])
def test_something_happened(event: Event) -> None:
    hints = Hints()
    assert hints.nothing_happened
    hints.add(event)
    assert not hints.nothing_happened


@pytest.mark.parametrize(
    ("modules", "hooked", "reason"),
    [
        (["httpx"], False, "uninstall_hooks()"),
        (["httpx", "xai_sdk"], True, "xai-sdk (gRPC"),
        (["sys"], True, "none of the hooked libraries (httpx, httpx2, aiohttp, requests) was imported"),
        (["httpx", "joblib"], True, "in other processes"),
        (["httpx", "dspy", "litellm"], True, "answers came from the cache of dspy, litellm"),
        (["httpx"], True, "a generator, or a task"),
    ],
)
def test_a_scope_that_saw_nothing(modules: list[str], hooked: bool, reason: str) -> None:
    text = nothing(modules, hooked=hooked)

    assert text.startswith("batchling: no call was intercepted in this scope.")
    assert reason in text


def test_a_header_that_is_left_out_is_named_once() -> None:
    one = events.HeaderLeftOut("openai", "gateway.example", "x-call", 8)
    (text, other) = said(one, one, replace(one, header="x-other"))
    assert text.startswith("batchling: at gateway.example, header x-call was different in each of 8 calls")
    assert "x-other" in other


def test_two_warnings_about_one_call_are_two_lines_and_models_make_none() -> None:
    (text,) = said(replace(Queued(structs.replace(CHAT, model="a\nb")), limit=60.0, has_short_cache_mark=True))
    assert len(text.split("\n")) == 2
    assert "a?b" in text


def test_what_is_paid_again_is_told_once_for_each_queue() -> None:
    one = events.PaidAgain(CHAT, 42, 44, ("messages[0].content",))
    (text, other) = said(one, one, events.PaidAgain(CLAUDE, 3, 3, ("@account", "seed")))
    assert (
        "42 of 44 calls to openai /v1/chat/completions (gpt-5-mini) are not among those this program made before"
        in text
    )
    assert "`messages[0].content` differs from the last run" in text
    assert "the credential (or, at a gateway, a header) and `seed` differ from the last run" in other


@pytest.mark.parametrize(
    ("reason", "module", "way"),
    [
        ("streaming", "pydantic_ai", "max_tokens"),
        ("streaming", "inspect_ai", "max_tokens=4096"),
        ("streaming", "llama_index.core.agent", "FunctionAgent(streaming=False)"),
        ("streaming", "llm", "--no-stream"),
        (OUTSIDE, "uvicorn", "around the server"),
    ],
)
def test_a_reason_for_full_price_is_told_once_with_the_frameworks_way_out(reason: str, module: str, way: str) -> None:
    event = Bypassed("api.example", "/v1/messages", reason)

    assert way in full_price(event, [module])
    assert way not in full_price(event, [])
    assert len(said(event, event, replace(event, reason="multipart"))) == 2


def test_modules_for_nothing_but_calls_below_our_hooks_are_named_at_the_first_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "xai_sdk", ModuleType("xai_sdk"))
    (text,) = said(Queued(CHAT), Queued(CHAT), Queued(CLAUDE))
    assert "xai-sdk (gRPC" in text
    assert "full price" in text


def test_a_local_server_costs_nothing_that_we_know_of() -> None:
    (text,) = said(events.Bypassed("127.0.0.1", "/v1/chat/completions", events.LOCAL))
    assert "full price" not in text
    assert "gateways=" in text


def test_processes_without_the_scope_are_told_once() -> None:
    (text,) = said(events.Spawned("spawn"), events.Spawned("loky"))
    assert '"spawn"' in text


def test_a_model_without_a_discount_is_told_before_the_wait() -> None:
    hints = Hints(lambda target: target == CHAT)
    texts = [text for target in (CHAT, CHAT, CLAUDE) if (text := hints.add(Queued(target)))]
    assert len(texts) == 1
    assert "no discount on" in texts[0]
