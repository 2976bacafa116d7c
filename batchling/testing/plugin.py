"""The pytest fixtures that come with batchling."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from batchling.testing.server import ProviderServer


@pytest.fixture
def batchling_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, which batchify() uses during the test."""
    folder = tmp_path / "batchling-cache"
    monkeypatch.setenv("BATCHLING_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def provider_server(batchling_cache: Path) -> Iterator[ProviderServer]:
    """A fresh `ProviderServer`, with an empty cache folder: pass its `gateways` to batchify()."""
    from batchling.testing.server import ProviderServer

    with ProviderServer() as server:
        yield server


@pytest.fixture
def provider_server_at_real_hosts(provider_server: ProviderServer) -> Iterator[ProviderServer]:
    """The test's `provider_server`, to which the providers' own host names lead during the test: clients need no
    `base_url`, and batchify() no `gateways`. See `ProviderServer.at_real_hosts`; needs `batchling[testing]`."""
    with provider_server.at_real_hosts():
        yield provider_server
