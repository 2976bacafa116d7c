"""Measure the CPU time that batchling adds to a request on a null network, compared with the client alone in the same
process.

    python benchmarks/overhead.py [--rows 10000] [--gather 50000] [--beside ANOTHER_CHECKOUT]

The "null network" is httpx2's own transport over a pool that answers from memory: either at once or, like any real
network and like a batch, only when all calls are in progress, so thousands of them are in memory together. A scope is
compared with the second; the first is shown next to it. The engine talks to the embedded server, which runs in its own
process, so the server's CPU time is not counted. Figures are medians of several rounds; compare machines by the ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import httpcore2
import httpx2

from batchling import batchify

SERVER = """
import sys
from batchling.testing import ProviderServer
with ProviderServer() as server:
    print(server.url, flush=True)
    for _ in sys.stdin:
        print(len(server.creates()), len(server.billed(batch=True)), flush=True)
"""
ANSWER = b'{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"yes"},"finish_reason":"stop"}]}'


def body(number: int) -> dict[str, object]:
    """A typical small chat completion."""
    text = f"Classify ticket {number}: the invoice of last month was charged twice and nobody answers my mails."
    messages = [{"role": "system", "content": "You are a careful clerk."}, {"role": "user", "content": text}]
    return {"model": "gpt-5-mini", "messages": messages, "temperature": 0.2, "max_completion_tokens": 16}


class NullPool:
    """A connection pool that answers every request from memory, once a given number is in progress."""

    def __init__(self, together: int) -> None:
        self._missing = together
        self._all = asyncio.Event()

    async def handle_async_request(self, request: httpcore2.Request) -> httpcore2.Response:
        """Return the same answer to every request."""
        self._missing -= 1
        if self._missing <= 0:
            self._all.set()
        await self._all.wait()
        return httpcore2.Response(200, content=ANSWER)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


class NullNetwork(httpx2.AsyncHTTPTransport):
    """The library's own transport, with no network below it."""

    def __init__(self, together: int) -> None:
        super().__init__(verify=False)
        self._pool = NullPool(together)


async def ask(url: str, rows: int, first: int, together: int = 1) -> int:
    """Send `rows` calls at once through plain httpx2, and return how many were answered with 200."""
    headers = {"authorization": "Bearer k"}
    async with httpx2.AsyncClient(transport=NullNetwork(together), headers=headers) as client:
        calls = (client.post(f"{url}/v1/chat/completions", json=body(first + n)) for n in range(rows))
        return sum(answer.status_code == 200 for answer in await asyncio.gather(*calls))


def cpu(work: Callable[[], int], rows: int) -> float:
    """Microseconds of this process's CPU per row."""
    before = time.process_time()
    assert work() == rows
    return (time.process_time() - before) / rows * 1e6


def batched(url: str, rows: int, first: int) -> int:
    """The same calls inside a scope, as one batch."""
    with batchify(gateways={url: "openai"}, batch_size=rows, batch_window_seconds=600, batch_poll_interval_seconds=0.5):
        return asyncio.run(ask(url, rows, first))


def not_ours(url: str, rows: int, first: int) -> int:
    """The same calls inside a scope that leaves them alone."""
    with batchify(cache=False):
        return asyncio.run(ask(url, rows, first, rows))


def measure(rows: int, gather: int, rounds: int) -> None:
    """Print the figures."""
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        url = server.stdout.readline().strip() + "/openai"
        alone, together, foreign, added, hits = [], [], [], [], []
        for number in range(rounds):
            first = number * rows
            alone.append(cpu(lambda first=first: asyncio.run(ask(url, rows, first)), rows))
            plain = cpu(lambda first=first: asyncio.run(ask(url, rows, first, rows)), rows)
            fresh = cpu(lambda first=first: batched(url, rows, first), rows)
            again = cpu(lambda first=first: batched(url, rows, first), rows)
            together.append(plain)
            foreign.append(cpu(lambda first=first: not_ours(url, rows, first), rows) - plain)
            added.append(fresh - plain)
            hits.append(again - plain)
        figure = statistics.median
        print(f"{rows:,} calls through httpx2 on a null network, median of {rounds} rounds, CPU per request:")
        base = figure(together)
        print(f"  the client alone, answered at once        {figure(alone):6.0f} us")
        print(f"  the client alone, all {rows:,} under way   {base:6.0f} us")
        for name, costs in (("not ours", foreign), ("batched", added), ("from the cache", hits)):
            print(f"  added to that when {name:22} {figure(costs):6.0f} us   ratio {figure(costs) / base:.2f}")
        server.stdin.write("\n")
        server.stdin.flush()
        creates, bills = map(int, server.stdout.readline().split())
        started = time.monotonic()
        answered = batched(url, gather, rounds * rows)
        server.stdin.write("\n")
        server.stdin.flush()
        now = tuple(map(int, server.stdout.readline().split()))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{gather:,} in one gather: {answered:,} answered, {now[0] - creates} job, {now[1] - bills:,} billed, ",
            end="",
        )
        print(f"{time.monotonic() - started:.1f} s, peak memory {peak:.0f} MiB")
    finally:
        server.stdin.close()
        server.wait(10)


def beside(chosen: argparse.Namespace) -> None:
    """Run this checkout and another one alternately, each in its own processes."""
    here = str(Path(__file__).parent.parent)
    for turn in range(2):
        for checkout in (chosen.beside, here) if turn else (here, chosen.beside):
            print(f"== {checkout}", flush=True)
            given = {name: str(getattr(chosen, name)) for name in ("rows", "gather", "rounds")}
            options = [part for name, value in given.items() for part in (f"--{name}", value)]
            subprocess.run([sys.executable, __file__, *options], env={**os.environ, "PYTHONPATH": checkout}, check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--gather", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beside", help="another checkout of batchling, measured alternately with this one")
    chosen = parser.parse_args()
    if chosen.beside:
        beside(chosen)
        sys.exit()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BATCHLING_CACHE_DIR"] = folder
        measure(chosen.rows, chosen.gather, chosen.rounds)
