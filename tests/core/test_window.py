from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchling.core.model import Item, Request, Target
from batchling.core.window import ROW_OVERHEAD, Window, split

TARGETS = [Target("p", "u", "e", "m", account) for account in "abc"]


def item(number: int, size: int = 0) -> Item:
    return Item(f"k{number}", Request("POST", "u", (), b"x" * size))


@pytest.mark.thorough
@given(st.lists(st.tuples(st.sampled_from(TARGETS), st.floats(0, 10)), max_size=30), st.integers(1, 10))
def test_a_window_leaves_by_size_or_by_time_and_loses_nothing(arrivals: list[tuple[Target, float]], size: int) -> None:
    window = Window(size, 2.0)
    now, left = 0.0, []
    for number, (target, wait) in enumerate(arrivals):
        now += wait
        if window.due(now):
            left.append(window.take())
        window.add(target, item(number), now)
        assert window.full == (len(window) >= size)
        if window.full:
            assert window.due(now)
            left.append(window.take())
            assert not window.due(now + 100)
    if window:
        assert window.leaves_at is not None
        assert window.due(window.leaves_at)
        assert not window.due(window.leaves_at - 1e-6) or window.full
        left.append(window.take())

    assert sorted(i.key for groups in left for items in groups.values() for i in items) == sorted(
        f"k{number}" for number in range(len(arrivals))
    )
    for groups in left:
        assert sum(map(len, groups.values())) <= size


def test_accounts_never_share_a_batch() -> None:
    window = Window(10, 1.0)
    for number in range(6):
        window.add(TARGETS[number % 2], item(number), 0.0)

    groups = window.take()

    assert {target.account: [i.key for i in items] for target, items in groups.items()} == {
        "a": ["k0", "k2", "k4"],
        "b": ["k1", "k3", "k5"],
    }


def test_a_withdrawn_item_does_not_leave() -> None:
    window = Window(10, 1.0)
    window.add(TARGETS[0], item(1), 0.0)

    assert window.remove("k1")
    assert not window.remove("k1")
    assert window.take() == {}
    assert window.leaves_at is None


@pytest.mark.thorough
@given(st.lists(st.integers(0, 5000), max_size=60), st.integers(1, 10), st.integers(300, 8000))
def test_split_keeps_the_order_and_the_limits(sizes: list[int], rows: int, size: int) -> None:
    items = [item(number, length) for number, length in enumerate(sizes)]

    batches = list(split(items, rows=rows, size=size))

    assert [one for batch in batches for one in batch] == items
    for batch in batches:
        assert 1 <= len(batch) <= rows
        assert len(batch) == 1 or sum(len(i.request.body) + ROW_OVERHEAD for i in batch) <= size
