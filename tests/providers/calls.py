"""What the programs of the contract do: ask one provider some texts, with a batch or without."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx

from batchling import batchify
from batchling.scope.context import BatchingContext
from batchling.testing import ProviderServer
from tests.engine.calls import TLS
from tests.providers.kits import Kit


def scope(server: ProviderServer, kit: Kit, count: int, **options: Any) -> BatchingContext:
    """A scope whose calls leave in one batch, however slow the machine."""
    chosen: dict[str, Any] = {
        "batch_window_seconds": 5.0,
        "batch_poll_interval_seconds": 0.01,
        "batch_size": count,
        "providers": kit.providers(server),
    }
    return batchify(gateways=server.gateways, **{**chosen, **options})


def texts(kit: Kit) -> list[str]:
    return [f"text {number:02}" for number in range(kit.texts)]


async def gather(
    server: ProviderServer, kit: Kit, asked: Sequence[str], path: str = "", keys: Sequence[str] = ("sk-1",)
) -> list[httpx.Response]:
    path = path or kit.path
    async with httpx.AsyncClient(verify=TLS, timeout=30) as client:
        return await asyncio.gather(
            *(
                client.post(
                    f"{server.url}/{kit.name}{path}",
                    json=kit.paths[path](text),
                    headers=kit.headers(keys[number % len(keys)]),
                )
                for number, text in enumerate(asked)
            )
        )


def ask(
    server: ProviderServer,
    kit: Kit,
    asked: Sequence[str],
    path: str = "",
    keys: Sequence[str] = ("sk-1",),
    **options: Any,
) -> list[httpx.Response]:
    """In one scope."""
    with scope(server, kit, len(asked), **options):
        return asyncio.run(gather(server, kit, asked, path, keys))


def ask_real_time(
    server: ProviderServer, kit: Kit, asked: Sequence[str], path: str = "", keys: Sequence[str] = ("sk-1",)
) -> list[httpx.Response]:
    """In whatever scope is open, or none."""
    return asyncio.run(gather(server, kit, asked, path, keys))
