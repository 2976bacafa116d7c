"""`ProviderServer`: a loopback server in its own thread, and the controls that make it misbehave."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, nullcontext, suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from aiohttp import web
from aiohttp.http_parser import RawRequestMessage
from yarl import URL

from batchling.system.clock import Loop
from batchling.system.gate import outside
from batchling.testing.anthropic import AnthropicApi
from batchling.testing.controls import Controls
from batchling.testing.dialects import DIALECTS
from batchling.testing.fireworks import FireworksApi
from batchling.testing.gemini import GeminiApi
from batchling.testing.hosts import inner_path
from batchling.testing.inline import OpenRouterApi, SferenceApi
from batchling.testing.ledger import Bill, Seen
from batchling.testing.middleware import Middleware
from batchling.testing.mistral import MistralApi
from batchling.testing.openai import OpenAIApi
from batchling.testing.real_hosts import fresh_address, real_hosts, server_context
from batchling.testing.served import ServedApi
from batchling.testing.state import ServerState
from batchling.testing.vertex import VertexApi
from batchling.testing.xai import XaiApi

_START_SECONDS = 60.0

T = TypeVar("T")


def _apis(shared: ServerState) -> list[ServedApi]:
    return [
        OpenAIApi(shared),
        AnthropicApi(shared),
        *(OpenAIApi(shared, dialect) for dialect in DIALECTS.values()),
        OpenRouterApi(shared),
        SferenceApi(shared),
        MistralApi(shared),
        XaiApi(shared),
        FireworksApi(shared),
        VertexApi(shared),
        GeminiApi(shared, "gemini"),
        GeminiApi(shared, "gemini-openai"),
    ]


class ProviderServer(Controls):
    """The real-time and batch APIs of the providers, on 127.0.0.1 and a free port.

    A context manager. It answers deterministically, refuses what the providers refuse, and keeps a ledger of
    what they would have billed. Keys that begin with `sk-bad` are refused. Controls and readings may be used from any
    thread.

    - `delay`: seconds that a job runs; `polls_to_finish`: how many times it has to be polled before it ends.
    - `latency`: seconds before each call is answered.
    - `retry_after`: the Retry-After header in the status of a running Anthropic job, None for no header.
    """

    def __init__(
        self, *, delay: float = 0.0, polls_to_finish: int = 1, latency: float = 0.0, retry_after: str | None = None
    ) -> None:
        self._shared = ServerState(
            delay=delay, polls_to_finish=polls_to_finish, latency=latency, retry_after=retry_after
        )
        self._apis: dict[str, ServedApi] = {api.name: api for api in _apis(self._shared)}
        self._loop = Loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="provider-server", daemon=True)
        self._runner: web.AppRunner | None = None
        self._stopping = asyncio.Event()
        self._middleware = Middleware(self._shared, self._apis, self._stopping)
        self.url: str = ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Start serving; `url` is known when this returns."""
        outside().run(self._thread.start)
        self._await(self._serve())
        return self

    def stop(self) -> None:
        """Close every connection and end the thread."""
        if self._runner is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._await(self._close(self._runner))
            self._runner = None
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_START_SECONDS)
        if not self._loop.is_running():
            self._loop.close()

    @contextmanager
    def at_real_hosts(self) -> Iterator[Self]:
        """Make the providers' own host names lead to this server during a block, over TLS on port 443.

            with ProviderServer().at_real_hosts() as server, batchify():
                OpenAI(api_key="test").chat.completions.create(...)  # no base_url, and no gateways
            assert len(server.billed(batch=True)) == 1

        `https://api.groq.com/openai/v1` then leads to the same place as `server.url + "/groq/openai/v1"`, and so on for
        each provider. The server is started and stopped if it is not running. Everything below is restored at the end:

        - The names resolve to an address of 127.0.0.0/8, in all threads of this process and in Python processes that
          are started inside the block (through PYTHONPATH and our own `sitecustomize`, which then runs yours). This
          covers the resolvers and connections of Python's `socket`, asyncio, trio, anyio and uvloop, and of aiodns
          below aiohttp. Other host names resolve as before; ports other than 443 refuse connections.
        - SSL_CERT_FILE, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, AWS_CA_BUNDLE, NODE_EXTRA_CA_CERTS and
          GRPC_DEFAULT_SSL_ROOTS_FILE_PATH name a file that contains a certificate authority made for this process, and
          what was trusted before; aiohttp, which reads them when it is imported, is updated.
        - NO_PROXY contains the host names, so no proxy of the environment receives these calls.

        Not covered: clients made before the block, which have already read their certificates; clients that ignore the
        environment (`trust_env=False`, your own `verify=`); processes that are already running, such as a forkserver,
        or that ignore PYTHONPATH (`python -I`); programs and extension modules that resolve names without Python.

        Thread-safe. Raises `RuntimeError` inside another such block in the same process, and without trustme
        (`pip install 'batchling[testing]'`).
        """
        with self if self._runner is None else nullcontext():
            address = fresh_address()
            port, sites = self._await(self._listen(server_context(), address))
            try:
                with real_hosts(address, port):
                    yield self
            finally:
                for site in sites:
                    self._await(site.stop())

    @property
    def openai_url(self) -> str:
        """The `base_url` for an OpenAI client."""
        return f"{self.url}/openai/v1"

    @property
    def anthropic_url(self) -> str:
        """The `base_url` for an Anthropic client."""
        return f"{self.url}/anthropic"

    @property
    def gateways(self) -> dict[str, str]:
        """The `gateways` for batchify(): each provider's API is mounted under its own name."""
        return {f"{self.url}/{name}": name for name in self._apis}

    # Readings.

    def billed(self, *, batch: bool | None = None) -> list[Bill]:
        """The requests charged so far: in batches, in real time, or both."""
        return [bill for bill in list(self._shared.ledger.bills) if batch is None or (bill.job is not None) == batch]

    def calls(self, method: str = "", part: str = "") -> list[Seen]:
        """The HTTP calls received so far, filtered by method and by a part of the path if these are given."""
        calls = list(self._shared.ledger.calls)
        return [call for call in calls if method in ("", call.method) and part in call.path]

    def creates(self) -> list[Seen]:
        """The calls that were meant to create a job."""
        seen = [call for call in self.calls() if call.path.split("/", 2)[1] in self._apis]
        return [call for call in seen if self._apis[call.path.split("/", 2)[1]].creates(call.method, call.path)]

    def jobs(self) -> dict[str, int]:
        """The number of rows of each job, by id."""
        return {job.id: len(job.rows) for api in self._apis.values() for job in list(api.jobs.values())}

    def over(self) -> int:
        """The number of jobs that have ended."""
        return sum(bool(job.over) for api in self._apis.values() for job in list(api.jobs.values()))

    def forget_bills(self) -> None:
        """Start a new ledger."""
        self._shared.ledger.bills.clear()

    async def _serve(self) -> None:
        app = web.Application(client_max_size=300 * 1024 * 1024, middlewares=[self._middleware.handle])
        for name, api in self._apis.items():
            app.add_routes(api.routes(f"/{name}"))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        self._route_by_host(self._runner)
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    async def _close(self, runner: web.AppRunner) -> None:
        assert runner.server is not None
        transports = [each.transport for each in runner.server.connections if each.transport is not None]
        await runner.cleanup()
        for transport in transports:
            transport.abort()  # TLS would wait for the client's goodbye
        for _ in range(3):
            await asyncio.sleep(0)

    def _route_by_host(self, runner: web.AppRunner) -> None:
        """Route calls to a provider's host name to what is mounted for it, before anything looks at their path."""
        server = runner.server
        assert server is not None
        make = server.request_factory

        def placed(message: RawRequestMessage, *rest: Any) -> web.BaseRequest:
            path = inner_path(message.headers.get("host", ""), message.path)
            served = _without_slash(path) if self._shared.slashes else path
            if served != message.path:
                message = message._replace(path=path, url=URL(served, encoded=True))
            return make(message, *rest)

        server.request_factory = placed

    async def _listen(self, context: ssl.SSLContext, address: str) -> tuple[int, list[web.TCPSite]]:
        """Serve TLS as well, on a free port of 127.0.0.1, which is returned; and on port 443 of `address`, where the
        system permits it, for programs that connect without Python."""
        assert self._runner is not None
        sites = [web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context)]
        await sites[0].start()
        port = int(self._runner.addresses[-1][1])
        with suppress(OSError):
            privileged = web.TCPSite(self._runner, address, 443, ssl_context=context)
            await privileged.start()
            sites.append(privileged)
        return port, sites

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of work done on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_START_SECONDS)


def _without_slash(path: str) -> str:
    """A path, with its query, but without a slash at the end of the path."""
    path, mark, query = path.partition("?")
    return path.rstrip("/") + mark + query
