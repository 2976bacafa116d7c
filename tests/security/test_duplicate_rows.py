"""Of several rows for one request the first good one counts, in every run."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from batchling.testing import ProviderServer
from tests.engine.calls import ask, scope


def said(line: bytes, text: str | None) -> bytes:
    """A row with another answer, or with none."""
    row = json.loads(line)
    if text is None:
        return json.dumps({**row, "response": None, "error": {"code": "batch_expired", "message": "late"}}).encode()
    row["response"]["body"]["choices"][0]["message"]["content"] = text
    return json.dumps(row).encode()


CASES: dict[str, tuple[str | None, ...]] = {
    "two good": ("FIRST", "SECOND"),
    "good, bad": ("FIRST", None),
    "bad, good": (None, "FIRST"),
    "bad, good, good": (None, "FIRST", "SECOND"),
    "three good": ("FIRST", "SECOND", "SECOND"),
}


def repeat(texts: tuple[str | None, ...]) -> Callable[[bytes], bytes]:
    return lambda body: b"\n".join(said(line, text) for text in texts for line in body.splitlines()) + b"\n"


@pytest.mark.thorough
@pytest.mark.parametrize("cache", [True, False, "no-results"])
@pytest.mark.parametrize("case", CASES)
def test_the_first_good_row_counts(provider_server: ProviderServer, case: str, cache: object) -> None:
    provider_server.change_reply("GET", "/content", repeat(CASES[case]), times=float("inf"))
    for _ in range(2 if cache else 1):
        with scope(provider_server, cache=cache):
            for _ in range(2):
                answer = ask(provider_server, "a").json()
                assert answer["choices"][0]["message"]["content"] == "FIRST"
    with scope(provider_server, cache=cache, duplicates="join"):
        assert ask(provider_server, "a").json()["choices"][0]["message"]["content"] == "FIRST"
