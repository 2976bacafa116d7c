"""A loopback server that passes calls on to another, notes them, and can lose one on its way there or back."""

from __future__ import annotations

import asyncio
import threading
from typing import Self

import aiohttp
from aiohttp import web

_HOP = ("host", "content-length", "transfer-encoding", "connection", "content-encoding")


class Relay:
    """Passes what comes in below `mount` on to `upstream`, with these `headers` added. A context manager; begin it outside
    of scopes. `seen` are the calls that came in, as methods and paths; `lose_there` and `lose_back` name what a call whose
    connection is to be closed once must contain: before it was passed on, or after."""

    def __init__(self, upstream: str, mount: str) -> None:
        self._upstream, self._mount = upstream, mount
        self.headers: dict[str, str] = {}
        self.seen: list[str] = []
        self.lose_there = self.lose_back = ""
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()), daemon=True)

    @property
    def gateways(self) -> dict[str, str]:
        """What batchify() takes, when it is mounted below a provider's name."""
        return {self.url + self._mount: self._mount.strip("/")}

    def calls(self, part: str) -> list[str]:
        return [call for call in self.seen if part in call]

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *exception: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self) -> None:
        app = web.Application(client_max_size=2**28)
        app.router.add_route("*", "/{path:.*}", self._pass)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = "http://{}:{}".format(*runner.addresses[0][:2])
        async with aiohttp.ClientSession(auto_decompress=True) as self._client:
            self._ready.set()
            await self._stop.wait()
        await runner.cleanup()

    async def _pass(self, request: web.Request) -> web.Response:
        path = request.path_qs.removeprefix(self._mount)
        call = f"{request.method} {path}"
        self.seen.append(call)
        body = await request.read()
        if self.lose_there and self.lose_there in call:
            self.lose_there = ""
            return self._closed(request)
        kept = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        url = self._upstream + path
        async with self._client.request(request.method, url, data=body, headers={**kept, **self.headers}) as answer:
            content = await answer.read()
        if self.lose_back and self.lose_back in call:
            self.lose_back = ""
            return self._closed(request)
        shown = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
        return web.Response(status=answer.status, body=content, headers=shown)

    def _closed(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()
