"""Memory while a large batch is uploaded and downloaded, and the longest callbacks of the event loops:

    python -m benchmarks.large [--providers openai anthropic] [--shapes 1950x100000x0] [--callbacks] [--json FILE]

A shape is REQUESTS x BYTES OF A REQUEST x BYTES OF AN ANSWER (0: a short one); `100000x1000x0` is a hundred thousand
small requests. Each figure is from a process of its own (see `large_program`), and says how far the peak is above the
memory of the waiting calls, in MB and as a ratio of the bytes that are sent or received. What it shows of the
longest callbacks is seconds of wall clock and of CPU: on a busy machine, the second is the true one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from batchling.testing import ProviderServer


def run(provider: str, shape: str, cache: bool) -> dict[str, Any]:
    """The figures of one run."""
    with tempfile.TemporaryDirectory() as folder, ProviderServer().at_real_hosts():
        command = [sys.executable, "-m", "benchmarks.large_program", provider, shape, str(cache)]
        environment = {**os.environ, "BATCHLING_CACHE_DIR": folder}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    rows, asked, _ = map(int, shape.split("x"))
    found["upload_ratio"] = round(found["uploading_mb"] / max(1, rows * asked / 1e6), 2)
    found["download_ratio"] = round(found["downloading_mb"] / max(1, found["answers_mb"]), 2)
    return {"provider": provider, "shape": shape, "cache": cache, **found}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--providers", nargs="+", default=["openai", "anthropic", "gemini"])
    parser.add_argument("--shapes", nargs="+", default=["1950x100000x0", "1950x100x100000"])
    parser.add_argument("--cache", nargs="+", choices=["True", "False"], default=["True", "False"])
    parser.add_argument("--callbacks", action="store_true", help="show the longest callbacks, too")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    chosen = parser.parse_args()
    print(f"{'provider':11}{'shape':17}{'cache':7}{'jobs':>5}{'waiting':>11}{'upload':>19}{'download':>19}{'CPU':>12}")
    found = []
    for provider in chosen.providers:
        for shape in chosen.shapes:
            for cache in chosen.cache:
                line = run(provider, shape, cache == "True")
                found.append(line)
                print(
                    f"{provider:11}{shape:17}{cache:7}{line['jobs']:5}{line['waiting_mb']:8} MB"
                    f"{line['uploading_mb']:+8} MB ({line['upload_ratio']:.2f}){line['downloading_mb']:+8} MB "
                    f"({line['download_ratio']:.2f}){line['cpu_us']:9} us",
                    flush=True,
                )
                for thread, longest in line["callbacks"].items() if chosen.callbacks else ():
                    for wall, used, what in longest:
                        print(f"    {thread:12}{wall:7.3f} s ({used:.3f} s CPU)  {what}", flush=True)
                if chosen.callbacks:
                    print(f"    the longest garbage collection, in any thread: {line['collection']} s")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
