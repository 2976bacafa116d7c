"""The meter of a batch adds numbers up where answers are alike; what it says must be what single answers cost together."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchling.core.cost import Cost
from batchling.core.model import Response, Target
from batchling.money.meter import Meter
from batchling.money.usage import Answer, answer_of, shape_of
from batchling.providers import PROVIDERS

TARGETS = {
    "openai": ("/v1/chat/completions", "gpt-5-mini"),
    "anthropic": ("/v1/messages", "claude-sonnet-4-5"),  # its price has tiers
    "gemini": (":generateContent", "gemini-2.5-flash"),
    "voyage": ("/v1/embeddings", "voyage-3"),
}
NUMBERS = st.integers(10_000, 10**6)
PARTS = st.integers(0, 1_000)
"""Less than what they are a part of: a sum does not show that one of its answers contradicts itself."""
SOMETIMES = st.one_of(PARTS, st.none(), st.just(-1), st.just("9"), st.floats(0, 1000), st.booleans())


def details(*names: str) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), st.fixed_dictionaries({}, optional=dict.fromkeys(names, SOMETIMES)))


OPENAI = st.fixed_dictionaries(
    {"prompt_tokens": NUMBERS, "completion_tokens": NUMBERS, "total_tokens": NUMBERS},
    optional={
        "prompt_tokens_details": details("cached_tokens", "audio_tokens"),
        "completion_tokens_details": details("reasoning_tokens"),
        "queue_time": st.floats(0, 1),
        "service_tier": st.text(max_size=2),
    },
)
ANTHROPIC = st.fixed_dictionaries(
    {"input_tokens": NUMBERS, "output_tokens": NUMBERS},
    optional={"cache_read_input_tokens": SOMETIMES, "cache_creation_input_tokens": SOMETIMES},
)
MODALITIES = st.lists(
    st.fixed_dictionaries({"modality": st.sampled_from(["TEXT", "IMAGE"]), "tokenCount": PARTS}), max_size=2
)
GEMINI = st.fixed_dictionaries(
    {"promptTokenCount": NUMBERS, "totalTokenCount": NUMBERS},
    optional={"candidatesTokenCount": NUMBERS, "thoughtsTokenCount": SOMETIMES, "promptTokensDetails": MODALITIES},
)
NONSENSE = st.recursive(
    SOMETIMES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner)
)
USAGES = {
    "openai": st.one_of(OPENAI, NONSENSE),
    "anthropic": st.one_of(ANTHROPIC, NONSENSE),
    "gemini": st.one_of(GEMINI, NONSENSE),
    "voyage": st.one_of(st.fixed_dictionaries({"total_tokens": NUMBERS}), NONSENSE),
}


def meter(provider: str) -> Meter:
    endpoint, model = TARGETS[provider]
    return Meter(PROVIDERS[provider], Target(provider, "https://host", endpoint, model, "a"))


def answers(provider: str, usages: list[Any]) -> list[Response]:
    named = "usageMetadata" if provider == "gemini" else "usage"
    return [Response(200, (), msgspec.json.encode({"model": TARGETS[provider][1], named: usage})) for usage in usages]


@pytest.mark.timeout(
    300
)  # the oldest price list takes a millisecond for an answer, and hypothesis watches each line of it
@pytest.mark.parametrize("provider", TARGETS)
@settings(max_examples=30)
@given(st.data())
def test_all_together_cost_what_each_of_them_costs(provider: str, data: st.DataObject) -> None:
    responses = answers(provider, data.draw(st.lists(USAGES[provider], max_size=6)))
    together = meter(provider)
    single = Cost()
    for response in responses:
        together.add(response)
        alone = meter(provider)
        alone.add(response)
        single += alone.cost()
    assert astuple(together.cost()) == pytest.approx(astuple(single))


@pytest.mark.parametrize("provider", TARGETS)
@given(st.data())
def test_a_shape_and_its_numbers_are_the_whole_usage(provider: str, data: st.DataObject) -> None:
    usage = data.draw(USAGES[provider])
    found = shape_of(Answer("m", None, usage))
    if found is not None:
        assert answer_of(*found).usage == usage


def test_an_answer_is_read_once_for_all_that_are_like_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, since reading takes longer than all else that is done to a row."""
    from batchling.money import usage as module

    calls: list[None] = []

    def counted(provider: str, endpoint: str) -> Any:
        calls.append(None)
        return original(provider, endpoint)

    original = module.prices.reader
    monkeypatch.setattr(module.prices, "reader", counted)
    found = meter("openai")
    for number in range(1_000):
        usage = {"prompt_tokens": number, "completion_tokens": 2, "total_tokens": number + 2}
        found.add(*answers("openai", [usage]))
    cost = found.cost()
    assert (cost.answers, cost.silent, cost.input, cost.output) == (1_000, 0, sum(range(1_000)), 2_000)
    assert len(calls) == 2


def test_answers_of_many_shapes_are_counted_all_the_same() -> None:
    found = meter("openai")
    for number in range(200):
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "id": f"u{number}"}
        found.add(*answers("openai", [usage]))
    cost = found.cost()
    assert (cost.answers, cost.silent, cost.input, cost.output) == (200, 0, 200, 200)
    assert cost.paid is not None


def test_fractions_of_tokens_are_not_added_up() -> None:
    assert shape_of(Answer(model="m", usage={"prompt_tokens": 1.5})) is None
    assert shape_of(Answer(model="m", usage={"prompt_tokens": 2.0, "queue_time": 1.5})) is not None
