"""Labels do not count, ids count by what they connect, everything else counts."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchling.core.fingerprint import fingerprint
from batchling.core.model import Target
from batchling.core.neutral import Neutral
from batchling.providers.claude import NEUTRAL as CLAUDE
from batchling.providers.google.gemini import GEMINI
from batchling.providers.mistral import MISTRAL
from batchling.providers.neutral import OPENAI_DIALECT

TARGET = Target("openai", "https://api.openai.com/v1", "/v1/chat/completions", "m", "account")

Body = dict[str, Any]
ids = st.text(min_size=1, max_size=9)
names = st.sampled_from(["messages", "input", "tool_calls", "id", "call_id", "content", "type", "user", "x"])
scalars = st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=4) | st.sampled_from(["0", "1", "message"])
bodies = st.dictionaries(
    names,
    st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(names, v, max_size=4), max_leaves=16),
    max_size=5,
)


def chat(calls: list[str], results: list[str]) -> Body:
    made = [
        {"id": each, "type": "function", "function": {"name": f"f{n}", "arguments": "{}"}}
        for n, each in enumerate(calls)
    ]
    answers = [{"role": "tool", "tool_call_id": each, "content": f"r{n}"} for n, each in enumerate(results)]
    return {"model": "m", "messages": [{"role": "assistant", "content": None, "tool_calls": made}, *answers]}


def responses(calls: list[str], results: list[str]) -> Body:
    made = [
        {"type": "function_call", "id": f"fc{each}", "call_id": each, "name": f"f{n}", "arguments": "{}"}
        for n, each in enumerate(calls)
    ]
    answers = [{"type": "function_call_output", "call_id": each, "output": f"r{n}"} for n, each in enumerate(results)]
    return {"model": "m", "input": [{"role": "user", "content": "q"}, *made, *answers]}


def claude(calls: list[str], results: list[str]) -> Body:
    made = [{"type": "tool_use", "id": each, "name": f"f{n}", "input": {}} for n, each in enumerate(calls)]
    answers = [{"type": "tool_result", "tool_use_id": each, "content": f"r{n}"} for n, each in enumerate(results)]
    return {"messages": [{"role": "assistant", "content": made}, {"role": "user", "content": answers}]}


def gemini(calls: list[str], results: list[str]) -> Body:
    made = [{"functionCall": {"id": each, "name": f"f{n}", "args": {}}} for n, each in enumerate(calls)]
    answers = [{"functionResponse": {"id": each, "name": "f", "response": {"r": n}}} for n, each in enumerate(results)]
    return {"contents": [{"role": "model", "parts": made}, {"role": "user", "parts": answers}]}


def snake(calls: list[str], results: list[str]) -> Body:
    text = json.dumps(gemini(calls, results))
    return json.loads(text.replace("functionCall", "function_call").replace("functionResponse", "function_response"))


def conversation(calls: list[str], results: list[str]) -> Body:
    made = [
        {"type": "function.call", "id": f"e{each}", "tool_call_id": each, "name": f"f{n}"}
        for n, each in enumerate(calls)
    ]
    answers = [{"type": "function.result", "tool_call_id": each, "result": f"r{n}"} for n, each in enumerate(results)]
    return {"model": "m", "store": False, "inputs": [*made, *answers]}


FORMS = {
    "chat": (OPENAI_DIALECT, chat),
    "responses": (OPENAI_DIALECT, responses),
    "messages beside chat": (OPENAI_DIALECT, claude),
    "messages": (CLAUDE, claude),
    "gemini": (GEMINI.facts.neutral, gemini),
    "gemini in snake case": (GEMINI.facts.neutral, snake),
    "mistral chat": (MISTRAL.facts.neutral, chat),
    "mistral conversation": (MISTRAL.facts.neutral, conversation),
}


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=40)
@given(pairs=st.lists(st.tuples(ids, ids), min_size=1, max_size=5, unique_by=(lambda p: p[0], lambda p: p[1])))
def test_other_spellings_of_ids_are_the_same(form: str, pairs: list[tuple[str, str]]) -> None:
    neutral, make = FORMS[form]
    one, other = [a for a, _ in pairs], [b for _, b in pairs]

    assert fingerprint(TARGET, make(one, one), neutral) == fingerprint(TARGET, make(other, other), neutral)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=40)
@given(calls=st.lists(ids, min_size=2, max_size=5, unique=True), data=st.data())
def test_swapped_ids_are_another_request(form: str, calls: list[str], data: st.DataObject) -> None:
    neutral, make = FORMS[form]
    shuffled = data.draw(st.permutations(calls))
    same = list(shuffled) == calls

    assert (
        fingerprint(TARGET, make(calls, calls), neutral) == fingerprint(TARGET, make(calls, shuffled), neutral)
    ) == same


@pytest.mark.parametrize("form", FORMS)
def test_two_ids_that_become_one_are_another_request(form: str) -> None:
    neutral, make = FORMS[form]
    assert fingerprint(TARGET, make(["a", "b"], ["a", "b"]), neutral) != fingerprint(
        TARGET, make(["a", "b"], ["a", "a"]), neutral
    )


def reversed_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: reversed_keys(value[name]) for name in reversed(value)}
    return [reversed_keys(one) for one in value] if isinstance(value, list) else value


@pytest.mark.thorough
@given(body=bodies)
def test_the_order_of_keys_does_not_matter(body: Body) -> None:
    assert fingerprint(TARGET, body, OPENAI_DIALECT) == fingerprint(TARGET, reversed_keys(body), OPENAI_DIALECT)


@pytest.mark.thorough
@given(one=bodies, other=bodies)
def test_equal_fingerprints_come_of_bodies_that_differ_in_labels_and_ids_alone(one: Body, other: Body) -> None:
    same = canonical(one) == canonical(other)
    assert (fingerprint(TARGET, one, OPENAI_DIALECT) == fingerprint(TARGET, other, OPENAI_DIALECT)) == same


def canonical(body: Body) -> str:
    """Written down once more, plainly: for the names that `bodies` uses."""
    body = copy.deepcopy(body)
    body.pop("user", None)
    seen: dict[str, str] = {}

    def number(holder: Body, name: str) -> None:
        if isinstance(holder.get(name), str):
            holder[name] = "#" + seen.setdefault(holder[name], str(len(seen)))

    def objects(value: Any) -> list[Body]:
        if not isinstance(value, list) or (value and not isinstance(value[0], dict)):
            return []
        return [each for each in value if isinstance(each, dict)]

    for message in objects(body.get("messages")):
        for call in objects(message.get("tool_calls")):
            number(call, "id")
    for item in objects(body.get("input")):
        if item.get("type") == "message":
            number(item, "id")
    for item in objects(body.get("input")):
        number(item, "call_id")
    return json.dumps(body, sort_keys=True)


def test_a_body_is_never_changed() -> None:
    body = {**chat(["a", "b"], ["a", "b"]), "user": "u", "metadata": {"k": "v"}}
    before = copy.deepcopy(body)
    stripped = OPENAI_DIALECT.strip(body)

    assert body == before
    assert "user" not in stripped
    assert stripped["messages"][1]["tool_call_id"] == "0"
    plain = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
    assert OPENAI_DIALECT.strip(plain) is plain


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # In a prompt, in a tool's arguments, in a schema: text like any other.
        ({"messages": [{"content": "id a"}]}, {"messages": [{"content": "id b"}]}),
        (
            {"messages": [{"tool_calls": [{"function": {"arguments": '{"id":"a"}'}}]}]},
            {"messages": [{"tool_calls": [{"function": {"arguments": '{"id":"b"}'}}]}]},
        ),
        (
            {"tools": [{"parameters": {"properties": {"id": {"const": "a"}}}}]},
            {"tools": [{"parameters": {"properties": {"id": {"const": "b"}}}}]},
        ),
        (
            {"messages": [{"content": [{"type": "tool_use", "id": "x", "input": {"id": "a"}}]}]},
            {"messages": [{"content": [{"type": "tool_use", "id": "x", "input": {"id": "b"}}]}]},
        ),
        # What the provider has stored under an id is a part of the question.
        ({"input": [{"type": "item_reference", "id": "a"}]}, {"input": [{"type": "item_reference", "id": "b"}]}),
        ({"input": [{"type": "reasoning", "id": "a"}]}, {"input": [{"type": "reasoning", "id": "b"}]}),
        ({"messages": [{"audio": {"id": "a"}}]}, {"messages": [{"audio": {"id": "b"}}]}),
        # What changes answers.
        ({"seed": 1}, {"seed": 2}),
        ({"n": 1}, {"n": 2}),
        ({"temperature": 0}, {"temperature": 1}),
        ({"service_tier": "default"}, {"service_tier": "flex"}),
        # A label's name elsewhere.
        ({"messages": [{"user": "a"}]}, {"messages": [{"user": "b"}]}),
    ],
)
def test_what_counts(one: Body, other: Body) -> None:
    assert fingerprint(TARGET, one, OPENAI_DIALECT) != fingerprint(TARGET, other, OPENAI_DIALECT)


def test_of_metadata_only_the_named_field_is_left_out() -> None:
    neutral = Neutral(("metadata.user_id",))

    assert neutral.strip({"metadata": {"user_id": "u"}}) == {}
    assert neutral.strip({"metadata": {"user_id": "u", "x": 1}}) == {"metadata": {"x": 1}}
    for untouched in ({"metadata": {"x": 1}}, {"metadata": {}}, {"metadata": "user_id"}, {"user_id": "u"}):
        assert neutral.strip(untouched) == untouched


def test_options_that_repeat_the_body_do_not_count() -> None:
    shaped = Target("vertex", "u", "e", "m", "a", (("shape", "1"), ("x-goog-user-project", "p")))
    other = Target("vertex", "u", "e", "m", "a", (("shape", "2"), ("x-goog-user-project", "p")))
    third = Target("vertex", "u", "e", "m", "a", (("shape", "1"), ("x-goog-user-project", "q")))
    neutral = Neutral(options=("shape",))

    assert fingerprint(shaped, {}, neutral) == fingerprint(other, {}, neutral) != fingerprint(third, {}, neutral)
