"""The table: what can happen to a call on the wire, times every call that a provider's flows make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from time import time

from batchling.testing import ProviderServer

HTML = b"<html><body>Bad gateway</body></html>"
DENIED = b'{"type": "error", "error": {"type": "authentication_error", "message": "no", "code": "invalid_api_key"}}'
UNKNOWN = b'{"type": "error", "error": {"type": "not_found_error", "message": "unknown", "code": null}}'


@dataclass(frozen=True)
class Step:
    """One call of a provider's flows. `settling`: it is only made when the reply of a create call was lost."""

    provider: str
    name: str
    method: str
    part: str
    settling: bool = False


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong once. `refused` marks the one that the operating system has to do."""

    name: str
    inject: Callable[[ProviderServer, Step], None] | None = None
    refused: bool = False
    status: int = 0


@dataclass(frozen=True)
class Cell:
    fault: Fault
    step: Step

    def __str__(self) -> str:
        return f"{self.step.provider}-{self.step.name}-{self.fault.name}"


STEPS = [
    Step("openai", "upload", "POST", "/files"),
    Step("openai", "create", "POST", "/batches"),
    Step("openai", "list", "GET", "/batches", settling=True),
    Step("openai", "poll", "GET", "/batches/"),
    Step("openai", "download", "GET", "/content"),
    Step("anthropic", "create", "POST", "/batches"),
    Step("anthropic", "list", "GET", "/batches", settling=True),
    Step("anthropic", "peek", "GET", "/results", settling=True),
    Step("anthropic", "poll", "GET", "/batches/"),
    Step("anthropic", "download", "GET", "/results"),
]


def status(code: int, body: bytes = b"{}", **headers: str) -> Callable[[ProviderServer, Step], None]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda server, step: server.fail_call(step.method, step.part, code, body, named)


FAULTS = [
    Fault("connection_refused", refused=True),
    Fault("reset_before_the_server_acted", lambda server, step: server.drop_call(step.method, step.part)),
    Fault("reset_after_the_server_acted", lambda server, step: server.lose_reply(step.method, step.part)),
    Fault("timeout_before_the_server_acted", lambda server, step: server.stall_call(step.method, step.part)),
    Fault("timeout_after_the_server_acted", lambda server, step: server.stall_call(step.method, step.part, acts=True)),
    Fault("429", status(429)),
    Fault("429_retry_after_seconds", status(429, retry_after="0.05")),
    Fault(
        "429_retry_after_date",
        lambda server, step: status(429, retry_after=formatdate(time() + 1, usegmt=True))(server, step),
    ),
    Fault("500", status(500)),
    Fault("502_html", status(502, HTML)),
    Fault("503", status(503)),
    Fault("529", status(529)),
    Fault("500_after_the_server_acted", lambda server, step: server.lose_reply(step.method, step.part, 500)),
    Fault("504_after_the_server_acted", lambda server, step: server.lose_reply(step.method, step.part, 504)),
    Fault("html", status(200, HTML)),
    Fault(
        "truncated_json", lambda server, step: server.change_reply(step.method, step.part, lambda b: b[: len(b) // 2])
    ),
    Fault("no_json_object", status(200, b"[]")),
    Fault("empty_object", status(200, b"{}")),
    Fault("cut_off", lambda server, step: server.cut_reply(step.method, step.part)),
    Fault("404", status(404, UNKNOWN), status=404),
    Fault("401", status(401, DENIED), status=401),
]

CELLS = [Cell(fault, step) for step in STEPS for fault in FAULTS]

QUICK = [cell for number, cell in enumerate(CELLS) if number % (len(FAULTS) + 1) in (0, 11)]
"""Every call and every fault twice or so: what a newcomer runs; the others are slow."""
