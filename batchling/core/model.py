"""The values that everything else passes around.

A `Request` is what a hook intercepts and also what a provider's flow sends; a `Response` is what came back and what the
caller gets. All values are immutable and safe to share between threads. No value here shows a secret or a prompt in its
`repr`.

Those of which there is one for each call are msgspec's structs: they are made several times faster than dataclasses,
and a garbage collection does not visit them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain
from typing import NamedTuple, TypeAlias, TypeVar
from urllib.parse import urlsplit

import msgspec

Headers = tuple[tuple[str, str], ...]
"""(lower-case name, value) pairs; order and repeats are kept."""

JSON: TypeAlias = object
"""A decoded JSON value: dict, list, str, int, float, bool or None. `isinstance` tells which."""

T = TypeVar("T")


def header(headers: Headers, name: str) -> str | None:
    """The first value of a header, by lower-case name; None if it is absent."""
    for key, value in headers:
        if key == name:
            return value
    return None


class Request(msgspec.Struct, frozen=True, gc=False):
    """One HTTP request, complete: `method` upper-case, `url` absolute with query, `body` as sent."""

    method: str
    url: str
    headers: Headers = ()
    body: bytes = b""

    def __repr__(self) -> str:
        parts = urlsplit(self.url)
        return f"<Request {self.method} {parts.hostname}{parts.path} {len(self.body)} bytes>"


class Response(msgspec.Struct, frozen=True, gc=False):
    """One HTTP response: `status`, `headers`, and the whole decoded `body` (never content-encoded)."""

    status: int
    headers: Headers = ()
    body: bytes = b""

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def __repr__(self) -> str:
        return f"<Response {self.status} {len(self.body)} bytes>"


class QueueKey(NamedTuple):
    """What all requests of a queue have in common."""

    provider: str
    endpoint: str
    model: str


class AccountKey(NamedTuple):
    """An account at one base URL of a provider's API."""

    provider: str
    base_url: str
    account: str


class Target(msgspec.Struct, frozen=True, gc=False):
    """What requests must have in common to share one batch.

    `base_url` is the root of the provider's API as the caller reached it (`https://api.openai.com/v1`); `endpoint` is
    the provider's name for the real-time call (`/v1/chat/completions`); `account` is a digest of the credential and its
    organisation, never the credential; `options` are the headers and query parameters that affect the result, sorted.
    """

    provider: str
    base_url: str
    endpoint: str
    model: str
    account: str
    options: Headers = ()

    @property
    def queue(self) -> QueueKey:
        """The strict queue key; batch size and window apply to each queue."""
        return QueueKey(self.provider, self.endpoint, self.model)

    @property
    def account_key(self) -> AccountKey:
        """The account whose limits and credential apply."""
        return AccountKey(self.provider, self.base_url, self.account)


@dataclass(frozen=True, slots=True)
class Bypass:
    """Why a request cannot be batched and goes real time, in a few words for people."""

    reason: str


class Item(msgspec.Struct, frozen=True, gc=False):
    """A request with its `key`: the custom_id at the provider, at most 64 characters from `[A-Za-z0-9_-]`."""

    key: str
    request: Request


@dataclass(frozen=True, slots=True)
class Job:
    """The provider's side of a batch: its `id`, and JSON-compatible `notes` that help to find or read it."""

    id: str
    notes: Mapping[str, str] = field(default_factory=dict)


class State(Enum):
    """The status of a job, reduced to what we do about it."""

    RUNNING = "running"
    """Not finished, or a word that we do not know: poll again later."""
    ENDED = "ended"
    """Finished: whatever rows there are can be read (even after expiry or cancellation)."""
    FAILED = "failed"
    """Refused as a whole after its creation: no row ran."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An error that a provider reports about a whole job. `line` is 1-based, or None if no row is named. `status` is
    the HTTP status that its code stands for (500 for the provider's own failure), or None if the error concerns what
    was sent."""

    message: str
    code: str | None = None
    param: str | None = None
    line: int | None = None
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """The response to one poll. `word` is the provider's own status word; `outputs` are the names of the result files,
    `reasons` those among them that contain no answers, only why rows failed."""

    state: State
    word: str
    done: int = 0
    total: int = 0
    outputs: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    errors: tuple[Fault, ...] = ()
    expires_at: float | None = None
    """Unix seconds after which the provider abandons the job."""
    retry_after: float | None = None
    """Seconds after which the provider wants to be polled again."""
    complete: bool = False
    """Whether the job ran to its end and so has results, whatever its counters say."""
    known: bool = True
    """False when `word` is not one that the provider's documentation lists."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """One result line: the answer to the request with this key, or `response=None` if it never ran."""

    key: str
    response: Response | None
    reason: str = ""
    """Why the row never ran, as the provider's own word (`batch_expired`, `canceled` ...)."""


@dataclass(frozen=True, slots=True, repr=False)
class Pieces:
    """A large body, made piece by piece while it is sent, and again for each attempt. `size` is its length in bytes;
    None if that is not known until the pieces are made."""

    make: Callable[[], Iterable[bytes]]
    size: int | None = None

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.make())

    def between(self, head: bytes, tail: bytes) -> Pieces:
        """The same body with something before and after it."""
        size = None if self.size is None else len(head) + self.size + len(tail)
        return Pieces(lambda: chain((head,), self, (tail,)), size)


@dataclass(frozen=True, slots=True, repr=False)
class Call:
    """One HTTP call that a provider's flow requests.

    `chunks` replaces `request.body` by pieces sent one after the other, so a large upload is never held in memory. They
    are iterated over once for each attempt, and once more if their size is not known: use `Pieces`, or a tuple.
    `repeatable`: sending it twice does no harm, which is true of everything except the call that creates a job. `rows`:
    the body consists of JSONL result rows; the engine streams it to where the results of the batch are kept, and the
    flow gets the response with an empty body. `unpack` converts a body that is held in memory to such rows, and the
    flow gets the body too; it raises `ValueError` for what it cannot read. `peek` reads at most that many bytes of the
    body and then hangs up. `pause` is how many seconds to wait before the call is sent.
    """

    request: Request
    chunks: Iterable[bytes] = ()
    repeatable: bool = True
    rows: bool = False
    unpack: Callable[[bytes], bytes] | None = None
    peek: int | None = None
    pause: float = 0.0

    def __repr__(self) -> str:
        return f"<Call {self.request!r}{'' if self.repeatable else ' once'}>"


Flow = Generator[Call, Response, T]
"""Yields calls, receives their responses, returns a value; opens no connection."""

Clock = Callable[[], float]
"""Unix seconds."""


@dataclass(frozen=True, slots=True, repr=False)
class Site:
    """Where a flow's calls go and for which account: a target with its `headers` (including the credential). `official`
    is false for a gateway, which may have no batch API at all."""

    target: Target
    headers: Headers = ()
    official: bool = True

    def __repr__(self) -> str:
        return f"<Site {self.target.base_url} as {self.target.account[:8]}>"
