"""The matrix of SDKs: each against the embedded server, each proved by the server's ledger. An SDK that is not installed
is skipped and says so; tox has an environment for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from batchling.testing import ProviderServer


@pytest.fixture
def server(provider_server: ProviderServer) -> Iterator[ProviderServer]:
    """A server that, at the end of the test, must have billed something and nothing of it in real time."""
    yield provider_server
    assert provider_server.billed(batch=True)
    assert provider_server.billed(batch=False) == []
