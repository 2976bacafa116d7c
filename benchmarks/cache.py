"""What the cache costs, and whether that depends on its size:

    python -m benchmarks.cache [--keys 1000] [--batches 10 1000 10000] [--json FILE]

Opens a cache of 1,000 batches, looks 10,000 keys up and claims 50,000 more. Then claims and saves batches of 500 keys
in caches of each of these sizes, as ratios of the smallest one; `written` is what such a record costs without a cache:
one durable file. Medians; compare machines by the ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from batchling.cache.durable import replace_file
from batchling.cache.files import FileStore
from batchling.core.lifecycle import Phase, Record, to_json
from batchling.core.model import Job, Target

TARGET = Target("openai", "https://api.openai.com/v1", "/v1/chat/completions", "gpt-5-mini", "account", ())
ROUNDS = 25

Figures = dict[str, float]


def key(batch: int, number: int) -> str:
    """A key of the usual length."""
    return f"{batch:020x}{number:020x}-0"


def planned(keys: int) -> Record:
    """A batch of keys that nobody holds."""
    start = secrets.randbits(60)
    return Record(secrets.token_hex(12), TARGET, tuple(key(start, n) for n in range(keys)), time.time())


def fill(folder: str, batches: int, keys: int) -> None:
    """Make a cache of ended batches."""
    store = FileStore(folder)
    store.claim(planned(1))
    for batch in range(batches):
        members = tuple(key(batch, n) for n in range(keys))
        record = Record(f"{batch:024x}", TARGET, members, time.time(), Phase.ENDED, job=Job(f"batch_{batch}"))
        path = Path(folder, "batches", f"{record.id}.json")
        path.write_bytes(to_json(record, store.seal))
        path.chmod(0o600)
    store.close()


def milliseconds(work: Callable[[], object], rounds: int = 1) -> float:
    """The median time of some rounds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return round(statistics.median(times) * 1_000, 3)


def large(keys: int) -> Figures:
    """The figures of one large cache."""
    with tempfile.TemporaryDirectory() as folder:
        fill(folder, 1_000, keys)
        opened: list[FileStore] = []
        found = {"open_ms": milliseconds(lambda: opened.append(FileStore(folder)))}
        (store,) = opened
        some = [key(n % 1_000, n % keys) for n in range(10_000)]
        found["look_up_10000_ms"] = milliseconds(lambda: store.lookup(some))
        store.claim(planned(1))  # the first one prepares the folder
        draft = planned(50_000)
        found["claim_50000_ms"] = milliseconds(lambda: store.claim(draft))
        store.close()
        return found


def by_size(batches: int) -> Figures:
    """What a batch of 500 keys costs in a cache of so many batches."""
    with tempfile.TemporaryDirectory() as folder:
        fill(folder, batches, 10)
        opened: list[FileStore] = []
        found = {"batches": batches, "open_ms": milliseconds(lambda: opened.append(FileStore(folder)))}
        (store,) = opened
        store.claim(planned(1))
        drafts = iter([planned(500) for _ in range(ROUNDS)])
        found["claim_ms"] = milliseconds(lambda: store.claim(next(drafts)), ROUNDS)
        record = store.claim(planned(500)).record
        assert record is not None
        left = record.move(Phase.PLANNED, left_at=1.0)
        found["save_ms"] = milliseconds(lambda: store.save(left), ROUNDS)
        found["jobs_ms"] = milliseconds(store.jobs, ROUNDS)
        found["in_flight_ms"] = milliseconds(lambda: store.in_flight(TARGET), ROUNDS)
        document = to_json(left, store.seal)
        found["written_ms"] = milliseconds(lambda: replace_file(Path(folder, "alone.json"), document), ROUNDS)
        store.close()
        return found


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=1_000, help="keys of each of the 1,000 batches")
    parser.add_argument("--batches", type=int, nargs="+", default=[10, 1_000, 10_000])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    chosen = parser.parse_args()
    os.environ.pop("BATCHLING_CACHE_DIR", None)
    of_large = large(chosen.keys)
    print(f"{1_000 * chosen.keys:,} keys in 1,000 batches: " + ", ".join(f"{n} {ms:.0f}" for n, ms in of_large.items()))
    names = ("open_ms", "claim_ms", "save_ms", "jobs_ms", "in_flight_ms", "written_ms")
    print(f"{'batches':>9}" + "".join(f"{name:>20}" for name in names))
    found = []
    for batches in chosen.batches:
        line = by_size(batches)
        found.append(line)
        cells = [f"{line[name]:9.2f}{line[name] / max(found[0][name], 0.001):>9.2f} x" for name in names]
        print(f"{batches:9,}" + "".join(f"{cell:>20}" for cell in cells), flush=True)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps({"large": of_large, "by_size": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
