"""A screen for each test that looks at one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.display.screens import Screen


@pytest.fixture
def screen() -> Iterator[Screen]:
    made = Screen()
    yield made
    made.close()
