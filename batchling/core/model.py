"""The values that everything else passes around.

A `Request` is what a hook intercepts and also what a provider's flow sends; a `Response` is what came
back and what the caller gets. All values are immutable and safe to share between threads. No value here
shows a secret or a prompt in its `repr`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

Headers = tuple[tuple[str, str], ...]
"""(lower-case name, value) pairs; order and repeats are kept."""

JSON = Any
"""A decoded JSON value: dict, list, str, int, float, bool or None."""

T = TypeVar("T")


def header(headers: Headers, name: str) -> str | None:
    """The first value of a header, by lower-case name; None when it is absent."""
    for key, value in headers:
        if key == name:
            return value
    return None


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """One HTTP request, complete: `method` upper-case, `url` absolute with query, `body` as sent."""

    method: str
    url: str
    headers: Headers = ()
    body: bytes = b""

    def __repr__(self) -> str:
        parts = urlsplit(self.url)
        return f"<Request {self.method} {parts.hostname}{parts.path} {len(self.body)} bytes>"


@dataclass(frozen=True, slots=True, repr=False)
class Response:
    """One HTTP answer: `status`, `headers`, and the whole decoded `body` (never content-encoded)."""

    status: int
    headers: Headers = ()
    body: bytes = b""

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def __repr__(self) -> str:
        return f"<Response {self.status} {len(self.body)} bytes>"


class QueueKey(NamedTuple):
    """What a queue is strict about."""

    provider: str
    endpoint: str
    model: str


class AccountKey(NamedTuple):
    """An account at a root of a provider's API."""

    provider: str
    base_url: str
    account: str


@dataclass(frozen=True, slots=True)
class Target:
    """What requests must have in common to share one batch.

    `base_url` is the root of the provider's API as the caller reached it (`https://api.openai.com/v1`);
    `endpoint` the provider's name of the real-time call (`/v1/chat/completions`); `account` a digest of
    the credential and of its organisation, never the credential; `options` the result-relevant headers and
    query parameters, sorted.
    """

    provider: str
    base_url: str
    endpoint: str
    model: str
    account: str
    options: Headers = ()

    @property
    def queue(self) -> QueueKey:
        """The strict queue key, to which batch size and window apply."""
        return QueueKey(self.provider, self.endpoint, self.model)

    @property
    def account_key(self) -> AccountKey:
        """Whose limits, and whose credential, hold for it."""
        return AccountKey(self.provider, self.base_url, self.account)


@dataclass(frozen=True, slots=True)
class Bypass:
    """Why a request cannot be batched and goes real time: a few words for people."""

    reason: str


@dataclass(frozen=True, slots=True)
class Item:
    """A request with its `key`: the custom_id at the provider, at most 64 of `[A-Za-z0-9_-]`."""

    key: str
    request: Request


@dataclass(frozen=True, slots=True)
class Job:
    """The provider's side of a batch: its `id`, and JSON-able `notes` that help to find or read it."""

    id: str
    notes: Mapping[str, str] = field(default_factory=dict)


class State(Enum):
    """What the provider says of a job, reduced to what we do about it."""

    RUNNING = "running"
    """Not finished, or a word that we do not know: ask again later."""
    ENDED = "ended"
    """Finished: whatever rows there are can be read (also after expiry or cancellation)."""
    FAILED = "failed"
    """Refused as a whole after its creation: no row ran."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One complaint of a provider about a whole job: `line` is 1-based, or None when it names no row. `status` is the
    HTTP status that its code stands for (500 for a failure of the provider's own), or None for one that concerns what
    was sent."""

    message: str
    code: str | None = None
    param: str | None = None
    line: int | None = None
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """One answer to a poll. `word` is the provider's own status word; `outputs` name the result files, and `reasons`
    those of them that hold no answers, only why rows failed."""

    state: State
    word: str
    done: int = 0
    total: int = 0
    outputs: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    errors: tuple[Fault, ...] = ()
    expires_at: float | None = None
    """Unix seconds after which the provider gives the job up."""
    retry_after: float | None = None
    """Seconds after which the provider wants to be asked again."""
    complete: bool = False
    """Whether the job ran to its end, so that it has results, whatever its counters say."""
    known: bool = True
    """False when `word` is not one that the provider's documentation lists."""


@dataclass(frozen=True, slots=True)
class Row:
    """One result line: the answer of the request with this key, or `response=None` when it never ran."""

    key: str
    response: Response | None
    reason: str = ""
    """Why the row never ran, in the provider's word (`batch_expired`, `canceled` ...)."""


@dataclass(frozen=True, slots=True, repr=False)
class Call:
    """One HTTP call that a provider's flow asks for.

    `chunks` replaces `request.body` by pieces sent one after the other, so that a large upload is never
    joined in memory. `repeatable` says that sending it twice does no harm: everything but the call that
    creates a job. `rows` says that the body is JSONL result rows: the engine streams it to where the results
    of the batch are kept, and the flow gets the response with an empty body. `unpack` makes such rows of a body that
    is held in memory, and the flow gets it too. `peek` reads at most that many bytes of the body and then hangs up.
    `pause` is how many seconds to wait before the call is sent. `unpack` raises `ValueError` for what it cannot read.
    """

    request: Request
    chunks: tuple[bytes, ...] = ()
    repeatable: bool = True
    rows: bool = False
    unpack: Callable[[bytes], bytes] | None = None
    peek: int | None = None
    pause: float = 0.0

    def __repr__(self) -> str:
        return f"<Call {self.request!r}{'' if self.repeatable else ' once'}>"


Flow = Generator[Call, Response, T]
"""Yields calls, is sent their responses, returns a value; opens no connection."""

Clock = Callable[[], float]
"""Unix seconds."""


@dataclass(frozen=True, slots=True, repr=False)
class Site:
    """Where a flow's calls go and as whom: a target with the `headers` (credential included) for it. `official` is
    false for a gateway, which may have no batch API at all."""

    target: Target
    headers: Headers = ()
    official: bool = True

    def __repr__(self) -> str:
        return f"<Site {self.target.base_url} as {self.target.account[:8]}>"
