"""Testing programs that use batchling: a real loopback server that speaks the providers' APIs.

    from batchling import batchify
    from batchling.testing import ProviderServer

    with ProviderServer() as server, batchify(gateways=server.gateways):
        client = OpenAI(base_url=server.openai_url, api_key="test")
        ...
    assert len(server.billed(batch=True)) == 3

`ProviderServer().at_real_hosts()` makes the providers' own host names lead to it, so neither URL is needed.

With pytest, the fixture `provider_server` gives a fresh server to each test, `provider_server_at_real_hosts` one at the
providers' host names, and `batchling_cache` an empty cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchling.testing.ledger import Bill, Seen
    from batchling.testing.server import ProviderServer

__all__ = ["Bill", "ProviderServer", "Seen"]


def __getattr__(name: str) -> object:
    # Imported on first use: pytest imports this package in every project where batchling is installed.
    if name == "ProviderServer":
        from batchling.testing.server import ProviderServer

        return ProviderServer
    if name in ("Bill", "Seen"):
        from batchling.testing import ledger

        return getattr(ledger, name)
    raise AttributeError(f"module 'batchling.testing' has no attribute {name!r}")
