"""How a test makes the embedded server misbehave, and how jobs and batches fail there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Body = dict[str, Any]
Row = tuple[str, Body]
"""A key and the JSON body of its request."""
Predicate = Callable[[Body], bool]
Stage = Literal["upload", "create", "job"]
"""When a provider looks at the rows of a batch: when they are uploaded, when a job is created, or after that."""


GRPC = {
    "CANCELLED": 1,
    "UNKNOWN": 2,
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
}


@dataclass(slots=True)
class Fault:
    """A fault for the next `times` calls whose method matches and whose path contains `part`."""

    method: str
    part: str
    times: float
    status: int = 0
    """0: the connection is closed without an answer."""
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    acts: bool = False
    """Whether the server does its work before the fault happens."""
    stalls: bool = False
    """Whether the connection stays open and silent."""
    cuts: bool = False
    """Whether the connection is closed after half of the body."""
    creates: bool = False
    """Whether it applies only to calls that create a job."""
    moved: Literal["", "slash", "host"] = ""
    """Where the call is redirected to: the same path with a slash at its end, or another host."""
    change: Callable[[bytes], bytes] | None = None
    """Changes the body of the real answer, which is otherwise left as it is."""


@dataclass(slots=True)
class RowFault:
    """Rows whose body matches the predicate fail with this status and error, at most `times` times."""

    predicate: Predicate
    status: int
    error: Any
    times: float


@dataclass(slots=True)
class RowLoss:
    """Rows whose body matches the predicate run but are missing from the results, at most `times` times."""

    predicate: Predicate
    times: float


@dataclass(slots=True)
class ListFault:
    """How the next `times` lists of jobs are wrong."""

    shows: Literal["nothing", "unreadable", "repeating"]
    times: float


@dataclass(frozen=True, slots=True)
class JobFault:
    """Why a job fails as a whole, and after which share of its rows. Without code and message, it gives no reason."""

    code: str | int
    message: str
    param: str | None = None
    line: int | None = None
    done: float = 0.0

    def words(self) -> Body:
        """The fault as OpenAI words it."""
        return {"code": self.code, "message": self.message, "param": self.param, "line": self.line}


@dataclass(frozen=True, slots=True)
class Objection:
    """A provider's objection to a batch as a whole. `blames` returns the values of the message's placeholders, None
    when there is nothing to object to."""

    at: Stage
    blames: Callable[[Sequence[Row]], Body | None]
    status: int
    message: str
    code: str | None
    param: str | None


def grpc_code(code: str | int) -> int:
    """The number of a gRPC code; that of INVALID_ARGUMENT for anything else."""
    return code if isinstance(code, int) else GRPC.get(code, 3)
