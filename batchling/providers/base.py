"""What a provider is: pure knowledge of one API family, as flows and parsers. No I/O here or below.

A flow never opens a connection: it yields `Call`s and is sent `Response`s. It raises `Refused` when the
provider says no. The caller's JSON body is passed through whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from batchling.core.model import Bypass, Fault, Flow, Item, Job, Request, Response, Row, Site, Status, Target


class Refused(Exception):
    """The provider answered a call of a flow with an error; `response` is that answer, whole."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"HTTP {response.status}")
        self.response = response


class Unsettled(Exception):
    """`find` cannot tell yet whether a job exists; ask again later. The text says why."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one batch may hold, and what it costs compared with real time (0.5 is half price)."""

    rows: int
    bytes: int
    line_bytes: int
    price: float = 0.5


@dataclass(frozen=True, slots=True)
class Route:
    """A URL that a provider knows: the API root as the caller reached it, and the endpoint's name."""

    base_url: str
    endpoint: str
    query: str
    official: bool
    """False for gateways, whose further headers belong to the account."""


class Provider(Protocol):
    """One API family. Stateless; every method may be called from any thread."""

    name: str
    hosts: frozenset[str]
    """The official hosts, lower-case."""
    limits: Limits

    def route(self, method: str, url: str, *, official: bool) -> Route | None:
        """The route of a call by method and URL alone; None when it is none that can be batched."""

    def target(self, route: Route, request: Request, body: dict[str, object]) -> Target | Bypass:
        """What the request may share a batch with; or why it cannot be batched."""

    def site(self, target: Target, request: Request) -> Site:
        """The target with the caller's own credential and version headers, for our calls."""

    def submit(self, at: Site, items: Sequence[Item], tag: str) -> Flow[Job]:
        """Create a job of these items, tagged so that `find` can tell it from all others."""

    def poll(self, at: Site, job: Job) -> Flow[Status]:
        """Ask how the job stands."""

    def fetch(self, at: Site, job: Job, status: Status) -> Flow[None]:
        """Yield one `Call(rows=True)` for each result file there is."""

    def row(self, line: bytes) -> Row:
        """What one result line says. Raises `ValueError` when it says nothing we can read."""

    def find(self, at: Site, tag: str, keys: Sequence[str], since: float, known: frozenset[str]) -> Flow[Job | None]:
        """The job of a submission whose reply was lost: created after `since` (Unix seconds), none of the
        `known` job ids. None when it surely does not exist; raises `Unsettled` when that cannot be told yet."""

    def cancel(self, at: Site, job: Job) -> Flow[None]:
        """Ask the provider to stop the job."""

    def failure(self, status: int, fault: Fault) -> Response:
        """An error response in the provider's own shape."""

    def rehearse(self, target: Target, body: dict[str, object]) -> Response:
        """A plausible synthetic answer, for the dry run."""
