"""One measured run of `large`, in its own process: `python -m benchmarks.large_program PROVIDER SHAPE CACHE`.

Prints its figures as JSON. Memory is what the operating system says: the resident set when all calls wait, and its peak
(`VmHWM`, which Linux lets a process reset) from then until the job is created, and from then until all calls are
answered. Each call forgets its answer at once, so what is held is held by batchling.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx2

from batchling import batchify, events

WINDOW = 600.0

Callback = tuple[float, float, str]
"""Seconds of wall clock and of CPU, and what ran."""


def memory(name: str) -> float:
    """A figure of this process's memory, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(name + ":"))) * 1024 / 1e6


class Peaks:
    """The resident set when all calls wait, and its peaks afterwards."""

    def __init__(self, rows: int) -> None:
        self.queued = 0
        self.rows = rows
        self.all_wait = threading.Event()
        self.waiting = self.uploading = 0.0
        self.jobs = 0

    def note(self, event: events.Event) -> None:
        """Take in what happens in the scope."""
        if isinstance(event, events.Queued):
            self.queued += event.calls
            if self.queued == self.rows:
                self.waiting = memory("VmRSS")
                self._reset()
                self.all_wait.set()
        elif isinstance(event, events.Submitted):
            self.jobs += 1
            self.uploading = max(self.uploading, memory("VmHWM"))
            self._reset()

    @staticmethod
    def _reset() -> None:
        Path("/proc/self/clear_refs").write_text("5")


class Callbacks:
    """The longest callbacks of event loops, by the name of their thread, without the garbage collections that happened
    meanwhile in any thread: these stop all threads, and are measured by themselves."""

    def __init__(self) -> None:
        self.longest: dict[str, list[Callback]] = {}
        self.collecting = 0.0
        self.longest_collection = 0.0
        self._began = 0.0

    def watch(self) -> None:
        """Measure every callback from now on."""
        gc.callbacks.append(self._collected)
        inner = asyncio.Handle._run

        def run(handle: Any) -> None:
            what = described(handle)
            wall, used, collecting = time.perf_counter(), time.thread_time(), self.collecting
            inner(handle)
            wall, used = time.perf_counter() - wall, time.thread_time() - used
            wall -= self.collecting - collecting
            if wall > 0.02:
                found = self.longest.setdefault(threading.current_thread().name, [])
                found.append((round(wall, 3), round(min(used, wall), 3), what))
                found.sort(reverse=True)
                del found[10:]

        asyncio.Handle._run = run  # type: ignore[method-assign, assignment]

    def _collected(self, phase: str, _: object) -> None:
        if phase == "start":
            self._began = time.perf_counter()
            return
        took = time.perf_counter() - self._began
        self.collecting += took
        self.longest_collection = max(self.longest_collection, took)


def described(handle: Any) -> str:
    """What a callback runs: for a task, the coroutine and the innermost one that it waits in."""
    call = getattr(handle, "_callback", None)
    task = getattr(call, "__self__", None)
    if not isinstance(task, asyncio.Task):
        return getattr(call, "__qualname__", repr(call))
    coroutine: Any = task.get_coro()
    names = []
    while getattr(coroutine, "cr_frame", None) is not None:
        names.append(f"{coroutine.__qualname__}:{coroutine.cr_frame.f_lineno}")
        coroutine = coroutine.cr_await
    return " > ".join(names[:1] + names[-2:] if len(names) > 2 else names)


OPENAI_DIALECT = {
    "openai": ("https://api.openai.com/v1/chat/completions", "gpt-5-mini"),
    "mistral": ("https://api.mistral.ai/v1/chat/completions", "mistral-small-latest"),
    "openrouter": ("https://openrouter.ai/api/v1/chat/completions", "openai/gpt-5-mini"),
    "groq": ("https://api.groq.com/openai/v1/chat/completions", "llama-3.3-70b-versatile"),
}
WORDS = "Lorem ipsum dolor sit amet. "


def call(provider: str, number: int, asked: int, answered: int) -> tuple[str, dict[str, str], bytes]:
    """The URL, headers and body of a call with about so many bytes, whose answer has about so many."""
    text = f"{number:07d} " + WORDS * (asked // len(WORDS))
    # An answer is 2 KB, given in the schema, as often as it takes: the server makes it in no time.
    items = {"type": "array", "minItems": answered // 2000, "items": {"type": "string", "enum": [WORDS * 71]}}
    schema = {"type": "object", "properties": {"texts": items}}
    turn = {"role": "user", "content": text}
    body: dict[str, Any]
    if provider == "anthropic":
        url, headers = "https://api.anthropic.com/v1/messages", {"x-api-key": "k", "anthropic-version": "2023-06-01"}
        form: dict[str, Any] = {"format": {"type": "json_schema", "schema": schema}}
        body = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [turn]}
        body |= {"output_config": form} if answered else {}
    elif provider == "gemini":
        url = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent"
        headers = {"x-goog-api-key": "k"}
        body = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
        body |= (
            {"generationConfig": {"responseMimeType": "application/json", "responseSchema": schema}} if answered else {}
        )
    else:
        url, model = OPENAI_DIALECT[provider]
        headers = {"authorization": "Bearer k"}
        form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
        body = {"model": model, "messages": [turn], **({"response_format": form} if answered else {})}
    return url, {**headers, "content-type": "application/json"}, json.dumps(body).encode()


async def ask(provider: str, rows: int, asked: int, answered: int) -> int:
    """All calls in one gather. Returns the bytes of their answers."""
    async with httpx2.AsyncClient(timeout=None) as client:

        async def one(number: int) -> int:
            url, headers, body = call(provider, number, asked, answered)
            answer = await client.post(url, content=body, headers=headers)
            assert answer.status_code == 200, answer.text[:300]
            return len(answer.content)

        return sum(await asyncio.gather(*(one(number) for number in range(rows))))


def main(provider: str, shape: str, cache: bool) -> None:
    """Run, and print the figures."""
    rows, asked, answered = map(int, shape.split("x"))
    peaks, callbacks = Peaks(rows), Callbacks()
    callbacks.watch()
    began = time.process_time()
    scope = batchify(
        batch_window_seconds=WINDOW,
        batch_poll_interval_seconds=0.5,
        display="off",
        cache=cache,
        on_event=peaks.note,
    )

    def drain() -> None:
        peaks.all_wait.wait()
        gc.collect()
        scope._batcher.drain()  # all calls wait now: let them leave at once

    threading.Thread(target=drain, name="program", daemon=True).start()
    with scope:
        received = asyncio.run(ask(provider, rows, asked, answered))
    print(
        json.dumps(
            {
                "jobs": peaks.jobs,
                "waiting_mb": round(peaks.waiting),
                "uploading_mb": round(peaks.uploading - peaks.waiting),
                "downloading_mb": round(memory("VmHWM") - peaks.waiting),
                "answers_mb": round(received / 1e6),
                "cpu_us": round((time.process_time() - began) / rows * 1e6, 1),
                "callbacks": callbacks.longest,
                "collection": round(callbacks.longest_collection, 3),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3] == "True")
