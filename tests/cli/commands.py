"""The commands in processes of their own, and the programs whose jobs they are about."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from batchling.cache.files import FileStore
from batchling.core.lifecycle import Record
from batchling.testing import ProviderServer
from tests.waiting import wait_until

KEY = "sk-secret-1234"


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command, until it has ended."""
    command = [sys.executable, "-m", "batchling", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, env={**os.environ, **environment})


PROGRAM = """
import asyncio, os, sys, httpx
from batchling import batchify
url, texts = sys.argv[1], sys.argv[2:]
async def main():
    async with httpx.AsyncClient(headers={"authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}) as client:
        async def one(text):
            body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": text}]}
            return (await client.post(url + "/chat/completions", json=body)).status_code
        with_scope = await asyncio.gather(*map(one, texts))
        print(with_scope)
with batchify(batch_window_seconds=0.3, batch_poll_interval_seconds=0.05):
    asyncio.run(main())
"""


def gateways(server: ProviderServer) -> str:
    """The server as BATCHLING_GATEWAYS names it."""
    return ",".join(f"{base}={name}" for base, name in server.gateways.items())


def start(server: ProviderServer, texts: Sequence[str]) -> subprocess.Popen[str]:
    """A program that asks these texts in one scope."""
    command = [sys.executable, "-c", PROGRAM, server.openai_url, *texts]
    environment = {**os.environ, "BATCHLING_GATEWAYS": gateways(server), "OPENAI_API_KEY": KEY}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@contextmanager
def running(server: ProviderServer, texts: Sequence[str] = ("a", "b", "c")) -> Iterator[subprocess.Popen[str]]:
    """A program whose job runs and has been asked for; it is killed at the end, if it still lives."""
    server.hold()
    polled = len(server.calls("GET", "/batches/"))
    process = start(server, texts)
    try:
        wait_until(lambda: len(server.calls("GET", "/batches/")) > polled + 1, "the job of the program is polled twice")
        yield process
    finally:
        process.kill()
        process.communicate()


def leave(server: ProviderServer, texts: Sequence[str] = ("a", "b", "c")) -> Record:
    """A program is killed while its job runs."""
    with running(server, texts) as process:
        process.send_signal(signal.SIGKILL)
    return max(FileStore(os.environ["BATCHLING_CACHE_DIR"]).records(), key=lambda record: record.created_at)


def records() -> list[Record]:
    return FileStore(os.environ["BATCHLING_CACHE_DIR"]).records()
