"""What is kept of a request, and when another one is taken for it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchling.core.footprint import MOST_PATHS, Comparison, Memory, footprint
from batchling.core.model import Target
from tests.core.json_bodies import bodies

TARGET = Target("openai", "https://api.openai.com/v1", "/v1/chat/completions", "m", "account")


def ask(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


@pytest.mark.thorough
@given(bodies)
def test_a_footprint_is_small_and_says_nothing(body: dict[str, Any]) -> None:
    found = footprint(TARGET, body)

    assert len(found) <= MOST_PATHS
    assert all(re.fullmatch(r"[0-9a-f]{8}\+?", value) for value in found.values())
    assert footprint(TARGET, dict(reversed(body.items()))) == found


@pytest.mark.thorough
@settings(max_examples=50)
@given(st.lists(bodies, min_size=1, max_size=5), bodies)
def test_comparing_never_fails_and_the_same_is_no_news(known: list[dict[str, Any]], body: dict[str, Any]) -> None:
    memory = Memory([footprint(TARGET, each) for each in known])
    memory.likeness(footprint(TARGET, body))

    for each in known:
        assert memory.likeness(footprint(TARGET, each)) is None


def test_paths_lead_to_fields() -> None:
    body = ask("one two", stop=["a"], response_format={"type": "json_schema", "json_schema": {"name": "n"}})
    body["messages"].append({"role": "user", "content": [{"type": "text", "text": "x\ny"}]})

    assert [path for path in footprint(TARGET, body) if not path.startswith("@")] == [
        "messages[0].content|0",
        "messages[0].content|1",
        "messages[0].role",
        "messages[1].content[0].text|0",
        "messages[1].content[0].text|1",
        "messages[1].content[0].type",
        "messages[1].role",
        "model",
        "response_format.json_schema.name",
        "response_format.type",
        "stop[0]",
    ]


def test_it_takes_three_calls_and_half_of_what_is_remembered() -> None:
    comparison = Comparison(Memory([footprint(TARGET, ask(f"question {n}", seed=1)) for n in range(8)]))
    told = [comparison.add(footprint(TARGET, ask(f"question {n}", seed=2))) for n in range(5)]

    assert told == [(), (), (), ("seed",), ("seed",)]


def test_the_name_of_a_field_may_be_a_text() -> None:
    assert "hush" not in json.dumps(dict(footprint(TARGET, ask("q", bias={"hush hush": 1}))))
