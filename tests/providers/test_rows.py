"""Rows that come inside a document."""

from __future__ import annotations

import pytest

from batchling.providers.rows import rows_within


def test_rows_are_found_where_they_are_and_are_lines() -> None:
    body = b'{"first": {"rows": null}, "second": {"rows": [{"a":\r\n 1}, {"b": "\xe2\x80\xa8"}]}}'
    assert rows_within(body, "first.rows", "second.rows") == [b'{"a":   1}', b'{"b": "\xe2\x80\xa8"}']


@pytest.mark.parametrize("body", [b"{}", b'{"rows": null}', b'{"rows": {}}', b'{"rows": {"x": 1}}'])
def test_a_place_without_rows_is_none(body: bytes) -> None:
    assert rows_within(body, "rows.rows") is None


@pytest.mark.parametrize("body", [b"", b"[1]", b'{"rows": 5}', b'{"rows": [', b'{"rows": "\xff"}'])
def test_anything_else_is_one_named_error(body: bytes) -> None:
    with pytest.raises(ValueError, match="not a document with rows"):
        rows_within(body, "rows")
