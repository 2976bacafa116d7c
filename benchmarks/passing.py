"""What batchling adds to a call that it does not batch: python -m benchmarks.passing [--calls 10000] [--json FILE]

The client is httpx2 on a network that answers at once, from memory. Each figure is from a process of its own, and the
least of several: CPU of all threads, so that what is counted later is counted here, too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.program import null_transport

CASES = {
    "the client alone": "https://api.example.org/v1/things",
    "no scope is open": "https://api.openai.com/v1/chat/completions",
    "in a scope, any other URL": "https://api.example.org/v1/things",
    "in a scope, an LLM at an unknown host": "https://llm.example.org/v1/chat/completions",
}
PAYLOAD = {"model": "m", "messages": [{"role": "user", "content": "Is the invoice of last month paid? " * 20}]}


async def ask(url: str, calls: int) -> float:
    """Microseconds of CPU per call, one after another."""
    async with httpx2.AsyncClient(transport=null_transport(httpx2, 1)) as client:
        await client.post(url, json=PAYLOAD)
        began = time.process_time()
        for _ in range(calls):
            await client.post(url, json=PAYLOAD)
        return (time.process_time() - began) / calls * 1e6


def child(case: str, calls: int) -> None:
    """Print the figure of one case."""
    scope: Any = nullcontext()
    if case != "the client alone":
        from batchling import batchify

        scope = batchify(display="off")
        if case == "no scope is open":
            scope = nullcontext()
    with scope:
        print(asyncio.run(ask(CASES[case], calls)))


def measure(case: str, calls: int, rounds: int) -> float:
    """The least of several runs."""
    command = [sys.executable, "-m", "benchmarks.passing", "--case", case, "--calls", str(calls)]
    figures = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            environment = {**os.environ, "BATCHLING_CACHE_DIR": cache}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        figures.append(float(done.stdout))
    return min(figures)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    chosen = parser.parse_args()
    if chosen.case is not None:
        child(chosen.case, chosen.calls)
        return
    found = {case: measure(case, chosen.calls, chosen.rounds) for case in CASES}
    alone = found["the client alone"]
    for case, figure in found.items():
        print(f"{case:40}{figure:8.1f} us{figure - alone:8.1f} us added{(figure - alone) / alone:8.1%}")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
