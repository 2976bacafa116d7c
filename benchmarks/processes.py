"""What it costs that processes share a cache: eight of them on one cache, as a ratio of eight with one each.

    python -m benchmarks.processes [--processes 8] [--requests 10000] [--rounds 3] [--json FILE]

First the store alone: each process claims batches of 500 keys that nobody else wants, and saves each of them three
times, as a batch does that is submitted, runs and ends. Then the whole library: each process sends its requests through
`batchify` and httpx2, at the provider's own host name, to the embedded server. CPU is that of the processes themselves,
wall is the time until the last one is done; imports are not counted. Medians of rounds that take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from batchling.testing import ProviderServer

KEYS = 500

Figures = dict[str, float]


def at_store(folder: str, requests: int) -> None:
    """One process: the store alone."""
    from batchling.cache.files import FileStore
    from batchling.core.lifecycle import Phase, Record
    from batchling.core.model import Job, Target

    target = Target("openai", "https://api.openai.com/v1", "/v1/chat/completions", "gpt-5-mini", "account", ())
    store = FileStore(folder)
    for _ in range(requests // KEYS):
        start = secrets.token_hex(16)
        draft = Record(secrets.token_hex(12), target, tuple(f"{start}{n:08}-0" for n in range(KEYS)), time.time())
        record = store.claim(draft).record
        assert record is not None
        left = record.move(Phase.PLANNED, left_at=time.time())
        running = left.move(Phase.RUNNING, job=Job(f"batch_{record.id}"))
        for each in (left, running, running.move(Phase.ENDED)):
            store.save(each)
        store.release(record.id)
    store.close()


def at_library(number: int, requests: int) -> None:
    """One process: all of batchling."""
    import httpx2

    from batchling import batchify
    from benchmarks.program import HEADERS, URL, body

    async def ask() -> int:
        async with httpx2.AsyncClient(headers=HEADERS, timeout=None) as client:
            numbers = range(number * requests, (number + 1) * requests)
            answers = await asyncio.gather(*(client.post(URL, json=body(each)) for each in numbers))
        return sum(answer.status_code == 200 for answer in answers)

    with batchify(batch_size=KEYS, batch_window_seconds=600.0, batch_poll_interval_seconds=0.5, display="off"):
        assert asyncio.run(ask()) == requests


def process(what: str, number: int, requests: int) -> None:
    """Get ready, wait for the start, work, and print what that took."""
    import httpx2  # noqa: F401  # so that it is not counted

    import batchling.cache.files
    from batchling.scope import preload

    preload.engine()
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.process_time()
    if what == "store":
        at_store(batchling.cache.cache_folder(), requests)
    else:
        at_library(number, requests)
    print(time.process_time() - began, flush=True)


def together(what: str, processes: int, requests: int, cache_of: Callable[[int], Path]) -> Figures:
    """The figures of processes that start at the same time."""
    started = []
    for number in range(processes):
        command = [sys.executable, "-m", "benchmarks.processes", "--as", what, str(number), str(requests)]
        environment = {**os.environ, "BATCHLING_CACHE_DIR": str(cache_of(number))}
        started.append(
            subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
            )
        )
    for each in started:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    began = time.perf_counter()
    for each in started:
        assert each.stdin is not None
        each.stdin.write("\n")
    used = 0.0
    for each in started:
        assert each.stdout is not None
        used += float(each.stdout.readline())
    wall = time.perf_counter() - began
    assert [each.wait() for each in started] == [0] * processes
    return {"cpu_s": round(used, 3), "wall_s": round(wall, 3)}


def measure(what: str, processes: int, requests: int, rounds: int) -> dict[str, object]:
    """Compare one cache with one for each process."""
    runs: dict[str, list[Figures]] = {"shared": [], "separate": []}
    for number in range(rounds):
        # Whatever the machine does besides, it does to both.
        for kind in ("shared", "separate") if number % 2 else ("separate", "shared"):
            with tempfile.TemporaryDirectory() as folder:
                top = Path(folder)

                def cache_of(which: int, top: Path = top, kind: str = kind) -> Path:
                    return top / ("one" if kind == "shared" else str(which))

                if what == "store":
                    runs[kind].append(together(what, processes, requests, cache_of))
                else:
                    with ProviderServer().at_real_hosts() as server:
                        runs[kind].append(together(what, processes, requests, cache_of))
                        assert len(server.billed()) == processes * requests, "bought twice, or not at all"
    found: dict[str, object] = {"what": what, "processes": processes, "requests": requests}
    for figure in ("cpu_s", "wall_s"):
        shared, separate = (statistics.median(run[figure] for run in runs[kind]) for kind in ("shared", "separate"))
        found |= {f"shared_{figure}": shared, f"separate_{figure}": separate, f"{figure}_ratio": shared / separate}
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--requests", type=int, default=10_000, help="of each process")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--what", nargs="+", default=["store", "library"])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--as", nargs=3, dest="role", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.role is not None:
        what, number, requests = chosen.role
        process(what, int(number), int(requests))
        return
    print(f"{chosen.processes} processes, {chosen.requests:,} requests each")
    print(f"{'':9}{'one cache':>24}{'one cache each':>24}{'ratio':>20}")
    found = []
    for what in chosen.what:
        line = measure(what, chosen.processes, chosen.requests, chosen.rounds)
        found.append(line)
        cells = [f"{line[f'{kind}_cpu_s']:.2f} s, {line[f'{kind}_wall_s']:.2f} s" for kind in ("shared", "separate")]
        ratio = f"{line['cpu_s_ratio']:.2f}, {line['wall_s_ratio']:.2f}"
        print(f"{what:9}{cells[0]:>24}{cells[1]:>24}{ratio:>20}", flush=True)
    print("(CPU, wall)")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
