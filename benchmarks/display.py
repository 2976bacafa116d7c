"""Measure what the display adds to the CPU time of a run, by comparing runs that really write to a terminal with runs
without a display.

    python benchmarks/display.py [--rows 10000] [--rounds 5]

Every run is a separate process, so the import of rich counts. It sends `--rows` requests through httpx2 inside a scope
to the embedded server, which has its own process. stderr is a pseudo terminal in both cases; the runs alternate. Look
at the ratio of the sums: single runs differ by a few per cent anyway.
"""

from __future__ import annotations

import argparse
import os
import pty
import statistics
import subprocess
import sys
import tempfile
import threading

from overhead import SERVER

RUN = """
import resource, sys
sys.path.insert(0, "benchmarks")
import asyncio
from overhead import ask
from batchling import batchify
url, rows, display = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with batchify(gateways={url: "openai"}, batch_size=max(1, rows // 10), batch_window_seconds=600,
              batch_poll_interval_seconds=0.5, display=display):
    assert asyncio.run(ask(url, rows, 0)) == rows
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime)
"""


def run(url: str, rows: int, display: str) -> tuple[float, int]:
    """CPU seconds of one run, and how many bytes it wrote to the terminal."""
    ours, theirs = pty.openpty()
    seen = [0]

    def read() -> None:
        try:
            while piece := os.read(ours, 65536):
                seen[0] += len(piece)
        except OSError:
            pass  # the other end is closed

    reader = threading.Thread(target=read)
    reader.start()
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "BATCHLING_CACHE_DIR": folder,
            "TERM": "xterm-256color",
            "CI": "",
            "COLUMNS": "140",
        }
        command = [sys.executable, "-c", RUN, url, str(rows), display]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, text=True, env=environment, check=True)
    os.close(theirs)
    reader.join()
    os.close(ours)
    return float(done.stdout), seen[0]


def measure(rows: int, rounds: int) -> None:
    """Print the figures."""
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        url = server.stdout.readline().strip() + "/openai"
        costs: dict[str, list[float]] = {"live": [], "off": []}
        for number in range(rounds):
            for display in ("live", "off") if number % 2 else ("off", "live"):
                seconds, written = run(url, rows, display)
                costs[display].append(seconds)
                print(f"  round {number + 1}, {display:4}  {seconds:6.2f} s CPU, {written:,} bytes on the terminal")
        for display, seconds_each in costs.items():
            print(f"{display:4}  median {statistics.median(seconds_each):.2f} s, least {min(seconds_each):.2f} s")
        ratio = sum(costs["live"]) / sum(costs["off"])
        print(f"{rows:,} requests: with the display {ratio:.3f} times the CPU of without")
    finally:
        server.stdin.close()
        server.wait(10)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    measure(chosen.rows, chosen.rounds)
