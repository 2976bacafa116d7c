"""What a provider's row may hold, as an answer of HTTP that every client can read."""

from __future__ import annotations

import http.client
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchling.core.model import Response
from batchling.hooks.answers import headers_of, wire
from batchling.hooks.wireless import AnsweringSocket

header = st.tuples(st.text(max_size=20), st.text(max_size=40))


@pytest.mark.thorough
@given(st.integers(-5, 2000), st.lists(header, max_size=120), st.binary(max_size=300))
def test_whatever_a_row_says_can_be_read(status: int, headers: list[tuple[str, str]], body: bytes) -> None:
    response = Response(status, tuple((name.lower(), value) for name, value in headers), body)
    socket: Any = AnsweringSocket(wire(response))

    answer = http.client.HTTPResponse(socket, method="POST")
    answer.begin()

    assert answer.status == (status if 200 <= status <= 999 else 502)
    if status not in (204, 304):
        assert answer.read() == body
        assert answer.getheader("content-length") == str(len(body))
    assert answer.getheader("date")


def test_long_and_many_headers_are_left_out() -> None:
    many = tuple((f"x-{n}", "v") for n in range(500))
    found = headers_of(Response(200, (("x-long", "v" * 10_000), ("bad name", "v"), ("x-split", "a\r\nb"), *many)))

    names = [name for name, _ in found]
    assert len(names) < 70
    assert not {b"x-long", b"bad name", b"x-split"} & set(names)
    assert names[-2:] == [b"date", b"content-length"]
