"""One measured run, in its own process: `python -m benchmarks.program CLIENT MODE ROWS` prints its figures as JSON.

`alone` is the client without batchling on a network that answers from memory, once all calls are under way, as a batch
does. `batched` is the same program in a scope at the provider's own host name, which the caller of this program leads
to the embedded server. What is imported, and what the scope needs to open, is not counted (see `start`).
"""

from __future__ import annotations

import asyncio
import importlib
import io
import json
import resource
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

URL = "https://api.openai.com/v1/chat/completions"
HEADERS = {"authorization": "Bearer k"}
ANSWER = b'{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"yes"},"finish_reason":"stop"}]}'
THREADS = 64


def body(number: int) -> dict[str, object]:
    """A typical small chat completion."""
    text = f"Classify ticket {number}: the invoice of last month was charged twice and nobody answers my mails. " * 6
    messages = [{"role": "system", "content": "You are a careful clerk."}, {"role": "user", "content": text}]
    return {"model": "gpt-5-mini", "messages": messages, "temperature": 0.2, "max_completion_tokens": 16}


def null_transport(library: Any, rows: int) -> Any:
    """The network transport of httpx or httpx2, without a network below it."""
    core = importlib.import_module("httpcore2" if library.__name__ == "httpx2" else "httpcore")

    class Pool:
        def __init__(self) -> None:
            self.missing = rows
            self.all = asyncio.Event()

        async def handle_async_request(self, request: object) -> Any:
            self.missing -= 1
            if self.missing <= 0:
                self.all.set()
            await self.all.wait()
            return core.Response(200, content=ANSWER)

        async def __aenter__(self) -> Any:
            return self

        async def __aexit__(self, *_: object) -> None:
            pass

    transport = library.AsyncHTTPTransport(verify=False)
    transport._pool = Pool()
    return transport


async def with_httpx(library: Any, rows: int, *, alone: bool) -> int:
    """All calls in one gather."""
    transport = null_transport(library, rows) if alone else None
    async with library.AsyncClient(transport=transport, headers=HEADERS, timeout=None) as client:
        answers = await asyncio.gather(*(client.post(URL, json=body(number)) for number in range(rows)))
    return sum(answer.status_code == 200 for answer in answers)


async def with_aiohttp(rows: int, *, alone: bool) -> int:
    """All calls in one gather."""
    import aiohttp

    # The library itself writes the request and parses the answer, as it does from a socket.
    from batchling.hooks.wireless import connection

    wire = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)

    class NullConnector(aiohttp.TCPConnector):
        missing = rows
        all = asyncio.Event()

        async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:  # noqa: ASYNC109  # its name
            self.missing -= 1
            if self.missing <= 0:
                self.all.set()
            await self.all.wait()
            return connection(aiohttp, req, wire)

    async def ask(session: aiohttp.ClientSession, number: int) -> bool:
        async with session.post(URL, json=body(number)) as answer:
            return answer.status == 200 and bool(await answer.read())

    connector = NullConnector() if alone else None
    async with aiohttp.ClientSession(
        connector=connector, headers=HEADERS, timeout=aiohttp.ClientTimeout(None)
    ) as session:
        return sum(await asyncio.gather(*(ask(session, number) for number in range(rows))))


def with_requests(rows: int, *, alone: bool) -> int:
    """All calls through a pool of threads."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3 import HTTPResponse

    class NullPool:
        def urlopen(self, *_: object, **__: object) -> HTTPResponse:
            return HTTPResponse(io.BytesIO(ANSWER), status=200, preload_content=False)

    class NullAdapter(HTTPAdapter):
        def get_connection_with_tls_context(self, *_: object, **__: object) -> Any:
            return NullPool()

    local = threading.local()

    def ask(number: int) -> int:
        session = getattr(local, "session", None)
        if session is None:
            session = local.session = requests.Session()
            session.headers.update(HEADERS)
            if alone:
                session.mount("https://", NullAdapter())
        return int(session.post(URL, json=body(number)).status_code)

    with ThreadPoolExecutor(THREADS) as pool:
        return sum(status == 200 for status in pool.map(ask, range(rows)))


def clocks() -> dict[str, float]:
    """CPU seconds of each thread of the engine so far."""
    ours = {"batchling": "loop_us", "batchling-disk_0": "disk_us"}
    threads = {ours[thread.name]: thread.ident for thread in threading.enumerate() if thread.name in ours}
    return {name: time.clock_gettime(time.pthread_getcpuclockid(ident)) for name, ident in threads.items() if ident}


def main(client: str, mode: str, rows: int) -> None:
    """Run, and print the figures: CPU of all threads, and how much of it is the engine's."""

    def work(*, alone: bool) -> int:
        if client == "requests":
            return with_requests(rows, alone=alone)
        if client == "aiohttp":
            return asyncio.run(with_aiohttp(rows, alone=alone))
        return asyncio.run(with_httpx(importlib.import_module(client), rows, alone=alone))

    importlib.import_module(client)
    used: dict[str, float] = {}
    if mode == "alone":
        began = time.process_time()
        answered = work(alone=True)
        used["cpu_us"] = time.process_time() - began
    else:
        from batchling import batchify

        # A pool of threads never fills a window: its calls leave as soon as all of its threads wait.
        size, seconds = (THREADS, 5.0) if client == "requests" else (rows, 600.0)
        with batchify(batch_size=size, batch_window_seconds=seconds, batch_poll_interval_seconds=0.5, display="off"):
            began = time.process_time()
            answered = work(alone=False)
            used = clocks()
        used["cpu_us"] = time.process_time() - began
    assert answered == rows, answered
    figures = {name: round(seconds / rows * 1e6, 1) for name, seconds in used.items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**figures, "peak_mib": round(peak)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
