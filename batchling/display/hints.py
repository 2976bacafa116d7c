"""Help against the classic traps: each is noticed by a fold of events, and told once in a scope, with the way out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Container
from dataclasses import dataclass, field

from batchling.core import events, footprint
from batchling.core.model import Target
from batchling.core.text import printable

SMALL = 64
"""Requests: a batch of no more than these may be all that a pool of threads or a semaphore lets through at once."""
DAY = 86_400.0

_BY_GRPC = {
    "xai_sdk": "xai-sdk (gRPC; the OpenAI SDK with base_url https://api.x.ai/v1 is batched)",
    "google.generativeai": "google-generativeai (gRPC; its successor google-genai is batched)",
    "vertexai": "vertexai (gRPC; google-genai is batched)",
}
"""Modules for nothing but calls of LLMs, which go below the libraries that we hook."""
_OUT_OF_REACH = {
    **_BY_GRPC,
    "curl_cffi": "curl_cffi (not hooked)",
    "pycurl": "pycurl (not hooked)",
    "niquests": "niquests (not hooked)",
}
"""Modules whose calls go below or beside the libraries that we hook."""
_KEEP_ANSWERS = {"dspy": "dspy", "litellm": "litellm", "langchain_core": "langchain"}
"""Modules that may answer from caches of their own, so that no call is made."""
_REMEDIES: dict[str, dict[str, str]] = {
    "streaming": {
        "": "Ask without stream=True to have it batched",
        "pydantic_ai": "pydantic-ai streams from Claude unless max_tokens is set: "
        'model_settings={"max_tokens": 4096}, and run instead of run_stream',
        "inspect_ai": "inspect_ai streams from Claude unless max_tokens is below 8192: max_tokens=4096",
        "llama_index.core.agent": "llama-index: FunctionAgent(streaming=False)",
        "llm": "llm: --no-stream",
        "langgraph": 'LangGraph: ainvoke, or another stream_mode than "messages"',
        "agents": "openai-agents: Runner.run instead of run_streamed",
    },
    events.OUTSIDE: {
        "": "Open the scope around the code that makes the calls, or start that task or thread inside it",
        "uvicorn": "A scope in a lifespan (FastAPI, Starlette) does not reach the requests, and one in an endpoint "
        "makes a batch of each: open it around the server, with batchify(): uvicorn.run(app)",
    },
}
"""Ways to have such calls batched, by the reason why they were not and the module of the framework that they are for;
see the report on a hundred programs and the frameworks' own documentation. An empty name is for every program."""
_OTHER_PROCESSES = ("concurrent.futures.process", "multiprocessing.pool", "joblib")
_HOOKED = ("httpx", "httpx2", "aiohttp", "requests")


@dataclass(slots=True)
class _Line:
    """The batches of one queue key, as far as it takes to see that they stand in line."""

    running: set[str] = field(default_factory=set)
    fresh: int = 0
    """Requests that came after the last batch had ended."""
    answered: bool = True
    """Whether the last batch has given somebody a good answer."""
    largest: int = 0


class Hints:
    """Sees one scope. `add` is called on the engine's loop thread; `saves_nothing` says of which models batches cost
    what real time does."""

    def __init__(self, saves_nothing: Callable[[Target], bool] = lambda _: False) -> None:
        self._saves_nothing = saves_nothing
        self._lines: dict[tuple[str, str, str], _Line] = {}
        self._owners: dict[str, _Line] = {}
        self._last: tuple[str, str, str] | None = None
        """The queue of the last batch."""
        self._seen: set[tuple[str, str, str]] = set()
        """The queues of which a call was seen."""
        self._said: set[str] = set()
        self.nothing_happened: bool = True

    def add(self, event: events.Event) -> str | None:
        """Take one event in. What is to be said now, if anything."""
        self.nothing_happened = False
        match event:
            case events.Bypassed():
                what = f"full price {event.reason}"
                return None if what in self._said else self._once(what, full_price(event, sys.modules))
            case events.Spawned():
                return self._once("spawned", _spawned(event))
            case events.Queued():
                self._line(event.target.queue).fresh += 1
                return self._of_call(event)
            case events.PaidAgain():
                return self._once(f"paid again {event.target.queue}", _paid_again(event))
            case events.HeaderLeftOut():
                return self._once(f"header {event.host} {event.header}", _left_out(event))
            case events.Answered(ok=True):
                self._line(event.target.queue).answered = True
            case events.Held():
                # It stands in line since there is no room, or because the scope's options say so.
                self._line(event.target.queue).largest = SMALL + 1
            case events.Submitted():
                text = self._of_batch(event.target.queue, event.batch, event.rows)
                self._owners[event.batch] = self._line(event.target.queue)
                return text
            case events.Rehearsed():
                text = self._of_batch(event.target.queue, "rehearsed", event.rows)
                self._end(self._line(event.target.queue), "rehearsed")
                return text
            case events.Ended() | events.Died():
                if (line := self._owners.pop(event.batch, None)) is not None:
                    self._end(line, event.batch)
        return None

    def _line(self, queue: tuple[str, str, str]) -> _Line:
        return self._lines.setdefault(queue, _Line())

    def _end(self, line: _Line, batch: str) -> None:
        line.running.discard(batch)
        line.fresh = 0
        line.answered = False

    def _of_batch(self, queue: tuple[str, str, str], batch: str, rows: int) -> str | None:
        """Serialised work: a small batch, as large as the largest before, and made only of requests which came after
        the answers of the one before. Re-asked requests shrink, or answer nobody in between; a wave that was large
        once is no line."""
        line = self._line(queue)
        in_line = self._last == queue and not line.running and line.answered and line.fresh >= rows
        before = line.largest if in_line else 0
        self._last = queue
        line.running.add(batch)
        line.fresh = 0
        line.largest = max(line.largest, rows)
        if rows != before or line.largest > SMALL:
            return None
        size = "one request each" if rows == 1 else f"{rows} requests each"
        return self._once(
            "line",
            f"batchling: 2 batches of {queue[2]} in a row held {size}, and the second was made only when the first had "
            "been answered. A batch may take hours, so ask at once what can be asked at once: asyncio.gather instead "
            "of a loop, and a semaphore, max_concurrency or number of threads as large as the number of calls.",
        )

    def _of_call(self, event: events.Queued) -> str | None:
        texts: list[str | None] = []
        if event.target.queue not in self._seen:
            self._seen.add(event.target.queue)
            texts += self._of_kind(event.target)
        if event.limit is not None and event.limit < DAY:
            texts.append(
                self._once(
                    "limit",
                    f"batchling: a call to {event.target.model} is given up by its program after "
                    f"{_seconds(event.limit)} (asyncio.wait_for, asyncio.timeout or the like), and a batch may take 24 "
                    "hours. Take the limit away or make it larger. What was submitted is paid for, and is collected "
                    "by the next run.",
                )
            )
        if event.has_short_cache_mark:
            texts.append(
                self._once(
                    "brief",
                    f"batchling: prompts for {event.target.model} are marked to be cached for 5 minutes, which is less "
                    "than a batch may take: later rows find nothing and pay for writing it again. Mark them with "
                    '"cache_control": {"type": "ephemeral", "ttl": "1h"}.',
                )
            )
        return "\n".join(text for text in texts if text) or None

    def _of_kind(self, target: Target) -> list[str | None]:
        """What is to be said of the first call of a queue."""
        texts = []
        if beyond := [text for name, text in _BY_GRPC.items() if name in sys.modules]:
            texts.append(
                self._once(
                    "grpc",
                    f"batchling: this program has loaded {', '.join(beyond)}. Calls made with it are out of reach: "
                    "they pay the full price, and no report counts them.",
                )
            )
        if self._saves_nothing(target):
            texts.append(
                self._once(
                    f"full price {target.queue}",
                    f"batchling: {target.provider} gives no discount on {target.model} in batches: its answers cost "
                    "the full price, and may take a day. Make these calls outside the scope to have them at once.",
                )
            )
        return texts

    def _once(self, what: str, text: str) -> str | None:
        if what in self._said:
            return None
        self._said.add(what)
        return printable(text)


def full_price(event: events.Bypassed, modules: Container[str]) -> str:
    """What is said of the first call that goes real time for a reason, by the modules that are loaded."""
    if event.reason == events.LOCAL:
        return (
            f"batchling: a call to {event.host}{event.path} passes as it is, since it goes to a local server. If that "
            "one leads to a provider with a batch API, name it: "
            f'batchify(gateways={{"http://{event.host}:PORT": "openai"}}).'
        )
    ways = [way for name, way in _REMEDIES.get(event.reason, {}).items() if not name or name in modules]
    way = f" {'; '.join(ways)}." if ways else ""
    return (
        f"batchling: a call to {event.host}{event.path} goes real time, at full price: {event.reason}.{way} Further "
        "calls of this kind are counted in the report at the end."
    )


def _spawned(event: events.Spawned) -> str:
    return (
        f'batchling: a process was started inside the scope by "{event.method}", and knows nothing of it: calls that '
        "it makes to a provider pay the full price, and this report does not count them. Open a scope in the function "
        "that the process runs."
    )


_PARTS = {
    footprint.ACCOUNT: "the credential (or, at a gateway, a header)",
    footprint.BASE_URL: "the base URL",
    footprint.OPTIONS: "a version or beta header",
}


def _paid_again(event: events.PaidAgain) -> str:
    provider, endpoint, model = event.target.queue
    fields = " and ".join(_PARTS.get(name, f"`{name}`") for name in event.fields)
    differs = "differs" if len(event.fields) == 1 else "differ"
    return (
        f"batchling: {event.missed:,} of {event.asked:,} calls to {provider} {endpoint} ({model}) are not among those "
        f"this program made before, and are paid for: {fields} {differs} from the last run. If that is not on purpose, "
        "make it the same in every run; then a second run gets its answers from the cache. See docs/identity.md."
    )


def _left_out(event: events.HeaderLeftOut) -> str:
    return (
        f"batchling: at {event.host}, header {event.header} was different in each of {event.calls} calls with one "
        "credential. Such a header cannot name a tenant, so it is left out from now on: batches do not send it, and "
        "calls that differ in nothing else share a batch and the cache. Calls that were submitted before this was "
        "clear had a batch each, and the next run pays for them again. To avoid that, do not set the header inside the "
        "scope. See docs/identity.md."
    )


def nothing(modules: Container[str], *, hooked: bool) -> str:
    """What is said of a scope that was left without a call in it: the likely reason, by the modules that are loaded."""
    found = "batchling: no call was intercepted in this scope. "
    if not hooked:
        return found + "The hooks had been taken out by uninstall_hooks()."
    reasons = []
    if beyond := [text for name, text in _OUT_OF_REACH.items() if name in modules]:
        reasons.append(f"calls made with {', '.join(beyond)} are out of reach and pay the full price")
    if not any(name in modules for name in _HOOKED):
        reasons.append(f"none of the libraries that are hooked ({', '.join(_HOOKED)}) was imported")
    if any(name in modules for name in _OTHER_PROCESSES):
        reasons.append("calls were made in other processes: open a scope there")
    if keepers := [text for name, text in _KEEP_ANSWERS.items() if name in modules]:
        reasons.append(f"{', '.join(keepers)} answered from a cache of its own")
    if not reasons:
        reasons.append("the calls were made before or after it (a generator, or a task that nobody awaited inside?)")
    return found + "Likely because " + ", or because ".join(reasons) + "."


def _seconds(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
