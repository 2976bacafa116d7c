"""OpenTelemetry spans and metrics of a scope, by the GenAI semantic conventions. Needs `pip install batchling[otel]`.

    from batchling import batchify
    from batchling.telemetry import OpenTelemetry

    with batchify(on_event=OpenTelemetry()):
        ...

- Each batched call is a span of kind client, `chat gpt-5-mini`, a child of the span that was current where the call was
  made. It lasts from the call to its answer, has the token counts of the answer's own usage, and links to its batch's
  span.
- Each batch is a span in its own trace, `batch gpt-5-mini`, from its submission (or from when it was first waited for)
  to its end: `batchling.batch.id`, `batchling.job.id`, `batchling.batch.rows`, `.answered`, `.failed`.
- `gen_ai.client.operation.duration` and `gen_ai.client.token.usage` are recorded for each call. The tokens of an answer
  from the cache were paid for earlier, and are not counted again.

Calls that went real time are left to the instrumentation of their SDK; a dry run sends nothing and records nothing. No
prompt and no answer is recorded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from urllib.parse import urlsplit

import msgspec

from batchling.core import events
from batchling.core.fingerprint import decode_body
from batchling.core.kinds import Kind, kind_of
from batchling.core.model import JSON, Response, Target, header
from batchling.engine.waiter import Arrival
from batchling.money.usage import Answer, read, tokens
from batchling.providers import PROVIDERS
from batchling.providers.base import Provider
from batchling.system.gate import RealTime

try:
    from opentelemetry import context, metrics, trace
    from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode
except ImportError as _fault:
    raise ImportError("batchling.telemetry needs the OpenTelemetry API: pip install 'batchling[otel]'") from _fault

_SECONDS = tuple(0.01 * 2**power for power in range(24))
"""The conventions' buckets, which end at 82 seconds, continued by doubling up to a day."""
_TOKENS = tuple(float(4**power) for power in range(14))


class OpenTelemetry:
    """See the module docstring. Uses OpenTelemetry's global providers if none are given. Make one for each scope."""

    def __init__(
        self, tracer_provider: trace.TracerProvider | None = None, meter_provider: metrics.MeterProvider | None = None
    ) -> None:
        ours = version("batchling")
        self._tracer = trace.get_tracer("batchling", ours, tracer_provider)
        meter = metrics.get_meter("batchling", ours, meter_provider)
        self._durations = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "GenAI operation duration",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._open: dict[str, Span] = {}
        self._known: dict[str, SpanContext] = {}

    # Batches: on the listener's thread.

    def __call__(self, event: events.Event) -> None:
        """Process one event."""
        match event:
            case events.Submitted():
                self._begin_batch(event.target, event.batch, event.rows, {"batchling.job.id": event.job})
            case events.Attached():
                self._begin_batch(event.target, event.batch, event.rows, {"batchling.batch.attached": True})
            case events.Ended():
                self._end_batch(
                    event.batch,
                    {"batchling.batch.answered": event.answered, "batchling.batch.failed": event.failed},
                )
            case events.Died():
                self._end_batch(event.batch, {"error.type": "batch_died"}, event.reason)
            case events.Detached():
                # Their jobs keep running, but this process no longer watches them.
                for batch in tuple(self._open):
                    self._end_batch(batch, {"batchling.batch.detached": True})

    def _begin_batch(self, target: Target, batch: str, rows: int, more: Mapping[str, str | bool]) -> None:
        if batch in self._open:
            return
        attributes = {**_facts(target), "batchling.batch.id": batch, "batchling.batch.rows": rows, **more}
        span = self._tracer.start_span(
            f"batch {target.model}", context.Context(), kind=SpanKind.CLIENT, attributes=attributes
        )
        self._open[batch] = span
        self._known[batch] = span.get_span_context()

    def _end_batch(self, batch: str, attributes: Mapping[str, str | int | bool], fault: str | None = None) -> None:
        if (span := self._open.pop(batch, None)) is not None:
            span.set_attributes(attributes)
            if fault is not None:
                span.set_status(Status(StatusCode.ERROR, fault))
            span.end()

    # Calls: `begin` in the caller's thread, where its span is current; the rest on the listener's.

    def begin(self, call: Arrival) -> Callable[[int], None]:
        """Remember where a call was made; its span is made when the call is over and its batch is known."""
        around, began = context.get_current(), time.time_ns()
        return lambda ended: self._record(call, around, began, ended)

    def _record(self, call: Arrival, around: context.Context, began: int, ended: int) -> None:
        response, error = _outcome(call)
        if error == RealTime.__name__ or (response and header(response.headers, "x-batchling-dry-run")):
            return
        body = (decode_body(response.body) if response is not None and response.ok else None) or {}
        facts = _facts(call.target)
        if isinstance(model := body.get("model") or body.get("modelVersion"), str):
            facts["gen_ai.response.model"] = model
        if error is not None:
            facts["error.type"] = error
        waiter = call.waiter
        batch = waiter.batch if waiter is not None else ""
        cached = waiter is not None and waiter.followed
        usage = _usage(call.provider, call.target, body)
        span = self._tracer.start_span(
            f"{facts['gen_ai.operation.name']} {call.target.model}",
            around,
            kind=SpanKind.CLIENT,
            attributes={**facts, **usage, **_identity(body), "batchling.cached": cached, "batchling.batch.id": batch},
            links=[Link(self._known[batch])] if batch in self._known else [],
            start_time=began,
        )
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, error))
        span.end(ended)
        within = trace.set_span_in_context(span, around)
        self._durations.record((ended - began) / 1e9, facts, within)
        for kind in ("input", "output"):
            if not cached and (count := usage.get(f"gen_ai.usage.{kind}_tokens")) is not None:
                self._tokens.record(count, {**facts, "gen_ai.token.type": kind}, within)


def _outcome(call: Arrival) -> tuple[Response | None, str | None]:
    """The response to a finished call, and the kind of error, if it is one."""
    if call.cancelled():
        return None, "cancelled"
    if (fault := call.exception()) is not None:
        return None, type(fault).__name__
    response = call.result()
    return response, None if response.ok else str(response.status)


def _facts(target: Target) -> dict[str, str | int]:
    """The attributes that the conventions ask for on spans and metrics alike."""
    parts = urlsplit(target.base_url)
    known = PROVIDERS.get(target.provider)
    return {
        "gen_ai.operation.name": _operation(target.endpoint),
        "gen_ai.provider.name": (known.facts.telemetry if known is not None else "") or target.provider,
        "gen_ai.request.model": target.model,
        "server.address": parts.hostname or "",
        "server.port": parts.port or (80 if parts.scheme == "http" else 443),
    }


def _operation(endpoint: str) -> str:
    """The conventions' name for an endpoint; the endpoint's own path where they have none."""
    match kind_of(endpoint):
        case Kind.EMBEDDINGS | Kind.GENERATE_CONTENT | Kind.COMPLETIONS as kind:
            return str(kind.value)
        case kind if kind.chats:
            return "chat"
    return endpoint.lower().strip(":/").removeprefix("v1/")


def _identity(body: Mapping[str, JSON]) -> dict[str, str]:
    name = body.get("id") or body.get("responseId")
    return {"gen_ai.response.id": name} if isinstance(name, str) else {}


def _usage(provider: Provider, target: Target, body: Mapping[str, JSON]) -> dict[str, int]:
    """The tokens of an answer, counted as for its cost: input includes what was read from or written to the cache,
    output includes reasoning. Empty when the answer does not report them."""
    if not body:
        return {}
    try:
        found = tokens(read(provider.facts.prices, target.endpoint, msgspec.convert(body, Answer)))
    except Exception:  # whatever an answer contains, the caller gets it
        return {}
    counts = {
        "input_tokens": found.input,
        "output_tokens": found.output,
        "cache_read.input_tokens": found.cached,
        "cache_creation.input_tokens": found.written,
    }
    return {f"gen_ai.usage.{name}": count for name, count in counts.items() if count or "." not in name}
