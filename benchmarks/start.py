"""What importing batchling and opening the first scope cost, in fresh interpreters, beside `import wrapt`:

    python -m benchmarks.start [--rounds 20] [--beside ANOTHER_CHECKOUT] [--json FILE]

Figures are CPU milliseconds of the whole process above those of an interpreter that does nothing, as the median of some
rounds; compare machines by the ratio to `import wrapt`. A program that uses an SDK has most of what the first scope
needs already: `with an SDK` imports what those of OpenAI, Anthropic and Google import, too, and counts only the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SDK = "import asyncio, anyio, httpx, httpx2, pydantic, typing_extensions, certifi, concurrent.futures.thread\n"
SCOPE = "with batchify(display='off'): pass\n"
STEPS = {
    "nothing": ("", ""),
    "import wrapt": ("", "import wrapt\n"),
    "import batchling": ("", "import batchling\n"),
    "from batchling import batchify": ("", "from batchling import batchify\n"),
    "... and the first scope": ("", f"from batchling import batchify\n{SCOPE}"),
    "an SDK's imports": ("", SDK),
    "import batchify with an SDK": (SDK, "from batchling import batchify\n"),
    "... and the first scope with an SDK": (SDK, f"from batchling import batchify\n{SCOPE}"),
}
"""Programs, each in two parts: what is not counted, and what is."""

COUNTED = """
import time
began = time.process_time()
{counted}
import sys
print((time.process_time() - began) * 1000, len(sys.modules))
"""


def run(before: str, counted: str, checkout: str) -> tuple[float, int]:
    """CPU milliseconds of a program's second part, and how many modules there are at its end."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "BATCHLING_CACHE_DIR": folder, "PYTHONPATH": checkout}
        command = [sys.executable, "-c", before + COUNTED.format(counted=counted)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=folder)
    spent, modules = done.stdout.split()
    return float(spent), int(modules)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--beside", help="another checkout of batchling, measured alternately with this one")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    chosen = parser.parse_args()
    checkouts = [str(Path(__file__).parent.parent), *filter(None, [chosen.beside])]
    spent: dict[tuple[str, str], list[float]] = {}
    modules: dict[tuple[str, str], int] = {}
    for number in range(chosen.rounds + 1):
        for name, program in STEPS.items():
            for checkout in checkouts:
                cost, modules[checkout, name] = run(*program, checkout)
                if number:  # the first round fills the caches of the machine
                    spent.setdefault((checkout, name), []).append(cost)
    found = []
    for checkout in checkouts:
        base = statistics.median(spent[checkout, "import wrapt"])
        print(f"{checkout}: CPU, median of {chosen.rounds} rounds (least)")
        for name in STEPS:
            costs = spent[checkout, name]
            figure, least = statistics.median(costs), min(costs)
            found.append({"checkout": checkout, "step": name, "ms": figure, "least": least, "ratio": figure / base})
            print(
                f"  {name:37}{figure:7.1f} ms ({least:.1f}) {figure / base:7.1f} x import wrapt, "
                f"{modules[checkout, name]:4} modules"
            )
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
