"""What every call to the embedded server passes: faults, latency, and the list of calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate

from aiohttp import web

from batchling.testing.faults import Fault
from batchling.testing.ledger import Seen
from batchling.testing.replies import Refusal
from batchling.testing.served import ServedApi
from batchling.testing.state import ServerState

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Middleware:
    """Around the handlers of all APIs, by the names below which they are mounted. Calls that stall end with
    `stopping`."""

    def __init__(self, shared: ServerState, apis: Mapping[str, ServedApi], stopping: asyncio.Event) -> None:
        self._shared = shared
        self._apis = apis
        self._stopping = stopping

    @web.middleware
    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Handle every call: faults, latency, and the list of calls."""
        api = self._apis.get(request.path.split("/", 2)[1])
        creates = api is not None and api.creates(request.method, request.path)
        moved = request.raw_path.partition("?")[0].endswith("/") or request.host.startswith("localhost:")
        fault = self._shared.fault_for(request.method, request.path, creates=creates, moved=moved)
        if self._shared.latency:
            await asyncio.sleep(self._shared.latency)
        answer: web.StreamResponse = web.Response()
        try:
            if fault is None or fault.acts:
                answer = await handler(request)
            else:
                await request.read()
        except Refusal as refusal:
            answer = refusal.response
        except web.HTTPException as unknown:
            answer = web.Response(status=unknown.status, text=unknown.reason)
        if fault is not None:
            answer = await self._spoil(request, fault, answer)
        else:
            self._note(request, answer.status)
        if self._shared.clock_error and not answer.prepared:
            answer.headers["date"] = formatdate(self._shared.now(), usegmt=True)
        return answer

    async def _spoil(self, request: web.Request, fault: Fault, answer: web.StreamResponse) -> web.StreamResponse:
        """Apply a call's fault; `answer` is what it would have got."""
        body = answer.body if isinstance(answer, web.Response) else b""
        whole = body if isinstance(body, bytes) else b""
        if fault.change is not None:
            self._note(request, answer.status)
            return web.Response(body=fault.change(whole), status=answer.status, content_type=answer.content_type)
        if fault.status:
            self._note(request, fault.status)
            place = {"location": _moved(request, fault.moved)} if fault.moved else {}
            return web.Response(body=fault.body, status=fault.status, headers={**fault.headers, **place})
        self._note(request, 0)
        if fault.stalls:
            await self._stopping.wait()
        if fault.cuts:
            half = web.StreamResponse(status=answer.status, headers={"content-length": str(len(whole))})
            await half.prepare(request)
            await half.write(whole[: len(whole) // 2])
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    def _note(self, request: web.Request, status: int) -> None:
        try:
            account = self._apis[request.path.split("/", 2)[1]].account(request)
        except (Refusal, KeyError):
            account = ""
        self._shared.ledger.calls.append(Seen(request.method, request.path, account, status))


def _moved(request: web.Request, to: str) -> str:
    """The address to which a call is redirected."""
    url = (
        request.url.with_path(request.path + "/", encoded=True) if to == "slash" else request.url.with_host("localhost")
    )
    return str(url.with_query(request.query_string) if to == "slash" else url)
