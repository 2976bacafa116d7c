"""The engine of a scope, as a test gets at it while the scope is open."""

from __future__ import annotations

from batchling.engine.batcher import Batcher
from batchling.system.gate import open_gates


def batcher() -> Batcher:
    """The engine of the only scope that is open in this process."""
    (gate,) = tuple(open_gates)
    assert isinstance(gate, Batcher)
    return gate
