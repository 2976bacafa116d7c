"""What a provider is: pure knowledge of one API family, as flows and parsers. No I/O here or below.

A flow never opens a connection: it yields `Call`s and is sent `Response`s. It raises `Refused` when the
provider refuses. The caller's JSON body is passed through complete.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import lru_cache
from typing import Literal, Protocol, runtime_checkable
from urllib.parse import quote

import msgspec

from batchling.core.fingerprint import digest
from batchling.core.lenient import value
from batchling.core.model import (
    JSON,
    Bypass,
    Call,
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
from batchling.core.text import web_address


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


CLOCK_SLACK = 800.0
"""Seconds by which the clock that dates a provider's jobs may differ from its Date headers, when a lost job is looked
for. The job's tag or keys prove whose it is."""

LONGEST_CREATE = 7_200.0
"""Seconds after which a create call that was sent is over, however large: a job created later is not ours."""

MOST_PAGES = 1_000
"""The maximum number of pages of a list of jobs that are read when a lost job is looked for."""

JSON_TYPE = ("content-type", "application/json")


@lru_cache(maxsize=1024)
def account_of(headers: Headers) -> str:
    """A digest of the headers that contain a credential and its organisation; their order does not matter."""
    return digest(*(part for pair in sorted(headers) for part in pair))


def chosen(headers: Headers, names: Iterable[str]) -> Headers:
    """The headers that have one of these names, in their original order."""
    return tuple(pair for pair in headers if pair[0] in names)


def row_pieces(prefix: str, items: Sequence[Item], suffix: bytes) -> Iterable[bytes]:
    """The rows of a batch as pieces that share the callers' bodies: `prefix % key`, body, `suffix`.

    A line break in JSON text occurs only between tokens (inside a string it is escaped), so a space means the
    same and keeps the row on one line.
    """
    for item in items:
        body = item.request.body
        if b"\n" in body or b"\r" in body:
            body = body.replace(b"\r", b" ").replace(b"\n", b" ")
        yield (prefix % item.key).encode()
        yield body
        yield suffix


def request(method: str, at: Site, path: str, body: JSON = None) -> Request:
    """A call to `path` under the API root of a site, as the site's account, with a JSON body if one is given."""
    if body is None:
        return Request(method, at.target.base_url + path, at.headers)
    return Request(method, at.target.base_url + path, (*at.headers, JSON_TYPE), msgspec.json.encode(body))


def segment(id: str) -> str:
    """An id as one segment of a path, whatever characters it contains."""
    return quote(id, safe="") if id not in (".", "..") else quote(id, safe="").replace(".", "%2E")


def read_json(response: Response) -> dict[str, JSON]:
    """The JSON object of a success. Raises `Refused` for an error response and `Garbled` for anything else."""
    if not response.ok:
        raise Refused(response)
    try:
        payload = value(response.body)
    except ValueError:
        raise Garbled(f"HTTP {response.status} with a body that is not JSON") from None
    if not isinstance(payload, dict):
        raise Garbled(f"HTTP {response.status} with a body that is not a JSON object")
    return payload


def read_fault(response: Response) -> Fault:
    """The content of an error response, whoever wrote it: the `error` object of the body if there is one, or else the
    text under one of the names that providers use."""
    try:
        body = read_object(value(response.body))
    except ValueError:
        body = {"message": _plain_text(response.body)}
    error = read_object(body.get("error")) or read_object(body.get("detail")) or body
    code = read_text(read_object(error.get("details")).get("error_code"))
    texts = map(read_text, (error.get("message"), error.get("error"), error.get("detail")))
    return Fault(
        next(filter(None, texts), f"HTTP {response.status}"),
        code or read_text(error.get("code")) or read_text(error.get("status")) or read_text(error.get("type")),
        read_text(error.get("param")),
    )


def _plain_text(body: bytes) -> str | None:
    """An error that a provider returns as plain text (Doubleword, Parasail); None for a proxy's HTML."""
    text = " ".join(body[:500].decode(errors="replace").split())
    return text if text.isprintable() and not text.startswith("<") else None


def read_rows(asked: Request) -> Flow[None]:
    """Read a file of results. Raises `Refused`."""
    response = yield Call(asked, rows=True)
    if not response.ok:
        raise Refused(response)


def every(files: Iterable[tuple[Flow[None], bool]]) -> Flow[None]:
    """Read result files, each given as its own flow and whether it may contain answers. A file that cannot be read does
    not stop the others from being read. If no file could be read, raises what the first one with answers raised; if
    some could, or if only the reasons of failures are missing, raises `Unread`."""
    lost: list[tuple[Refused | BrokenOff, bool]] = []
    read = 0
    for flow, vital in files:
        try:
            yield from flow
        except (Refused, BrokenOff) as fault:
            lost.append((fault, vital))
        else:
            read += 1
    lost.sort(key=lambda each: not each[1])
    if lost:
        worst, vital = lost[0]
        if vital and not read:
            raise worst
        raise Unread(worst.response if isinstance(worst, Refused) else Response(502, (), b""), vital=vital) from worst


_LONGEST_ID = 8_192
"""The maximum length of an id: a longer one would not fit into a URL."""
_MOST = 10**12
"""A larger number cannot be a count of anything that a provider has."""
_LATEST = 7_258_118_400.0
"""The year 2200 in Unix seconds."""


def read_id(job: dict[str, JSON], name: str = "id") -> str:
    """The id of what a call has created, under the name that this API uses. Raises `Garbled` when there is none."""
    found = job.get(name)
    if not isinstance(found, str) or not 0 < len(found) <= _LONGEST_ID or read_text(found) != found:
        raise Garbled(f"a success without {name}")
    return found


_LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|::1")


def read_link(value: JSON, at: Site) -> str:
    """A link from a response, for a call without any credential: over TLS, or on this machine if the API is there, too.
    Raises `Garbled` for any other."""
    link, here = web_address(value), web_address(at.target.base_url)
    if link is not None and here is not None:
        plain = all(each.scheme == "http" and _LOOPBACK.fullmatch(each.hostname or "") for each in (link, here))
        if link.scheme == "https" or plain:
            return link.geturl()
    raise Garbled("a link that is invalid or not over TLS")


def read_object(value: JSON) -> dict[str, JSON]:
    """A JSON object; empty when the value is anything else."""
    return value if isinstance(value, dict) else {}


def read_objects(value: JSON) -> list[dict[str, JSON]]:
    """The objects of a JSON array; empty when the value is anything else."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def read_text(value: JSON) -> str | None:
    """A non-empty string, or None: absent ids come as null, "" and {}. A lone surrogate, which UTF-8 cannot represent,
    becomes a question mark."""
    if not isinstance(value, str) or not value:
        return None
    return value if value.isascii() else value.encode(errors="replace").decode()


def error_status(code: str) -> int | None:
    """The HTTP error status that this code is; None for a word or any other number."""
    return int(code) if len(code) == 3 and code.isdecimal() and 400 <= int(code) <= 599 else None


def read_count(value: JSON) -> int:
    """A count that may be missing, null, or a string of digits; 0 when it is absent or not a possible count."""
    try:
        found = int(value) if isinstance(value, int | float | str) else 0
    except (ValueError, OverflowError):
        return 0
    return found if 0 <= found <= _MOST else 0


def read_moment(value: JSON) -> float:
    """Unix seconds of a time that is a number or RFC 3339 text; 0.0 when it is not a time, or after the year 2199."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        found: float = value
    else:
        try:
            found = datetime.fromisoformat(str(value)).timestamp()
        except (ValueError, OverflowError):
            return 0.0
    return float(found) if 0 < found < _LATEST else 0.0
