from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchling.core.fingerprint import Ordinals, decode_body, fingerprint, key_of
from batchling.core.model import Target
from tests.core.json_bodies import bodies

TARGET = Target("openai", "https://api.openai.com/v1", "/v1/chat/completions", "m", "account")


def shuffled(value: object) -> object:
    if isinstance(value, dict):
        return {name: shuffled(value[name]) for name in reversed(value)}
    return [shuffled(one) for one in value] if isinstance(value, list) else value


@pytest.mark.thorough
@given(bodies)
def test_spelling_does_not_matter(body: dict[str, object]) -> None:
    spellings = (
        json.dumps(body).encode(),
        json.dumps(shuffled(body), indent=2, ensure_ascii=False).encode("utf-8", "surrogatepass"),
    )
    decoded = [decode_body(spelling) for spelling in spellings]
    if None not in decoded:
        assert len({fingerprint(TARGET, one) for one in decoded if one is not None}) == 1


@pytest.mark.thorough
@given(bodies, bodies)
def test_other_bodies_have_other_fingerprints(one: dict[str, object], other: dict[str, object]) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (fingerprint(TARGET, one) == fingerprint(TARGET, other)) == same


def test_all_of_the_target_counts() -> None:
    others = [
        Target("anthropic", TARGET.base_url, TARGET.endpoint, "m", "account"),
        Target("openai", "https://eu.api.openai.com/v1", TARGET.endpoint, "m", "account"),
        Target("openai", TARGET.base_url, "/v1/responses", "m", "account"),
        Target("openai", TARGET.base_url, TARGET.endpoint, "n", "account"),
        Target("openai", TARGET.base_url, TARGET.endpoint, "m", "another"),
        Target("openai", TARGET.base_url, TARGET.endpoint, "m", "account", (("anthropic-beta", "a"),)),
    ]

    assert len({fingerprint(target, {"a": 1}) for target in [TARGET, *others]}) == 7


def test_arrays_keep_their_order() -> None:
    assert fingerprint(TARGET, {"a": [1, 2]}) != fingerprint(TARGET, {"a": [2, 1]})


@pytest.mark.thorough
@given(bodies, st.integers(0, 10**6))
def test_keys_suit_every_provider(body: dict[str, object], ordinal: int) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", key_of(fingerprint(TARGET, body), ordinal))


def test_what_is_no_json_object_is_no_body() -> None:
    for body in (b'{"a":' * 100_000, b"", b"[]", b"1", b'"x"', b"{", b'{"a": NaN}', b"\xff", b"a=b"):
        assert decode_body(body) is None
    assert decode_body(b' {"a": 123456789012345678901234567890}\n') == {"a": 123456789012345678901234567890}


@pytest.mark.thorough
@given(st.lists(st.sampled_from(["take", "give"]), max_size=60))
def test_an_ordinal_has_one_holder(steps: list[str]) -> None:
    ordinals = Ordinals()
    held: list[int] = []
    for step in steps:
        if step == "take":
            taken = ordinals.take("f")
            assert taken not in held
            assert taken <= len(held)
            held.append(taken)
        elif held:
            ordinals.give_back("f", held.pop(0))


def test_a_repetition_joins_the_last() -> None:
    ordinals = Ordinals()
    assert ordinals.last("f") == 0
    assert [ordinals.take("f"), ordinals.take("f"), ordinals.last("f")] == [1, 2, 2]
