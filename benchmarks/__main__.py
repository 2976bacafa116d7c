"""What batchling adds to a request, as ratios against the same client alone, in one run:

    python -m benchmarks [--rows 10000 50000] [--clients httpx2 httpx aiohttp requests] [--json FILE]

Each figure is from a process of its own (see `program`); the embedded server has this one, so that it is not counted.
CPU is that of all threads. Compare machines by the ratio, never by the microseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from batchling.testing import ProviderServer

Figures = dict[str, float]


def run(client: str, mode: str, rows: int, cache: str) -> Figures:
    """The figures of one run."""
    command = [sys.executable, "-m", "benchmarks.program", client, mode, str(rows)]
    done = subprocess.run(
        command, env={**os.environ, "BATCHLING_CACHE_DIR": cache}, stdout=subprocess.PIPE, text=True, check=True
    )
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure(client: str, rows: int) -> dict[str, object]:
    """One line of the table."""
    with tempfile.TemporaryDirectory() as cache, ProviderServer().at_real_hosts() as server:
        alone = run(client, "alone", rows, cache)
        batched = run(client, "batched", rows, cache)
        bought = len(server.billed())
        cached = run(client, "batched", rows, cache)
        assert len(server.billed()) == bought == rows, "a request was bought twice, or not at all"
    base = alone["cpu_us"]
    return {
        "client": client,
        "rows": rows,
        "alone_us": base,
        "added_us": round(batched["cpu_us"] - base, 1),
        "ratio": round(batched["cpu_us"] / base, 2),
        "loop_us": batched["loop_us"],
        "disk_us": batched["disk_us"],
        "cached_added_us": round(cached["cpu_us"] - base, 1),
        "cached_ratio": round(cached["cpu_us"] / base, 2),
        "added_kib_per_call": round((batched["peak_mib"] - alone["peak_mib"]) * 1024 / rows, 1),
        "peak_mib": batched["peak_mib"],
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000])
    parser.add_argument("--clients", nargs="+", default=["httpx2", "httpx", "aiohttp", "requests"])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    chosen = parser.parse_args()
    print(
        f"{'client':9}{'rows':>8}{'alone':>9}{'added':>9}{'ratio':>7}{'of it loop, disk':>18}"
        f"{'cached':>9}{'ratio':>7}{'memory added':>15}{'peak':>9}"
    )
    found = []
    for client in chosen.clients:
        for rows in chosen.rows:
            line = measure(client, rows)
            found.append(line)
            print(
                f"{client:9}{rows:8,}{line['alone_us']:>6} us{line['added_us']:>6} us{line['ratio']:>7}"
                f"{line['loop_us']:>9}, {line['disk_us']:>4} us{line['cached_added_us']:>6} us{line['cached_ratio']:>7}"
                f"{line['added_kib_per_call']:>6} KiB/call{line['peak_mib']:>5} MiB",
                flush=True,
            )
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
