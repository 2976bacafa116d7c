"""Warnings about common mistakes: each is noticed by a fold of events, and logged once per scope, with the remedy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Container
from dataclasses import dataclass, field

from batchling.core import events, footprint
from batchling.core.model import Target
from batchling.core.text import printable
from batchling.display.text import duration, roughly

SMALL = 64
"""Requests: a batch no larger than this may be all that a thread pool or a semaphore lets through at once."""
DAY = 86_400.0

_BY_GRPC = {
    "xai_sdk": "xai-sdk (gRPC; the OpenAI SDK with base_url https://api.x.ai/v1 is batched)",
    "google.generativeai": "google-generativeai (gRPC; its successor google-genai is batched)",
    "vertexai": "vertexai (gRPC; google-genai is batched)",
}
"""Modules used only for LLM calls, which bypass the libraries that we hook."""
_OUT_OF_REACH = {
    **_BY_GRPC,
    "curl_cffi": "curl_cffi (not hooked)",
    "pycurl": "pycurl (not hooked)",
    "niquests": "niquests (not hooked)",
}
"""Modules whose calls bypass the libraries that we hook."""
_KEEP_ANSWERS = {"dspy": "dspy", "litellm": "litellm", "langchain_core": "langchain"}
"""Modules that may answer from their own caches, so no call is made."""
_REMEDIES: dict[str, dict[str, str]] = {
    "streaming": {
        "": "Send it without stream=True to have it batched",
        "pydantic_ai": "pydantic-ai streams from Claude unless max_tokens is set: use "
        'model_settings={"max_tokens": 4096}, and run instead of run_stream',
        "inspect_ai": "inspect_ai streams from Claude unless max_tokens is below 8192: use max_tokens=4096",
        "llama_index.core.agent": "llama-index: use FunctionAgent(streaming=False)",
        "llm": "llm: use --no-stream",
        "langgraph": 'LangGraph: use ainvoke, or a stream_mode other than "messages"',
        "agents": "openai-agents: use Runner.run instead of run_streamed",
    },
    events.OUTSIDE: {
        "": "Open the scope around the code that makes the calls, or start that task or thread inside it",
        "uvicorn": "A scope in a lifespan (FastAPI, Starlette) does not reach the requests, and one in an endpoint "
        "makes a batch for each request. Open it around the server: with batchify(): uvicorn.run(app)",
    },
}
"""How to have such calls batched, by the reason why they were not and the module of the framework concerned; see the
report on a hundred programs and the frameworks' own documentation. An empty name applies to every program."""
_OTHER_PROCESSES = ("concurrent.futures.process", "multiprocessing.pool", "joblib")
_HOOKED = ("httpx", "httpx2", "aiohttp", "requests")


@dataclass(slots=True)
class _Line:
    """What has to be known of a queue's batches to notice that its calls are made one after another."""

    running: set[str] = field(default_factory=set)
    fresh: int = 0
    """Requests that arrived after the last batch had ended."""
    answered: bool = True
    """Whether the last batch has given a caller a good answer."""
    largest: int = 0


class Hints:
    """Watches one scope. `add` is called on the engine's loop thread; `saves_nothing` says for which models batches
    cost as much as real time."""

    def __init__(self, saves_nothing: Callable[[Target], bool] = lambda _: False) -> None:
        self._saves_nothing = saves_nothing
        self._lines: dict[tuple[str, str, str], _Line] = {}
        self._owners: dict[str, _Line] = {}
        self._last: tuple[str, str, str] | None = None
        """The queue of the last batch."""
        self._seen: set[tuple[str, str, str]] = set()
        """The queues for which a call was seen."""
        self._said: set[str] = set()
        self.nothing_happened: bool = True

    def add(self, event: events.Event) -> str | None:
        """Process one event. Returns the warning to log now, if there is one."""
        self.nothing_happened = False
        match event:
            case events.Bypassed():
                what = f"full price {event.reason}"
                return None if what in self._said else self._once(what, full_price(event, sys.modules))
            case events.Spawned():
                return self._once("spawned", _spawned(event))
            case events.Queued():
                self._line(event.target.queue).fresh += event.calls
                return self._of_call(event)
            case events.PaidAgain():
                return self._once(f"paid again {event.target.queue}", _paid_again(event))
            case events.HeaderLeftOut():
                return self._once(f"header {event.host} {event.header}", _left_out(event))
            case events.Answered(ok=True):
                self._line(event.target.queue).answered = True
            case events.Throttled():
                self._said.add("line")  # batches are small, and made one after another, because that was asked for
            case events.Held():
                # It waits because there is no room, or because the scope's options say so.
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
        """Warn of calls made one after another: a small batch, as large as the largest so far, and made up only of
        requests that arrived after the previous batch was answered. Batches of resubmitted requests shrink, or answer
        no caller in between; after a large wave, small batches mean nothing."""
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
            f"batchling: 2 batches of {queue[2]} in a row held {size}, and the second was made only after the first "
            "was answered. A batch may take hours, so make independent calls at the same time: asyncio.gather instead "
            "of a loop, and a semaphore, max_concurrency or number of threads as large as the number of calls.",
        )

    def _of_call(self, event: events.Queued) -> str | None:
        texts: list[str | None] = []
        if event.target.queue not in self._seen:
            self._seen.add(event.target.queue)
            texts += self._of_kind(event.target)
        if event.limit is not None and event.limit < DAY:
            limit = roughly(event.limit) if event.limit > 90 else duration(round(event.limit))
            texts.append(
                self._once(
                    "limit",
                    f"batchling: the program gives up a call to {event.target.model} after "
                    f"{limit} (asyncio.wait_for, asyncio.timeout or the like), but a batch may "
                    "take 24 hours. Remove or raise the limit. What was submitted is paid for, and the next run "
                    "collects it.",
                )
            )
        if event.has_short_cache_mark:
            texts.append(
                self._once(
                    "short cache mark",
                    f"batchling: prompts for {event.target.model} are marked to be cached for 5 minutes, which is less "
                    "than a batch may take: later rows miss the cache and pay for writing it again. Mark them with "
                    '"cache_control": {"type": "ephemeral", "ttl": "1h"}.',
                )
            )
        return "\n".join(text for text in texts if text) or None

    def _of_kind(self, target: Target) -> list[str | None]:
        """The warnings about the first call of a queue."""
        texts = []
        if beyond := [text for name, text in _BY_GRPC.items() if name in sys.modules]:
            texts.append(
                self._once(
                    "grpc",
                    f"batchling: this program has loaded {', '.join(beyond)}. batchling cannot see calls made with it: "
                    "they cost full price, and no report counts them.",
                )
            )
        if self._saves_nothing(target):
            texts.append(
                self._once(
                    f"full price {target.queue}",
                    f"batchling: {target.provider} gives no discount on {target.model} in batches: its answers cost "
                    "full price, and may take a day. Make these calls outside the scope to get answers at once.",
                )
            )
        return texts

    def _once(self, what: str, text: str) -> str | None:
        if what in self._said:
            return None
        self._said.add(what)
        return printable(text)


def full_price(event: events.Bypassed, modules: Container[str]) -> str:
    """The warning about the first call that goes real time for a reason, depending on the modules that are loaded."""
    if event.reason == events.LOCAL:
        return (
            f"batchling: a call to {event.host}{event.path} is not batched, since it goes to a local server. If that "
            "server leads to a provider with a batch API, name it: "
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
        f'batchling: a process was started inside the scope by "{event.method}", but the scope does not apply in it: '
        "its calls to providers cost full price, and this report does not count them. Open a scope in the function "
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
        f"this program made before, and are paid for: {fields} {differs} from the last run. If that is not intended, "
        "keep it the same in every run, so a second run gets its answers from the cache. See docs/identity.md."
    )


def _left_out(event: events.HeaderLeftOut) -> str:
    return (
        f"batchling: at {event.host}, header {event.header} was different in each of {event.calls} calls with one "
        "credential. Such a header cannot name a tenant, so it is left out from now on: batches do not send it, and "
        "calls that differ in nothing else share a batch and the cache. Calls submitted before this was noticed got a "
        "batch each, and the next run pays for them again. To avoid that, do not set the header inside the scope. See "
        "docs/identity.md."
    )


def nothing(modules: Container[str], *, hooked: bool) -> str:
    """The warning about a scope without any call: the likely reason, depending on the modules that are loaded."""
    found = "batchling: no call was intercepted in this scope. "
    if not hooked:
        return found + "The hooks had been removed by uninstall_hooks()."
    reasons = []
    if beyond := [text for name, text in _OUT_OF_REACH.items() if name in modules]:
        reasons.append(f"batchling cannot see calls made with {', '.join(beyond)}, which cost full price")
    if not any(name in modules for name in _HOOKED):
        reasons.append(f"none of the hooked libraries ({', '.join(_HOOKED)}) was imported")
    if any(name in modules for name in _OTHER_PROCESSES):
        reasons.append("calls were made in other processes: open a scope there")
    if keepers := [text for name, text in _KEEP_ANSWERS.items() if name in modules]:
        reasons.append(f"answers came from the cache of {', '.join(keepers)}")
    if not reasons:
        reasons.append(
            "the calls were made before or after the scope (a generator, or a task that was not awaited inside?)"
        )
    return found + "Likely because " + ", or because ".join(reasons) + "."
