"""AIBrix's metadata service in its dry-run mode (no cluster, no Redis), with an engine instead of its echo.

The first argument is the engine's URL, which ends with `/v1`; the others are the command's own.
"""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import urlsplit

import httpx
from aibrix.batch.client import GatewayEndpointSource, HttpChannel
from aibrix.metadata import app

ENGINE = sys.argv.pop(1).removesuffix("/v1")


class Engine(httpx.AsyncClient):
    """AIBrix takes the engine to be at the root of its host, and to want no key."""

    async def post(self, url: Any, **options: Any) -> httpx.Response:
        return await super().post(ENGINE + urlsplit(url).path, headers={"authorization": "Bearer sk-1"}, **options)


def source() -> GatewayEndpointSource:
    found = GatewayEndpointSource(ENGINE)
    found._channel = HttpChannel(ENGINE, client=Engine())
    return found


app.NoopEndpointSource = source
app.main()
