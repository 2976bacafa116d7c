"""Scopes as programs open them: with short times, and no gateway named."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from batchling import batchify
from tests.engine.calls import QUICK


def scope(**options: Any) -> AbstractContextManager[None]:
    """A scope on the providers' own host names."""
    return batchify(**{**QUICK, **options})
