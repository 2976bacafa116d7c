"""The calls that the embedded server has received, and what it has billed."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Bill:
    """One request that a provider would have charged. `key` and `job` are None for a real-time call; `body` is the
    SHA-256 of the canonical JSON body; `account` a digest of the credential."""

    provider: str
    endpoint: str
    model: str
    account: str
    body: str
    key: str | None
    job: str | None
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Seen:
    """One HTTP call that reached the server, with the status of the answer (0: not answered)."""

    method: str
    path: str
    account: str
    status: int


@dataclass(slots=True)
class Ledger:
    """Written by the server's thread; other threads that read it get what has been written so far."""

    bills: list[Bill] = field(default_factory=list)
    calls: list[Seen] = field(default_factory=list)
