"""Answers of every size, read in every style of each library."""

from __future__ import annotations

from typing import Any

import pytest

from batchling import install_hooks
from tests.hooks.bodies import LARGE, SMALL, Style, body_of, styles, suits
from tests.hooks.world import RecordingGate, opened

URL = "https://api.example/v1/answer"

STYLES = styles()


def cases() -> list[Any]:
    return [
        pytest.param(style, size, id=f"{library}-{name}-{size}", marks=[pytest.mark.slow] if size in LARGE else [])
        for (library, name), style in STYLES.items()
        for size in (*SMALL, *LARGE)
        if suits(name, size)
    ]


@pytest.mark.parametrize(("style", "size"), cases())
def test_a_body_is_read_whole(style: Style, size: int) -> None:
    install_hooks()
    gate = RecordingGate(body_of(size))
    with opened(gate):
        assert style(URL) == body_of(size)
    assert gate.requests
    assert gate.bypassed == []
