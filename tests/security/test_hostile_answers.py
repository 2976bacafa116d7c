"""Nothing that a provider says can raise into the program, keep it for long, or lose an answer that is paid for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchling import batchify
from batchling.cli import main
from batchling.providers.base import Garbled
from batchling.providers.reading import read_count, read_id, read_moment, read_text
from batchling.testing import ProviderServer
from tests.faults.calls import ask_all

HUGE = "1" + "0" * 400
HOSTILE = [
    HUGE,
    f"-{HUGE}",
    "1e308",
    "-1",
    "1000000000000000000",
    "1000000000000000000000000000000",
    "NaN",
    "-Infinity",
    "null",
    "true",
    '""',
    "[]",
    "{}",
    r'"\ud800x"',
    r'"\u0000\n/../b"',
    r'"\u001b]0;title\u0007\u001b[2J[red]x[/]\nFORGED LINE"',
    json.dumps("x" * 1_000_000),
    "[" * 5_000 + "]" * 5_000,
    '{"a":' * 300 + "1" + "}" * 300,
    json.dumps({"error": {"code": 10**30, "message": "\x1b[2J"}}),
]
"""JSON texts that stand in the place of a value."""
PLACES = [("openai", "POST", "/files"), ("openai", "POST", "/batches"), ("openai", "GET", "/batches/")]
PLACES += [("openai", "GET", "/content"), ("anthropic", "POST", "/batches"), ("anthropic", "GET", "/batches/")]
PLACES += [("anthropic", "GET", "/results")]


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all values within a JSON value, itself first."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inner:
        yield from paths(each, (*path, name))


def spoil(line: bytes, place: int, text: str) -> bytes:
    """The JSON line with this text in the place of one of its values."""
    said = json.loads(line)
    found = list(paths(said))
    path = found[place % len(found)]
    if not path:
        return text.encode()
    parent = said
    for name in path[:-1]:
        parent = parent[name]
    parent[path[-1]] = "HERE"
    return json.dumps(said).replace('"HERE"', text).encode()


def spoil_body(place: int, text: str) -> Callable[[bytes], bytes]:
    def change(body: bytes) -> bytes:
        first, *others = body.splitlines() or [b"{}"]
        return b"\n".join([spoil(first, place, text), *others])

    return change


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    """What the commands print of all batches."""
    for words in (["jobs"], ["cache"]):
        assert main(words) == 0
    main(["jobs", "--json"])
    said = capsys.readouterr().out
    for found in json.loads(said[said.index("[") :]):
        assert main(["show", found["id"]]) == 0
    return capsys.readouterr().out


@pytest.mark.thorough
@pytest.mark.timeout(300)  # forty runs, on a machine that does much else
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(PLACES), st.integers(0, 40), st.sampled_from(HOSTILE))
def test_a_hostile_value_anywhere(
    provider_server: ProviderServer,
    capsys: pytest.CaptureFixture[str],
    where: tuple[str, str, str],
    place: int,
    text: str,
) -> None:
    """One answer of the provider is spoilt, once: the callers get answers, and the same again in the next run."""
    provider, method, part = where
    provider_server.forget_faults()
    provider_server.change_reply(method, part, spoil_body(place, text))
    texts = [f"{where} {place} {text[:9]} {number}" for number in range(3)]

    first = ask_all(provider_server, provider, texts)
    provider_server.forget_faults()
    again = ask_all(provider_server, provider, texts)

    assert all(200 <= status <= 599 for status in first)
    assert all(now == 200 for now, before in zip(again, first, strict=True) if before == 200 or before >= 500)
    out = capsys.readouterr().out + shown(capsys)
    assert all(letter.isprintable() for letter in out.replace("\n", ""))


@pytest.mark.parametrize(
    "number", [10**400, -(10**400), 10**18, -1, float("nan"), float("inf"), 1e308, True, "x", None, [], {}]
)
def test_numbers_are_bounded(number: Any) -> None:
    assert read_moment(number) == 0.0
    assert 0 <= read_count(number) <= 10**12


def test_texts_can_be_written_and_ids_sent() -> None:
    assert read_text("\ud800é") == "?é"
    for odd in ("\ud800", "x" * 9_000, "", 5, None):
        with pytest.raises(Garbled):
            read_id({"id": odd})


@pytest.mark.thorough
@pytest.mark.parametrize("count", [HUGE, "1" + "0" * 30, "-5", "1e999", "NaN"])
def test_hostile_usage_costs_nothing(
    provider_server: ProviderServer, capsys: pytest.CaptureFixture[str], count: str
) -> None:
    """A priced model, whose answer says that it took this many tokens."""

    def change(rows: bytes) -> bytes:
        said = json.loads(rows)
        said["response"]["body"]["usage"] = {"prompt_tokens": "HERE", "completion_tokens": 1, "total_tokens": 2}
        return json.dumps(said).replace('"HERE"', count).encode()

    provider_server.change_reply("GET", "/content", change)
    with batchify(gateways=provider_server.gateways, batch_window_seconds=0.02, batch_poll_interval_seconds=0.02):
        answer = httpx.post(
            f"{provider_server.openai_url}/chat/completions",
            json={"model": "gpt-4o", "messages": [{"role": "user", "content": "a"}]},
            headers={"authorization": "Bearer sk-1"},
        )

    assert answer.status_code == 200
    assert "unknown tokens" in capsys.readouterr().err
