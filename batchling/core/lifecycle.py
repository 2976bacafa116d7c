"""The life cycle of a batch: the record that survives a crash, and the table of its moves.

Two rules rely on this table: only what the provider reports moves a record (a network failure moves nothing), and no
create call is sent without a PLANNED record in the store. A record never contains a credential, a prompt or an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import msgspec

from batchling.core.cost import Cost
from batchling.core.model import Job, Target
from batchling.core.seal import Seal

SCHEMA = 2
"""Version of the JSON format; a record with a higher version is not touched."""

_STORED_SECONDS = 60.0
"""How old the stored status of a job becomes while the provider reports the same."""


class Phase(Enum):
    """Where a batch stands."""

    PLANNED = "planned"
    """In the store. Before `Record.left_at` is set, the provider has no job for it; after that, it may have one."""
    RUNNING = "running"
    """The provider has returned the job's id."""
    ENDED = "ended"
    """Results can be read, any number of times, until they lapse."""
    DEAD = "dead"
    """Refused, failed or lapsed: its keys are free again."""


MOVES: Mapping[Phase, frozenset[Phase]] = {
    Phase.PLANNED: frozenset({Phase.PLANNED, Phase.RUNNING, Phase.DEAD}),
    Phase.RUNNING: frozenset({Phase.RUNNING, Phase.ENDED, Phase.DEAD}),
    Phase.ENDED: frozenset({Phase.DEAD}),
    Phase.DEAD: frozenset(),
}


class IllegalMove(Exception):
    """A move that is not in the table; the record is unchanged."""


@dataclass(frozen=True, slots=True)
class Record:
    """What must be known about a batch after a crash.

    `members` are the keys in the order of their rows; `freed` are those without an answer (failed, never ran, missing),
    which may be sent again. `created_at` and `expires_at` are in Unix seconds.
    """

    id: str
    target: Target
    members: tuple[str, ...]
    created_at: float
    phase: Phase = Phase.PLANNED
    left_at: float | None = None
    job: Job | None = None
    expires_at: float | None = None
    freed: frozenset[str] = field(default_factory=frozenset)
    reason: str = ""
    cost: Cost | None = None
    """The cost of its answers, counted by the run that read them first; None until they are read, and in records that
    are older than this field."""

    def move(self, phase: Phase, **changes: Any) -> Record:
        """This record in its next phase. Raises `IllegalMove` if `MOVES` does not allow it."""
        if phase not in MOVES[self.phase]:
            raise IllegalMove(f"batch {self.id}: {self.phase.name} cannot become {phase.name}")
        return replace(self, phase=phase, **changes)

    @property
    def holds(self) -> tuple[str, ...]:
        """The keys that belong to this record and to no other."""
        if self.phase is Phase.DEAD:
            return ()
        return tuple(key for key in self.members if key not in self.freed) if self.freed else self.members


@dataclass(frozen=True, slots=True)
class Progress:
    """The status of a job as the provider last reported it, at `asked_at`. It is kept beside the record and not in it:
    it changes often, and nothing depends on it."""

    word: str
    done: int
    total: int
    asked_at: float
    expires_at: float | None = None

    def outdates(self, stored: Progress | None) -> bool:
        """Whether it is worth storing in place of an earlier one, which says something else or looks old by now."""
        if stored is None or not 0 <= self.asked_at - stored.asked_at < _STORED_SECONDS:
            return True
        return replace(self, asked_at=stored.asked_at) != stored


class NewerSchema(ValueError):
    """A record that a newer batchling wrote."""


class Unsealed(ValueError):
    """A record that this cache did not write."""


class _Head(msgspec.Struct):
    schema: int


class _Stored(msgspec.Struct):
    schema: int
    seal: str
    record: msgspec.Raw


def to_json(record: Record, seal: Seal) -> bytes:
    """The sealed JSON document of a record, UTF-8, on one line; equal for equal records."""
    document = msgspec.json.encode(record, order="deterministic")
    return msgspec.json.encode(_Stored(SCHEMA, seal.sign(document), msgspec.Raw(document)))


def from_json(document: bytes, seal: Seal) -> Record:
    """The record in a JSON document. Raises `NewerSchema`, `Unsealed`, or `ValueError` if it is damaged."""
    try:
        schema = msgspec.json.decode(document, type=_Head).schema
        if schema > SCHEMA:
            raise NewerSchema(f"its schema {schema} is newer than this batchling can read ({SCHEMA})")
        if schema < SCHEMA:
            raise Unsealed("an older batchling wrote it, without a seal")
        stored = msgspec.json.decode(document, type=_Stored)
        if not seal.fits(stored.seal, bytes(stored.record)):
            raise Unsealed("it was edited, or belongs to another cache: its seal does not match")
        return msgspec.json.decode(stored.record, type=Record)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        raise ValueError("not a batchling record") from fault
