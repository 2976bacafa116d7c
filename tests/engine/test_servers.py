"""Where a scope has to be opened so that the requests of an ASGI server are in it: around the server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
import uvicorn

from batchling.testing import ProviderServer
from tests.engine.calls import TLS, chat, scope, together
from tests.waiting import wait_until_async

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]


class App:
    """Asks a model for each request; `lifespan` opens the scope where the server starts the program."""

    def __init__(self, server: ProviderServer, lifespan: Callable[[], Any] | None) -> None:
        self._server = server
        self._lifespan = lifespan

    async def __call__(self, asked: dict[str, Any], receive: Receive, send: Send) -> None:
        if asked["type"] == "lifespan":
            await self._live(receive, send)
            return
        async with httpx.AsyncClient(verify=TLS) as client:
            headers = {"authorization": "Bearer sk-1"}
            text = asked["query_string"].decode()
            url = f"{self._server.openai_url}/chat/completions"
            answer = await client.post(url, json=chat(text), headers=headers)
        await send({"type": "http.response.start", "status": answer.status_code, "headers": []})
        await send({"type": "http.response.body", "body": answer.content})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with AsyncExitStack() as stack:
            if self._lifespan is not None:
                await stack.enter_async_context(self._lifespan())
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


async def serve(app: App, requests: int) -> list[int]:
    """The statuses of requests that reach a real uvicorn together."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    running = asyncio.create_task(server.serve())
    await wait_until_async(lambda: server.started, "uvicorn has started")
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient() as client:
        urls = [f"http://127.0.0.1:{port}/?{number}" for number in range(requests)]
        answers = await asyncio.gather(*(client.get(url, timeout=60) for url in urls))
    server.should_exit = True
    await running
    return [answer.status_code for answer in answers]


@pytest.mark.thorough
def test_a_scope_around_the_server_has_all_requests(provider_server: ProviderServer) -> None:
    with scope(provider_server, **together(6)):
        statuses = asyncio.run(serve(App(provider_server, None), 6))
    assert statuses == [200] * 6
    assert len(provider_server.creates()) == 1
    assert len(provider_server.billed(batch=True)) == 6


@pytest.mark.thorough
def test_a_scope_in_the_lifespan_has_none_and_says_so_at_the_first(
    provider_server: ProviderServer, caplog: pytest.LogCaptureFixture
) -> None:
    statuses = asyncio.run(serve(App(provider_server, lambda: scope(provider_server)), 6))
    assert statuses == [200] * 6
    assert len(provider_server.billed(batch=False)) == 6
    (text,) = [
        r.getMessage() for r in caplog.records if "goes real time" in r.getMessage() and r.levelname == "WARNING"
    ]
    assert "with batchify(): uvicorn.run(app)" in text
