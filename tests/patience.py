"""The one place where tests shorten what the engine waits for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batchling.engine import patience


def be_patient(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
    """Have scopes and `batchling.jobs` wait for so long only; the names are those of `Patience`."""
    monkeypatch.setattr(patience, "USUAL", replace(patience.USUAL, **seconds))
