"""A long run in bounded memory: N requests through the real engine, a full day of provider's time for each batch.

    python benchmarks/scale.py [--requests 100000] [--waiting 50000] [--json FILE] [--svg FILE]
    python benchmarks/scale.py --draw FILE.json FILE.svg      # the picture of an earlier run

Real: `batchify(max_waiting=...)`, its queues, windows, batches and polls, the cache on disk, and httpcore with its
HTTP/1.1 parser. Simulated: the network below httpcore, which leads to a provider within this process (`Provider`), and
time, which is skipped while nobody has anything to do (`World`). The program is a number of tasks that hand their
requests to the scope as a hook does, without a client; each of them checks that it gets the answer to its own request.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import resource
import selectors
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import IO, Any

import httpcore

from batchling import batchify
from batchling.core.model import Request
from batchling.engine import disk, pools
from batchling.hooks.waiting import wait_async
from batchling.system import clock, loop
from batchling.system.gate import current

URL = "https://api.openai.com/v1/chat/completions"
HEADERS = (("authorization", "Bearer sk-simulated"), ("content-type", "application/json"))
PROMPT = b"the invoice of last month was charged twice and nobody answers my mails. " * 8
BODY = (
    b'{"model":"gpt-5-mini","max_completion_tokens":16,"messages":[{"role":"user","content":"ticket %d: '
    + PROMPT
    + b'"}]}'
)
HOUR = 3600.0
QUIET = 0.001
"""Seconds of real time for which nothing may happen, twice, before time is skipped."""


class World:
    """The time of a run, which goes on by itself and is skipped while all threads are idle."""

    def __init__(self) -> None:
        self.skipped = 0.0
        self.skips = 0
        self.program_idle = False
        self._jobs = 0
        self._lock = threading.Lock()
        self._real = clock.monotonic
        clock.monotonic = self.monotonic
        clock.time = lambda real=clock.time: real() + self.skipped  # type: ignore[misc]
        world = self

        class Disk(ThreadPoolExecutor):
            def submit(self, *work: Any, **options: Any) -> Future[Any]:  # type: ignore[override]
                world.count(1)
                future = super().submit(*work, **options)
                future.add_done_callback(lambda _: world.count(-1))
                return future

        disk.ThreadPoolExecutor = Disk  # type: ignore[misc]
        loop.Loop = lambda: EngineLoop(EngineSelector(self))  # type: ignore[assignment, misc]

    def monotonic(self) -> float:
        return self._real() + self.skipped

    def count(self, jobs: int) -> None:
        """So many jobs of the disk's thread more."""
        with self._lock:
            self._jobs += jobs

    @property
    def busy(self) -> bool:
        return self._jobs > 0 or not self.program_idle


class EngineLoop(asyncio.SelectorEventLoop):
    """The engine's loop in the world's time, as `clock.Loop` is in the machine's."""

    def time(self) -> float:
        return clock.monotonic()


class EngineSelector(selectors.DefaultSelector):
    """Skips the time that the engine would sleep."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        end = self._world.monotonic() + timeout
        quiet = 0
        while quiet < 2 and self._world.monotonic() < end:
            if ready := super().select(QUIET):
                return ready
            quiet = 0 if self._world.busy else quiet + 1
        if (left := end - self._world.monotonic()) > 0:
            self._world.skipped += left
            self._world.skips += 1
        return []


class ProgramLoop(asyncio.SelectorEventLoop):
    """The program's loop, which says when it has nothing to do."""

    def __init__(self, world: World) -> None:
        selector = ProgramSelector()
        super().__init__(selector)
        self._world = selector.world = world

    def call_soon_threadsafe(self, *work: Any, **options: Any) -> Any:
        self._world.program_idle = False
        return super().call_soon_threadsafe(*work, **options)


class ProgramSelector(selectors.DefaultSelector):
    """Notes when the program's loop has nothing to do."""

    world: World

    def select(self, timeout: float | None = None) -> Any:
        if timeout is not None and timeout <= 0:
            return super().select(timeout)
        self.world.program_idle = True
        try:
            return super().select(timeout)
        finally:
            self.world.program_idle = False


class Provider:
    """OpenAI's Batch API as far as a run needs it. Its files are on disk; jobs take between `shortest` seconds and a
    day, and at most so many prompt tokens may be enqueued at a time."""

    def __init__(self, world: World, folder: str, shortest: float, most_tokens: float) -> None:
        self._world = world
        self._folder = Path(folder)
        self._shortest = shortest
        self._most_tokens = most_tokens
        self._numbers = count(1)
        self._random = random.Random(7)
        self._files: dict[str, tuple[int, float]] = {}
        """Rows and prompt tokens of each input file."""
        self._jobs: dict[str, dict[str, Any]] = {}
        self.calls = self.created = self.rows = self.refused = 0
        self.seconds = 0.0
        """CPU that the provider itself took."""

    def upload(self) -> Upload:
        return Upload(self._folder / f"file-{next(self._numbers)}")

    def answer(self, method: str, path: str, body: bytes | Upload) -> bytes | Path:
        """The body of the answer to a call, or the file that has it."""
        self.calls += 1
        name = path.rpartition("/")[2]
        if isinstance(body, Upload):
            self._files[body.path.name] = body.close()
            return json.dumps({"id": body.path.name, "object": "file"}).encode()
        if method == "POST":
            return self._shown(self._create(json.loads(body)))
        if method == "DELETE":
            return json.dumps({"id": name, "deleted": True}).encode()
        if path.endswith("/content"):
            return self._folder / path.split("/")[-2].removeprefix("out-")
        if name.startswith("batches"):
            newest = [json.loads(self._shown(job)) for job in reversed(self._jobs.values())]
            return json.dumps({"object": "list", "data": newest[:100], "has_more": False}).encode()
        return self._shown(self._jobs[name])

    def _create(self, asked: dict[str, Any]) -> dict[str, Any]:
        now = clock.time()
        rows, tokens = self._files[asked["input_file_id"]]
        enqueued = sum(job["tokens"] for job in self._jobs.values() if job["ends"] > now)
        fits = enqueued + tokens <= self._most_tokens
        takes = self._random.uniform(self._shortest, 24 * HOUR) if fits else 60.0
        job = {"id": f"batch_{next(self._numbers)}", "rows": rows, "tokens": tokens if fits else 0, "fits": fits}
        job |= {"created": now, "ends": now + takes, "file": asked["input_file_id"], "metadata": asked["metadata"]}
        self._jobs[job["id"]] = job
        self.created += fits
        self.refused += not fits
        self.rows += rows if fits else 0
        return job

    def _shown(self, job: dict[str, Any]) -> bytes:
        over, rows = clock.time() >= job["ends"], job["rows"]
        shown = {"id": job["id"], "object": "batch", "status": "in_progress", "input_file_id": job["file"]}
        shown |= {"created_at": int(job["created"]), "expires_at": int(job["created"] + 24 * HOUR)}
        shown |= {"metadata": job["metadata"], "request_counts": {"total": rows, "completed": 0, "failed": 0}}
        if over and job["fits"]:
            counts = {"total": rows, "completed": rows, "failed": 0}
            shown |= {"status": "completed", "output_file_id": f"out-{job['file']}", "request_counts": counts}
        elif over:
            why = "Enqueued token limit reached for gpt-5-mini in organization org. Please try again later."
            error = {"code": "token_limit_exceeded", "message": why, "param": None, "line": None}
            counts = {"total": 0, "completed": 0, "failed": 0}
            shown |= {"status": "failed", "errors": {"data": [error]}, "request_counts": counts}
        return json.dumps(shown).encode()


class Upload:
    """An input file on its way in. Each row is answered on disk as it comes; none is kept in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb")
        self._rest = b""
        self._rows = 0
        self._bytes = 0

    def feed(self, piece: bytes) -> None:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b'{"custom_id":"'):
                start = line.index(b"ticket ") + 7
                number = line[start : line.index(b":", start)]
                self._file.write(ROW % (line[14 : line.index(b'"', 14)], number))
                self._rows += 1
                self._bytes += len(line)

    def close(self) -> tuple[int, float]:
        """Its rows and prompt tokens."""
        self._file.close()
        return self._rows, self._bytes / 4


ROW = (
    b'{"id":"r","custom_id":"%s","response":{"status_code":200,"request_id":"q","body":{"id":"chatcmpl-1","object":'
    b'"chat.completion","created":1,"model":"gpt-5-mini","choices":[{"index":0,"message":{"role":"assistant","content":'
    b'"ticket %s: billing"},"finish_reason":"stop"}],"usage":{"prompt_tokens":200,"completion_tokens":9,'
    b'"total_tokens":209}}},"error":null}\n'
)


class Wire(httpcore.AsyncNetworkStream):
    """A connection to the provider: HTTP/1.1, one call after another."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._head = b""
        self._call: tuple[str, str] | None = None
        self._left = 0
        self._body: bytes | Upload = b""
        self._answer: Iterator[bytes] = iter(())

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        began = time.thread_time()
        if self._call is None:
            self._head += buffer
            head, end, buffer = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._begin(head.decode())
        self._left -= len(buffer)
        if isinstance(self._body, Upload):
            self._body.feed(buffer)
        else:
            self._body += buffer
        if self._left == 0 and self._call is not None:
            found = self._provider.answer(*self._call, self._body)
            self._answer = _reply(found)
            self._call, self._head = None, b""
        self._provider.seconds += time.thread_time() - began

    def _begin(self, head: str) -> None:
        first, *lines = head.split("\r\n")
        method, path, _ = first.split(" ")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        assert "transfer-encoding" not in headers, headers
        self._call = (method, path)
        self._left = int(headers.get("content-length", 0))
        self._body = self._provider.upload() if path.endswith("/files") else b""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        return next(self._answer, b"")

    async def aclose(self) -> None:
        self._answer = iter(())

    async def start_tls(self, *_: Any, **__: Any) -> Wire:
        return self

    def get_extra_info(self, info: str) -> Any:
        return None


def _reply(found: bytes | Path) -> Iterator[bytes]:
    size = len(found) if isinstance(found, bytes) else found.stat().st_size
    yield f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n".encode()
    if isinstance(found, bytes):
        yield found
        return
    with found.open("rb") as file:
        while piece := file.read(65_536):
            yield piece
    found.unlink()


def connect(provider: Provider) -> None:
    """Have all of batchling's connections lead to this provider."""

    class Network(pools.Network):
        async def connect_tcp(self, *_: Any, **__: Any) -> Wire:  # type: ignore[override]
            return Wire(provider)

    pools.Network = Network  # type: ignore[misc]


class Samples:
    """Memory and progress, a few times a second of real time, from a thread of its own."""

    def __init__(self, world: World, progress: Callable[[], dict[str, int]]) -> None:
        self.taken: list[dict[str, float]] = []
        self._world = world
        self._progress = progress
        self._began = (time.monotonic(), world.monotonic())
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        pages = os.sysconf("SC_PAGE_SIZE")
        with open("/proc/self/statm") as file:
            over = False
            while not over:
                over = self._over.wait(0.5)
                file.seek(0)
                memory = int(file.read().split()[1]) * pages / 2**20
                real, virtual = time.monotonic() - self._began[0], self._world.monotonic() - self._began[1]
                sample = {"real_s": round(real, 1), "hours": round(virtual / HOUR, 3), "rss_mib": round(memory, 1)}
                self.taken.append({**sample, **self._progress()})

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


def run(chosen: argparse.Namespace, folder: str) -> dict[str, Any]:
    """One run, and its figures."""
    os.environ["BATCHLING_CACHE_DIR"] = f"{folder}/cache"
    world = World()
    provider = Provider(world, folder, chosen.shortest_hours * HOUR, chosen.enqueued_tokens)
    connect(provider)
    numbers = iter(range(chosen.requests))
    answered = most = asked = 0

    async def work() -> None:
        nonlocal answered, asked, most
        gate = current()
        assert gate is not None
        for number in numbers:
            pending = gate.submit(Request("POST", URL, HEADERS, BODY % number))
            assert pending is not None
            asked += 1
            response = await wait_async(pending)
            assert response.status == 200, response.body
            assert b'"ticket %d: ' % number in response.body, "somebody else's answer"
            answered += 1

    async def program() -> None:
        await asyncio.gather(*(work() for _ in range(chosen.tasks)))

    samples = Samples(world, lambda: {"asked": asked, "answered": answered, "jobs": provider.created})
    scope = batchify(
        max_waiting=chosen.waiting,
        batch_size=chosen.batch_size,
        batch_window_seconds=chosen.window_seconds,
        batch_poll_interval_seconds=chosen.poll_seconds,
        display="off",
    )
    began, cpu = world.monotonic(), time.process_time()
    with scope, asyncio.Runner(loop_factory=lambda: ProgramLoop(world)) as runner:
        runner.run(program())
        world.program_idle = True  # for as long as the scope is being left
    used = time.process_time() - cpu
    samples.stop()
    gc.collect()
    receipt = scope.receipt
    assert answered == receipt.answered == provider.rows == chosen.requests, (answered, receipt, provider.rows)
    return {
        "requests": chosen.requests,
        "max_waiting": chosen.waiting,
        "tasks": chosen.tasks,
        "batch_size": chosen.batch_size,
        "enqueued_tokens": None if chosen.enqueued_tokens == float("inf") else chosen.enqueued_tokens,
        "shortest_job_hours": chosen.shortest_hours,
        "waited_for_room": receipt.throttled,
        "jobs": provider.created,
        "jobs_refused_for_tokens": provider.refused,
        "http_calls": provider.calls,
        "virtual_hours": round((world.monotonic() - began) / HOUR, 2),
        "cpu_s": round(used, 1),
        "provider_cpu_s": round(provider.seconds, 1),
        "cpu_us_per_request": round((used - provider.seconds) / chosen.requests * 1e6, 1),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "python": sys.version.split()[0],
        "samples": samples.taken,
    }


# The picture.

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 340, 64, 64, 44, 44
FONT = 'font-size="12" font-family="sans-serif"'
MEMORY, ANSWERED, WORDS = "#2f81c8", "#c0792a", "#868686"
"""Colours that can be read on white and on black."""


def draw(found: dict[str, Any], file: IO[str]) -> None:
    """Memory and answers over the provider's time."""
    samples = thinned(found["samples"], 600)
    days = max(sample["hours"] for sample in samples) / 24
    most = max(sample["rss_mib"] for sample in samples)
    top = next(
        step for step in (100, 200, 400, 600, 800, 1000, 1500, 2000, 3000, 4000, 6000, 8000, 16_000) if step >= most
    )

    def line(colour: str, height: Callable[[dict[str, float]], float]) -> str:
        points = " ".join(
            f"{LEFT + (WIDTH - LEFT - RIGHT) * sample['hours'] / 24 / days:.1f},"
            f"{HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * height(sample):.1f}"
            for sample in samples
        )
        return f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>'

    def word(x: float, y: float, said: str, colour: str = WORDS, anchor: str = "middle") -> str:
        return f'<text x="{x:.0f}" y="{y:.0f}" fill="{colour}" text-anchor="{anchor}">{said}</text>'

    said = (
        f"{found['requests']:,} requests, max_waiting={found['max_waiting']:,}, "
        f"jobs of {found['shortest_job_hours']:g} to 24 hours (simulated provider and time)"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" {FONT}>',
        f"<title>Memory over time: {said}</title>",
        word(LEFT, 16, said, anchor="start"),
        word(LEFT, 34, "memory of the process, MiB", MEMORY, "start"),
        word(WIDTH - RIGHT, 34, "requests answered", ANSWERED, "end"),
        word((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "days of the provider's time"),
    ]
    for quarter in range(5):
        y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * quarter / 4
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{WORDS}" stroke-opacity=".35"/>')
        parts.append(word(LEFT - 6, y + 4, f"{top * quarter / 4:,.0f}", MEMORY, "end"))
        parts.append(word(WIDTH - RIGHT + 6, y + 4, short(found["requests"] * quarter / 4), ANSWERED, "start"))
    step = next(step for step in (0.25, 0.5, 1, 2, 5, 10, 20, 50) if days / step <= 10)
    for number in range(int(days / step) + 1):
        x = LEFT + (WIDTH - LEFT - RIGHT) * number * step / days
        parts.append(word(x, HEIGHT - BOTTOM + 16, f"{number * step:g}"))
    parts.append(line(ANSWERED, lambda sample: sample["answered"] / found["requests"]))
    parts.append(line(MEMORY, lambda sample: sample["rss_mib"] / top))
    file.write("\n".join([*parts, "</svg>\n"]))


def thinned(samples: list[dict[str, float]], most: int) -> list[dict[str, float]]:
    """At most about so many of these, with the last one."""
    return [*samples[:: max(1, len(samples) // most)], samples[-1]]


def short(number: float) -> str:
    """A number as an axis shows it."""
    return f"{number / 1e6:g} M" if number >= 1e6 else f"{number / 1e3:g} k" if number >= 1e3 else f"{number:g}"


def main() -> None:
    """Run or draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--waiting", type=int, default=50_000, help="max_waiting")
    parser.add_argument("--tasks", type=int, help="how many tasks make calls (a fifth more than --waiting)")
    parser.add_argument("--batch-size", type=int, default=10_000)
    parser.add_argument("--window-seconds", type=float, default=600.0)
    parser.add_argument("--poll-seconds", type=float, default=600.0)
    parser.add_argument("--shortest-hours", type=float, default=1.0, help="jobs take from this to 24 hours")
    parser.add_argument("--enqueued-tokens", type=float, default=float("inf"), help="prompt tokens in jobs at a time")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--svg", type=Path, help="where to draw the picture")
    parser.add_argument("--draw", type=Path, nargs=2, metavar=("JSON", "SVG"), help="draw an earlier run")
    chosen = parser.parse_args()
    if chosen.draw:
        found = json.loads(chosen.draw[0].read_text())
        chosen.svg = chosen.draw[1]
    else:
        chosen.tasks = chosen.tasks or chosen.waiting * 6 // 5
        with tempfile.TemporaryDirectory() as folder:
            found = run(chosen, folder)
        print(json.dumps({name: value for name, value in found.items() if name != "samples"}, indent=2))
    if chosen.json:
        chosen.json.write_text(json.dumps({**found, "samples": thinned(found["samples"], 600)}) + "\n")
    if chosen.svg:
        with chosen.svg.open("w") as file:
            draw(found, file)


if __name__ == "__main__":
    main()
