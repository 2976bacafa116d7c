"""OpenTelemetry: what a program's exporters get of a scope, by the real SDK."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from batchling.core.model import Response, Target
from batchling.money.meter import Meter
from batchling.providers import PROVIDERS
from batchling.telemetry import OpenTelemetry, _facts, _usage
from batchling.testing import ProviderServer
from tests.engine.calls import ask, ask_all, ask_claude, scope, together
from tests.engine.open_scope import batcher


class Exporters:
    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.reader = InMemoryMetricReader()
        self.listener = OpenTelemetry(self.tracers, MeterProvider([self.reader]))

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans.get_finished_spans() if span.name == name]

    def points(self, name: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for inside in resource.scope_metrics
            for metric in inside.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


def test_a_call_is_a_child_of_its_callers_span_and_linked_with_its_batch(provider_server: ProviderServer) -> None:
    seen = Exporters()
    with scope(provider_server, on_event=seen.listener, **together(2)):
        with seen.tracers.get_tracer("program").start_as_current_span("work") as work:
            answers = ask_all(provider_server, ["a", "b"])

    usages = [answer.json()["usage"] for answer in answers]
    (batch,) = seen.named("batch m")
    calls = seen.named("chat m")
    assert len(calls) == 2
    for call in calls:
        assert call.kind is SpanKind.CLIENT
        assert call.parent is not None
        assert call.parent.span_id == work.get_span_context().span_id
        assert [link.context.span_id for link in call.links] == [batch.get_span_context().span_id]
        facts = dict(call.attributes or {})
        assert facts["gen_ai.operation.name"] == "chat"
        assert facts["gen_ai.provider.name"] == "openai"
        assert facts["gen_ai.request.model"] == facts["gen_ai.response.model"] == "m"
        used = (facts["gen_ai.usage.input_tokens"], facts["gen_ai.usage.output_tokens"])
        assert used in [(usage["prompt_tokens"], usage["completion_tokens"]) for usage in usages]
        assert facts["batchling.cached"] is False
    assert batch.parent is None
    facts = dict(batch.attributes or {})
    assert facts["batchling.batch.rows"] == facts["batchling.batch.answered"] == 2
    assert str(facts["batchling.job.id"]).startswith("batch")
    (duration,) = seen.points("gen_ai.client.operation.duration")
    assert duration.count == 2
    assert duration.explicit_bounds[-1] > 80_000
    tokens = {point.attributes["gen_ai.token.type"]: point.sum for point in seen.points("gen_ai.client.token.usage")}
    assert tokens == {
        "input": sum(usage["prompt_tokens"] for usage in usages),
        "output": sum(usage["completion_tokens"] for usage in usages),
    }


@pytest.mark.thorough
def test_tokens_of_the_cache_are_not_counted_again(provider_server: ProviderServer) -> None:
    with scope(provider_server):
        ask(provider_server, "hi")
    seen = Exporters()
    with scope(provider_server, on_event=seen.listener):
        ask(provider_server, "hi")

    (call,) = seen.named("chat m")
    assert call.attributes is not None
    assert call.attributes["batchling.cached"] is True
    assert "gen_ai.usage.input_tokens" in call.attributes
    assert seen.points("gen_ai.client.token.usage") == []


@pytest.mark.thorough
def test_a_failed_row_is_an_error(provider_server: ProviderServer) -> None:
    provider_server.fail_rows(lambda body: True, 400, {"error": {"message": "no"}})
    seen = Exporters()
    with scope(provider_server, on_event=seen.listener):
        assert ask(provider_server, "hi").status_code == 400

    (call,) = seen.named("chat m")
    assert call.attributes is not None
    assert call.attributes["error.type"] == "400"
    assert call.status.status_code is StatusCode.ERROR
    (duration,) = seen.points("gen_ai.client.operation.duration")
    assert duration.attributes["error.type"] == "400"


@pytest.mark.thorough
def test_a_dry_run_and_a_real_time_call_leave_no_span(provider_server: ProviderServer) -> None:
    seen = Exporters()
    with scope(provider_server, on_event=seen.listener, dry_run=True):
        ask(provider_server, "hi")
    with scope(provider_server, on_event=seen.listener):
        ask(provider_server, "hi", stream=True)

    assert seen.spans.get_finished_spans() == ()


@pytest.mark.thorough
def test_a_scope_left_early_ends_its_spans(provider_server: ProviderServer) -> None:
    provider_server.hold()
    seen = Exporters()

    def listen(event: Any) -> None:
        if type(event).__name__ == "Submitted":
            batcher().detach()

    left_early = pytest.raises(BaseException, match="scope was left")
    with left_early, scope(provider_server, on_event=[listen, seen.listener]):
        ask(provider_server, "hi")

    (batch,) = seen.named("batch m")
    assert batch.attributes is not None
    assert batch.attributes["batchling.batch.detached"] is True
    (call,) = seen.named("chat m")
    assert call.attributes is not None
    assert call.attributes["error.type"] == "Detached"


@pytest.mark.thorough
def test_anthropic_input_includes_what_came_from_the_cache(provider_server: ProviderServer) -> None:
    seen = Exporters()
    with scope(provider_server, on_event=seen.listener):
        usage = ask_claude(provider_server, "hi").json()["usage"]

    (call,) = seen.named("chat m")
    assert call.attributes is not None
    assert call.attributes["gen_ai.provider.name"] == "anthropic"
    assert call.attributes["gen_ai.usage.output_tokens"] == usage["output_tokens"]


@pytest.mark.parametrize(
    ("provider", "endpoint", "operation", "name"),
    [
        ("openai", "/v1/responses", "chat", "openai"),
        ("openai", "/v1/embeddings", "embeddings", "openai"),
        ("openai", "/v1/completions", "text_completion", "openai"),
        ("openai", "/v1/images/generations", "images/generations", "openai"),
        ("gemini", ":generateContent", "generate_content", "gcp.gemini"),
        ("gemini", ":batchEmbedContents", "embeddings", "gcp.gemini"),
        ("vertex", ":rawPredict", "chat", "gcp.vertex_ai"),
        ("azure", "/chat/completions", "chat", "azure.ai.openai"),
        ("xai", "/v1/chat/completions", "chat", "x_ai"),
        ("mistral", "/v1/fim/completions", "text_completion", "mistral_ai"),
    ],
)
def test_the_conventions_names(provider: str, endpoint: str, operation: str, name: str) -> None:
    facts = _facts(Target(provider, "https://host/v1", endpoint, "m", "a"))

    assert facts["gen_ai.operation.name"] == operation
    assert facts["gen_ai.provider.name"] == name
    assert (facts["server.address"], facts["server.port"]) == ("host", 443)


ANSWERS: list[tuple[str, str, dict[str, Any], dict[str, int]]] = [
    (
        "gemini",
        ":generateContent",
        {
            "usageMetadata": {
                "promptTokenCount": 10,
                "toolUsePromptTokenCount": 5,
                "candidatesTokenCount": 4,
                "thoughtsTokenCount": 3,
            }
        },
        {"input_tokens": 15, "output_tokens": 7},
    ),
    (
        "gemini",
        ":generateContent",
        {
            "usageMetadata": {
                "promptTokenCount": 7,
                "candidatesTokenCount": 2,
                "thoughtsTokenCount": 3,
                "cachedContentTokenCount": 4,
            }
        },
        {"input_tokens": 7, "output_tokens": 5, "cache_read.input_tokens": 4},
    ),
    ("voyage", "/v1/embeddings", {"usage": {"total_tokens": 7}}, {"input_tokens": 7, "output_tokens": 0}),
    (
        "anthropic",
        "/v1/messages",
        {
            "usage": {
                "input_tokens": 3,
                "cache_read_input_tokens": 20,
                "cache_creation_input_tokens": 5,
                "output_tokens": 1,
            }
        },
        {"input_tokens": 28, "output_tokens": 1, "cache_read.input_tokens": 20, "cache_creation.input_tokens": 5},
    ),
]


@pytest.mark.parametrize(("provider", "endpoint", "body", "counts"), ANSWERS)
def test_spans_and_costs_count_the_same_tokens(
    provider: str, endpoint: str, body: dict[str, Any], counts: dict[str, int]
) -> None:
    served, target = PROVIDERS[provider], Target(provider, "https://host", endpoint, "m", "a")
    meter = Meter(served, target)
    meter.add(Response(200, (), msgspec.json.encode(body)))
    cost = meter.cost()

    assert _usage(served, target, body) == {f"gen_ai.usage.{name}": count for name, count in counts.items()}
    assert (cost.input, cost.output) == (counts["input_tokens"], counts["output_tokens"])


@pytest.mark.thorough
def test_without_the_extra_the_way_out_is_named() -> None:
    program = "import sys; sys.modules['opentelemetry'] = None\nimport batchling.telemetry"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert "ImportError: batchling.telemetry needs the OpenTelemetry API: pip install 'batchling[otel]'" in done.stderr


@pytest.mark.thorough
def test_who_uses_none_of_it_imports_none_of_it() -> None:
    program = "import sys, batchling.scope.api; sys.exit('opentelemetry' in sys.modules or 'batchling.telemetry' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    assert trace.get_current_span().get_span_context().is_valid is False
