"""`ProviderServer`: a loopback server in a thread of its own, and the controls that make it misbehave."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Protocol, Self

from aiohttp import web

from batchling.clock import Loop
from batchling.core.model import JSON
from batchling.hooks.gate import outside
from batchling.testing.accents import ACCENTS
from batchling.testing.anthropic import AnthropicApi
from batchling.testing.fireworks import FireworksApi
from batchling.testing.gemini import GeminiApi
from batchling.testing.inline import InlineApi
from batchling.testing.ledger import Bill, Seen
from batchling.testing.mistral import MistralApi
from batchling.testing.openai import OpenAIApi
from batchling.testing.vertex import VertexApi
from batchling.testing.world import WORLD, Fault, Predicate, Refusal, RowFault, Served, World
from batchling.testing.xai import XaiApi

_START_SECONDS = 60.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Api(Protocol):
    """One provider's API. Handlers run on the server's loop."""

    name: str
    jobs: dict[str, Served]

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """Every call that it answers, below `prefix`."""

    def account(self, request: web.Request) -> str:
        """A digest of who asks. Raises `Refusal` of a missing or refused key."""

    def creates(self, method: str, path: str) -> bool:
        """Whether this call creates a job."""


def _apis(world: World) -> list[Api]:
    return [
        OpenAIApi(world),
        AnthropicApi(world),
        *(OpenAIApi(world, accent) for accent in ACCENTS.values()),
        InlineApi(world, "openrouter"),
        InlineApi(world, "sference"),
        MistralApi(world),
        XaiApi(world),
        FireworksApi(world),
        VertexApi(world),
        GeminiApi(world, "gemini"),
        GeminiApi(world, "gemini-openai"),
    ]


class ProviderServer:
    """The real-time and batch APIs of the providers, on 127.0.0.1 and a free port.

    A context manager. It answers deterministically, refuses what the providers refuse, and keeps a ledger of
    what they would have billed. Keys that begin with `sk-bad` are refused. Controls and readings may be used from any
    thread.

    - `delay`: seconds that a job runs; `polls_to_finish`: how often it has to be asked for before it ends.
    - `latency`: seconds before each call is answered.
    - `retry_after`: what a running Anthropic job's answer says in its Retry-After header, None for nothing.
    """

    def __init__(
        self, *, delay: float = 0.0, polls_to_finish: int = 1, latency: float = 0.0, retry_after: str | None = None
    ) -> None:
        self._world = World(delay=delay, polls_to_finish=polls_to_finish, latency=latency, retry_after=retry_after)
        self._apis: dict[str, Api] = {api.name: api for api in _apis(self._world)}
        self._loop = Loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="provider-server", daemon=True)
        self._runner: web.AppRunner | None = None
        self._stopping = asyncio.Event()
        self.url = ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Begin to serve; `url` is known when this returns."""
        outside().run(self._thread.start)
        asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(_START_SECONDS)
        return self

    def stop(self) -> None:
        """Close every connection and end the thread."""
        if self._runner is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(_START_SECONDS)
            self._runner = None
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_START_SECONDS)
        if not self._loop.is_running():
            self._loop.close()

    @property
    def openai_url(self) -> str:
        """What an OpenAI client takes as its `base_url`."""
        return f"{self.url}/openai/v1"

    @property
    def anthropic_url(self) -> str:
        """What an Anthropic client takes as its `base_url`."""
        return f"{self.url}/anthropic"

    @property
    def gateways(self) -> dict[str, str]:
        """What batchify() takes as `gateways`: each provider's API is mounted below its name."""
        return {f"{self.url}/{name}": name for name in self._apis}

    # Readings.

    def billed(self, *, batch: bool | None = None) -> list[Bill]:
        """What was charged so far: in batches, in real time, or both."""
        return [bill for bill in list(self._world.ledger.bills) if batch is None or (bill.job is not None) == batch]

    def calls(self, method: str = "", part: str = "") -> list[Seen]:
        """The HTTP calls received so far, of one method and with a part of the path if these are given."""
        calls = list(self._world.ledger.calls)
        return [call for call in calls if method in ("", call.method) and part in call.path]

    def creates(self) -> list[Seen]:
        """The calls that were to create a job."""
        seen = [call for call in self.calls() if call.path.split("/", 2)[1] in self._apis]
        return [call for call in seen if self._api_of(call.path).creates(call.method, call.path)]

    def jobs(self) -> dict[str, int]:
        """The number of rows of each job, by id."""
        return {job.id: len(job.rows) for api in self._apis.values() for job in list(api.jobs.values())}

    def over(self) -> int:
        """How many jobs have come to their end."""
        return sum(bool(job.over) for api in self._apis.values() for job in list(api.jobs.values()))

    def forget_bills(self) -> None:
        """Begin a new ledger."""
        self._world.ledger.bills.clear()

    # Controls.

    def hold(self) -> None:
        """Keep every job running until `release`."""
        self._world.held = True

    def release(self) -> None:
        """Let jobs end again."""
        self._world.held = False

    def fail_rows(self, predicate: Predicate, status: int, error: JSON, times: float = float("inf")) -> None:
        """Answer requests whose JSON body the predicate picks with this status and error body, in batches and in
        real time."""
        self._world.row_faults.append(RowFault(predicate, status, error, times))

    def fail_job(self, code: str, message: str, line: int | None = None, param: str | None = None) -> None:
        """Fail the next OpenAI job in its validation; `line` is the 1-based row that is to blame."""
        self._world.job_faults.append({"code": code, "message": message, "param": param, "line": line})

    def expire_job(self, done: float = 0.5) -> None:
        """Expire the next job that ends, after this share of its rows."""
        self._world.endings.append(("expired", done))

    def cancel_job(self, done: float = 0.5) -> None:
        """Cancel the next job that ends, as its owner could at the provider's site, after this share of its rows."""
        self._world.endings.append(("cancelled", done))

    def limit_queue(self, rows: float) -> None:
        """Refuse OpenAI jobs with which more rows of a model than this would be under way, with
        `token_limit_exceeded`: after their creation, as OpenAI does."""
        self._world.most_rows_enqueued = rows

    def fail_call(
        self,
        method: str,
        part: str,
        status: int,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        times: int = 1,
    ) -> None:
        """Answer the next calls of a method ("*": any) whose path holds `part` with this, without acting."""
        self._world.faults.append(Fault(method, part, times, status, body, headers or {}))

    def lose_reply(self, method: str, part: str, status: int = 0, times: int = 1) -> None:
        """Act on the next such calls, then close the connection without an answer, or answer with an error
        status as a gateway in between would."""
        self._world.faults.append(Fault(method, part, times, status, acts=True))

    def lose_created(self, status: int, *, acts: bool = True) -> None:
        """Let the next call that creates a job, of whatever provider, lose its reply as `lose_reply` does; or, if it
        is not to act, answer it with this status."""
        self._world.faults.append(Fault("*", "", 1, status, acts=acts, creates=True))

    def show_per_page(self, most: int) -> None:
        """Let lists of jobs, and results that come in pages, have no more than this on a page."""
        self._world.most_per_page = most

    def revoke(self, key: str) -> None:
        """Refuse this key or token from now on, at the APIs that speak OpenAI's dialect."""
        self._world.revoked.add(key)

    def vary(self) -> None:
        """Answer identical rows of a batch differently, as a model that samples does: each by its key."""
        self._world.varied = True

    def recover(self) -> None:
        """Let no further call suffer what was asked for."""
        self._world.faults.clear()

    def drop_call(self, method: str, part: str, times: int = 1) -> None:
        """Close the connection of the next such calls without acting."""
        self._world.faults.append(Fault(method, part, times))

    def stall_call(self, method: str, part: str, *, acts: bool = False, times: int = 1) -> None:
        """Never answer the next such calls, with the work done or not; the connection stays open."""
        self._world.faults.append(Fault(method, part, times, acts=acts, stalls=True))

    def cut_reply(self, method: str, part: str, times: int = 1) -> None:
        """Act on the next such calls, and end the connection after half of the answer's body."""
        self._world.faults.append(Fault(method, part, times, acts=True, cuts=True))

    def change_reply(self, method: str, part: str, change: Callable[[bytes], bytes], times: int = 1) -> None:
        """Act on the next such calls, and answer with what `change` makes of the answer's body."""
        self._world.faults.append(Fault(method, part, times, acts=True, change=change))

    async def _serve(self) -> None:
        app = web.Application(client_max_size=300 * 1024 * 1024, middlewares=[self._around])
        app[WORLD] = self._world
        for name, api in self._apis.items():
            app.add_routes(api.routes(f"/{name}"))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    @web.middleware
    async def _around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Every call passes here: faults, latency, and the list of calls."""
        api = self._apis.get(request.path.split("/", 2)[1])
        creates = api is not None and api.creates(request.method, request.path)
        fault = self._world.fault_for(request.method, request.path, creates=creates)
        if self._world.latency:
            await asyncio.sleep(self._world.latency)
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
            return await self._spoil(request, fault, answer)
        self._note(request, answer.status)
        return answer

    async def _spoil(self, request: web.Request, fault: Fault, answer: web.StreamResponse) -> web.StreamResponse:
        """Let a call suffer its fault; `answer` is what it would have got."""
        body = answer.body if isinstance(answer, web.Response) else b""
        whole = body if isinstance(body, bytes) else b""
        if fault.change is not None:
            self._note(request, answer.status)
            return web.Response(body=fault.change(whole), status=answer.status, content_type=answer.content_type)
        if fault.status:
            self._note(request, fault.status)
            return web.Response(body=fault.body, status=fault.status, headers=fault.headers)
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

    def _api_of(self, path: str) -> Api:
        return self._apis[path.split("/", 2)[1]]

    def _note(self, request: web.Request, status: int) -> None:
        try:
            account = self._api_of(request.path).account(request)
        except (Refusal, KeyError):
            account = ""
        self._world.ledger.calls.append(Seen(request.method, request.path, account, status))
