"""Help against the classic traps: each is noticed by a fold of events, and told once in a scope, with the way out."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field

from batchling.core import events, footprint

SMALL = 5
"""Requests: a batch of no more than these is a small one."""
ENOUGH = 3
"""Small batches one after the other that are no accident any more."""
DAY = 86_400.0

_OUT_OF_REACH = {
    "xai_sdk": "xai-sdk (gRPC; the OpenAI SDK with base_url https://api.x.ai/v1 is batched)",
    "boto3": "boto3 (not hooked)",
    "google.generativeai": "google-generativeai (gRPC; its successor google-genai is batched)",
    "vertexai": "vertexai (gRPC; google-genai is batched)",
    "curl_cffi": "curl_cffi (not hooked)",
    "pycurl": "pycurl (not hooked)",
    "niquests": "niquests (not hooked)",
}
"""Modules whose calls go below or beside the libraries that we hook."""
_KEEP_ANSWERS = {"dspy": "dspy", "litellm": "litellm", "langchain_core": "langchain"}
"""Modules that may answer from caches of their own, so that no call is made."""
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
    count: int = 0


class Hints:
    """Sees one scope. `add` is called on the engine's loop thread."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str, str], _Line] = {}
        self._owners: dict[str, _Line] = {}
        self._said: set[str] = set()
        self.nothing_happened = True

    def add(self, event: events.Event) -> str | None:
        """Take one event in. What is to be said now, if anything."""
        self.nothing_happened = False
        match event:
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
        """Serialised work: batches that are small, not smaller than those before, and made only of requests which came
        after the answers of the one before. Re-asked requests shrink, or answer nobody in between; a wave that was
        large once is no line."""
        line = self._line(queue)
        in_line = not line.running and line.answered and line.fresh >= rows
        line.running.add(batch)
        line.fresh = 0
        line.count = (line.count if in_line else 0) + (rows >= line.largest)
        line.largest = max(line.largest, rows)
        if line.count < ENOUGH or line.largest > SMALL:
            return None
        size = "one request each" if line.largest == 1 else f"at most {line.largest} requests each"
        return self._once(
            "line",
            f"batchling: {ENOUGH} batches of {queue[2]} in a row held {size}, and each was made only when the one "
            "before had been answered. A batch may take hours, so ask at once what can be asked at once: "
            "asyncio.gather instead of a loop, and a semaphore, max_concurrency or number of threads as large as the "
            "number of calls.",
        )

    def _of_call(self, event: events.Queued) -> str | None:
        texts = []
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
        if event.brief:
            texts.append(
                self._once(
                    "brief",
                    f"batchling: prompts for {event.target.model} are marked to be cached for 5 minutes, which is less "
                    "than a batch may take: later rows find nothing and pay for writing it again. Mark them with "
                    '"cache_control": {"type": "ephemeral", "ttl": "1h"}.',
                )
            )
        return "\n".join(text for text in texts if text) or None

    def _once(self, what: str, text: str) -> str | None:
        if what in self._said:
            return None
        self._said.add(what)
        return text


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
