"""What a provider is: pure knowledge of one API family, as flows and parsers. No I/O here or below.

A flow never opens a connection: it yields `Call`s and is sent `Response`s. It raises `Refused` when the
provider refuses. The caller's JSON body is passed through complete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal, Protocol, runtime_checkable

from batchling.core.model import (
    JSON,
    Bypass,
    Fault,
    Flow,
    Headers,
    Item,
    Job,
    Request,
    Response,
    Row,
    Site,
    Status,
    Target,
)
from batchling.core.neutral import NOTHING, Neutral


class Refused(Exception):
    """The provider answered a call of a flow with an error; `response` is the complete error response."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"HTTP {response.status}")
        self.response = response


class Unread(Refused):
    """Part of a job's results cannot be read; the rest has been read. `vital` means that the missing part may contain
    answers; otherwise it only says why rows failed."""

    def __init__(self, response: Response, *, vital: bool = True) -> None:
        super().__init__(response)
        self.vital = vital


class BrokenOff(Exception):
    """Thrown into a flow in place of a response: the response to a call for results broke off."""


class Garbled(Exception):
    """The provider answered a call with a success that cannot be read (a proxy's HTML, truncated JSON)."""


class Unsettled(Exception):
    """`find` cannot tell yet whether a job exists; try again later. The text says why."""


class Unlisted(Unsettled):
    """`find` cannot tell because the list of jobs is unusable, and waiting for jobs does not help."""


class Verdict(Enum):
    """What a provider's refusal of a batch means for its requests."""

    NO = "no"
    """Final: it is returned to the callers."""
    LATER = "later"
    """Not now: the same call is worth another attempt."""
    FULL = "full"
    """The account's queue holds too much: wait until running batches have ended, or send less at a time."""
    LARGE = "large"
    """Too much for one batch: send less at a time."""
    SMALL = "small"
    """Too little for one batch: these requests go real time."""
    REAL_TIME = "real time"
    """The model has no batch form, or does not exist: the requests go real time."""
    ABSENT = "absent"
    """The host has no batch API, for any model: the requests go real time."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one batch may hold, and what it costs compared with real time (0.5 is half price; None is unknown, or
    not the same for every model).

    `cached` says what tokens from the provider's prompt cache cost in a batch: "batch" for the cache's price times
    `price`, "kept" for the cache's price alone, "lost" for as much as other tokens in the batch.

    `row` is the size of the largest row in bytes, `inputs` the number of embedding inputs in all rows together,
    `creates_per_hour` the number of batches that an account may create, `in_flight` the number it may have at a time.
    None: no limit is known. A batch of fewer than `least` rows is refused. `window` is how many seconds a job may take,
    `poll` the minimum number of seconds between polls of a job that the provider asks for.

    Where `discounted` names models, all others cost the same in a batch as in real time.
    """

    rows: int
    bytes: int
    row: int | None = None
    inputs: int | None = None
    creates_per_hour: int | None = None
    in_flight: int | None = None
    price: float | None = 0.5
    cached: Literal["batch", "kept", "lost", "unknown"] = "batch"
    least: int = 1
    window: float = 86_400.0
    poll: float = 0.0
    discounted: tuple[str, ...] = ()

    def price_of(self, model: str) -> float | None:
        """What a model costs in a batch compared with real time; None if unknown."""
        return 1.0 if self.discounted and model not in self.discounted else self.price


@dataclass(frozen=True, slots=True)
class Facts:
    """What users want to know about a provider; the tables in the docs and in `batchling providers` are made from it.

    `window` is how long a job may take, `find` how a job is found again after a lost reply, `retention` how long the
    provider keeps results, `variables` the environment variables from which SDKs read the credential, `quirks` what
    may surprise. `discount` is a wording for where `Limits.price` is not the whole truth. `prices` is the provider's
    name in genai-prices; empty when it is not there and its prices are unknown. `neutral` names the parts of a request
    body that cannot change an answer, so they are ignored when requests are compared. `separates` are the lower-case
    names of the headers that tell accounts and options apart at the provider's own hosts.
    """

    title: str
    window: str
    find: str
    retention: str
    variables: tuple[str, ...]
    cancel: str = "yes"
    discount: str = ""
    quirks: tuple[str, ...] = ()
    prices: str = ""
    neutral: Neutral = NOTHING
    separates: tuple[str, ...] = ("authorization",)
    telemetry: str = ""
    """The provider's name in the OpenTelemetry conventions, where it differs from ours."""
    key_headers: tuple[tuple[str, ...], ...] = (("authorization",), ("x-api-key",))
    """The headers in which SDKs send a key, the usual ones first. In `authorization` it is sent as a bearer token."""
    token_headers: tuple[tuple[str, ...], ...] = ()
    """The same for a token, where they differ."""
    token_variable: str = ""
    """The variable that holds a token of the provider's cloud, used when that cloud's library is not installed."""
    more_headers: tuple[tuple[str, str], ...] = ()
    """Variables that the provider's SDK turns into another header, wherever it calls: other providers that speak the
    same API, and gateways, get it too."""
    header_options: tuple[str, ...] = ()
    """Beginnings of those options of a target that are headers, and belong to a call that shows its account."""
    quota_header: str = ""
    """The header that names the paying project, next to a token of the cloud."""
    cloud: Literal["", "google", "microsoft"] = ""
    """The cloud whose library provides fresh tokens."""


@dataclass(frozen=True, slots=True)
class Route:
    """A URL that a provider recognises: the API root as the caller reached it, and the endpoint's name.

    `endpoint` is empty for a paid call that no batch can contain. `official` is false for gateways, where the
    other headers belong to the account, too.
    """

    base_url: str
    endpoint: str
    query: str
    official: bool


@runtime_checkable
class Adjustable(Protocol):
    """A provider that takes no batches until it is configured, which an environment variable can do."""

    @property
    def setting_variable(self) -> str:
        """The environment variable that configures it."""

    @property
    def lacks(self) -> str:
        """What has to be configured, in words; empty when nothing is missing."""

    def with_setting(self, value: str) -> Provider:
        """This provider with the value of its variable. Raises a `ValueError` that says what the value must look
        like."""

    def example(self, target: Target) -> tuple[Provider, str]:
        """A provider and the URL of a call, whose target differs from this one only in its account."""


class Provider(Protocol):
    """One API family. Stateless; every method may be called from any thread."""

    @property
    def name(self) -> str: ...

    @property
    def roots(self) -> tuple[str, ...]:
        """The official API roots (`https://api.openai.com/v1`). A `*` in the host stands for anything that a host may
        have there (`https://*.openai.azure.com/openai`)."""

    @property
    def limits(self) -> Limits: ...

    @property
    def facts(self) -> Facts: ...

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The paths of the real-time calls that have a batch form, below a root."""

    def route(self, method: str, url: str, *, official: bool) -> Route | None:
        """The route of a call, by method and URL alone; None when the call costs nothing or is not ours."""

    def target(self, route: Route, request: Request, body: dict[str, JSON]) -> Target | Bypass:
        """Which requests this one may share a batch with, or why it cannot be batched."""

    def site(self, target: Target, route: Route, request: Request) -> Site:
        """The target with the caller's own credential and version headers, for our calls."""

    def submit(self, at: Site, items: Sequence[Item], tag: str) -> Flow[Job]:
        """Create a job of these items, in this order, tagged so that `find` can tell it apart from all others."""

    def poll(self, at: Site, job: Job) -> Flow[Status]:
        """Get the status of the job."""

    def fetch(self, at: Site, job: Job, status: Status) -> Flow[None]:
        """Yield one `Call(rows=True)` for each result file."""

    def row(self, line: bytes) -> Row:
        """The content of one result line. Raises `ValueError` when it cannot be read."""

    def find(self, at: Site, tag: str, keys: Sequence[str], since: float, taken: frozenset[str]) -> Flow[Job | None]:
        """The job of a submission whose reply was lost, created after `since` (Unix seconds); `taken` are the ids of
        jobs that are known not to be this one. None when the provider lists no such job; raises `Unsettled` when that
        cannot be determined yet."""

    def cancel(self, at: Site, job: Job) -> Flow[None]:
        """Ask the provider to stop the job."""

    @property
    def renew(self) -> Callable[[], Headers] | None:
        """A function that returns the headers of a fresh credential, for accounts whose credentials expire while a job
        runs. It may block and raise anything; None when there is only the caller's own credential."""

    def judge(self, status: int, fault: Fault) -> Verdict:
        """What a refusal means. `status` is that of a submitting call or of a row, or 400 for a job that failed as a
        whole."""

    def weight(self, body: dict[str, JSON]) -> int:
        """How many of `Limits.inputs` a request body uses; 0 where there is no such limit."""

    def failure(self, status: int, fault: Fault) -> Response:
        """An error response in the provider's own shape."""

    def rehearse(self, target: Target, body: dict[str, JSON]) -> Response:
        """A plausible synthetic answer, for the dry run."""


@runtime_checkable
class Tidies(Protocol):
    """An optional part of a provider, since not every provider lets us clean up."""

    def tidy(self, at: Site, job: Job) -> Flow[None]:
        """Delete the input of a job once it is no longer needed, but never its results. The response is ignored."""


@runtime_checkable
class Lists(Protocol):
    """An optional part of a provider, for those that show several jobs in one answer."""

    def poll_all(self, at: Site, jobs: Sequence[Job]) -> Flow[Mapping[str, Status]]:
        """Get the statuses of those of these jobs that the provider's list shows, by id. A job may be missing, for
        whatever reason: it is polled on its own then, and so is one that is over."""


CLOCK_SLACK = 800.0
"""Seconds by which the clock that dates a provider's jobs may differ from its Date headers, when a lost job is looked
for. The job's tag or keys prove whose it is."""

LONGEST_CREATE = 7_200.0
"""Seconds after which a create call that was sent is over, however large: a job created later is not ours."""

MOST_PAGES = 1_000
"""The maximum number of pages of a list of jobs that are read when a lost job is looked for."""
