"""What polling many jobs of one account costs, with one list call for all of them and with one call for each.

    python benchmarks/polling.py --jobs 200

Prints the calls per interval, and the CPU of this process, which includes that of the embedded server.
"""

from __future__ import annotations

import argparse
import asyncio
import threading
import time
from typing import Any

import httpx

from batchling import batchify, events
from batchling.providers.openai import OPENAI
from batchling.testing import ProviderServer


class WithoutList:
    """OpenAI, as a provider that cannot list jobs."""

    def __getattr__(self, name: str) -> Any:
        if name == "poll_all":
            raise AttributeError(name)
        return getattr(OPENAI, name)


def measure(provider: Any, jobs: int, seconds: float, interval: float) -> dict[str, float]:
    """The calls, and the milliseconds of CPU, that polling so many jobs costs per interval."""
    polled: set[str] = set()
    all_polled = threading.Event()

    def note(event: events.Event) -> None:
        if isinstance(event, events.Polled):
            polled.add(event.batch)
            if len(polled) == jobs:
                all_polled.set()

    async def main(server: ProviderServer) -> dict[str, float]:
        headers = {"authorization": "Bearer sk-1"}
        async with httpx.AsyncClient(base_url=server.openai_url, headers=headers, timeout=None) as client:
            asked = [asyncio.ensure_future(ask(client, number)) for number in range(jobs)]
            await asyncio.to_thread(all_polled.wait)
            await asyncio.sleep(2 * interval)
            calls, cpu = len(server.calls("GET")), time.process_time()
            await asyncio.sleep(seconds)
            calls, cpu = len(server.calls("GET")) - calls, time.process_time() - cpu
            server.release()
            await asyncio.gather(*asked)
        return {"calls": calls * interval / seconds, "CPU ms": cpu * 1_000 * interval / seconds}

    with ProviderServer() as server:
        server.hold()
        options: dict[str, Any] = {"batch_size": 1, "batch_poll_interval_seconds": interval, "cache": False}
        with batchify(gateways=server.gateways, providers=[provider], on_event=note, display="off", **options):
            return asyncio.run(main(server))


async def ask(client: httpx.AsyncClient, number: int) -> None:
    """One call, and so one batch."""
    body = {"model": "m", "messages": [{"role": "user", "content": str(number)}]}
    (await client.post("/chat/completions", json=body)).raise_for_status()


def main() -> None:
    """Measure both, and print them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--interval", type=float, default=2.0)
    args = parser.parse_args()
    for name, provider in (("one by one", WithoutList()), ("listed", OPENAI)):
        found = measure(provider, args.jobs, args.seconds, args.interval)
        print(f"{name:12}" + "  ".join(f"{what} {value:8.1f}" for what, value in found.items()))


if __name__ == "__main__":
    main()
