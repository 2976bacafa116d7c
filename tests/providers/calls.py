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
from tests.providers.provider_cases import ProviderCase


def scope(server: ProviderServer, provider_case: ProviderCase, count: int, **options: Any) -> BatchingContext:
    """A scope whose calls leave in one batch, however slow the machine."""
    chosen: dict[str, Any] = {
        "batch_window_seconds": 5.0,
        "batch_poll_interval_seconds": 0.01,
        "batch_size": count,
        "providers": provider_case.providers(server),
    }
    return batchify(gateways=server.gateways, **{**chosen, **options})


def texts(provider_case: ProviderCase) -> list[str]:
    return [f"text {number:02}" for number in range(provider_case.texts)]


async def gather(
    server: ProviderServer,
    provider_case: ProviderCase,
    asked: Sequence[str],
    path: str = "",
    keys: Sequence[str] = ("sk-1",),
) -> list[httpx.Response]:
    path = path or provider_case.path
    async with httpx.AsyncClient(verify=TLS, timeout=30) as client:
        return await asyncio.gather(
            *(
                client.post(
                    f"{server.url}/{provider_case.name}{path}",
                    json=provider_case.paths[path](text),
                    headers=provider_case.headers(keys[number % len(keys)]),
                )
                for number, text in enumerate(asked)
            )
        )


def ask(
    server: ProviderServer,
    provider_case: ProviderCase,
    asked: Sequence[str],
    path: str = "",
    keys: Sequence[str] = ("sk-1",),
    **options: Any,
) -> list[httpx.Response]:
    """In one scope."""
    with scope(server, provider_case, len(asked), **options):
        return asyncio.run(gather(server, provider_case, asked, path, keys))


def ask_real_time(
    server: ProviderServer,
    provider_case: ProviderCase,
    asked: Sequence[str],
    path: str = "",
    keys: Sequence[str] = ("sk-1",),
) -> list[httpx.Response]:
    """In whatever scope is open, or none."""
    return asyncio.run(gather(server, provider_case, asked, path, keys))
