"""Which headers of a call identify the caller, and which only describe one message in transit.

At a provider's own hosts, the provider names the few headers that separate accounts. For a gateway there is no such
list, so every header counts except those known to belong to one message, one connection, one trace or one version
of an SDK. Facts: the propagators of OpenTelemetry (W3C, B3, Jaeger, OpenTracing, X-Ray, Google Cloud), the agents of
Datadog, Sentry, New Relic, Elastic, Dynatrace, AppDynamics, Instana, SkyWalking, Pinpoint and SolarWinds, the reference
pages of AWS, Azure, Google Cloud, Cloudflare and Envoy, and the gateways Helicone, LiteLLM, Portkey and Langfuse.
"""

from __future__ import annotations

import re
from functools import lru_cache

from batchling.core.model import Headers

_ONE_CONNECTION = """
    accept accept-charset accept-encoding accept-language cache-control connection content-digest content-encoding
    content-length content-md5 content-type cookie date digest expect forwarded host keep-alive max-forwards pragma te
    trailer transfer-encoding upgrade via x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto x-real-ip
"""
_ONE_SDK = "user-agent x-goog-api-client x-client-version"
_ONE_TRY = """
    grpc-timeout idempotency-key request-timeout retry-attempt x-attempt x-idempotency-key x-request-attempt
    x-request-timeout x-retry-attempt x-retry-count x-server-timeout
"""
_ONE_MOMENT = """
    timestamp x-amz-date x-client-timestamp x-date x-deadline x-ms-date x-queue-start x-request-deadline x-request-start
    x-request-time x-request-timestamp x-sent-at x-start-time x-timestamp
"""
_ONE_MESSAGE = """
    akamai-grn amz-sdk-invocation-id amz-sdk-request apim-request-id cf-aig-event-id cf-ray cf-request-id
    client-request-id correlation-id fly-request-id helicone-request-id kong-request-id message-id ms-cv request-id
    requestid transaction-id x-akamai-request-id x-amz-cf-id x-amz-content-sha256 x-amz-id-2 x-amz-request-id
    x-azure-ref x-call-id x-client-request-id x-client-transaction-id x-correlation-id x-correlationid x-event-id
    x-global-transaction-id x-invocation-id x-kong-request-id x-litellm-call-id x-message-id x-ms-client-request-id
    x-ms-correlation-request-id x-ms-request-id x-operation-id x-request-id x-requestid x-transaction-id x-unique-id
    x-vercel-id
"""
_ONE_TRACE = """
    b3 baggage cf-aig-otel-trace-id correlation-context grpc-tags-bin grpc-trace-bin helicone-session-id
    helicone-session-path jaeger-baggage jaeger-debug-id langfuse_existing_trace_id langfuse_parent_observation_id
    langfuse_trace_id newrelic parent-id parentid request-context singularityheader span-id spanid trace-id
    traceid traceparent traceresponse tracestate uber-trace-id x-amzn-trace-id x-client-trace-id x-cloud-trace-context
    x-dtc x-dtpc x-litellm-session-id x-litellm-trace-id x-ms-request-parent-id x-ms-request-root-id x-ot-span-context
    x-parent-id x-parent-span-id x-portkey-parent-span-id x-portkey-span-id x-portkey-span-name x-portkey-trace-id
    x-span-id x-spanid x-trace x-trace-id x-trace-options x-trace-options-signature x-traceid
"""
_VOLATILE = frozenset(f"{_ONE_CONNECTION} {_ONE_SDK} {_ONE_TRY} {_ONE_MOMENT} {_ONE_MESSAGE} {_ONE_TRACE}".split())
_VOLATILE_PREFIXES = (
    "adrum",
    "eagleeye-",
    "elastic-apm-",
    "langsmith-trace",
    "ot-baggage-",
    "ot-tracer-",
    "pinpoint-",
    "sentry-",
    "sw6",
    "sw8",
    "uberctx-",
    "x-amzn-request",
    "x-b3-",
    "x-datadog-",
    "x-dynatrace",
    "x-envoy-",
    "x-goog-request-",
    "x-honeycomb-",
    "x-instana-",
    "x-newrelic-",
    "x-stainless-",
    "x-wap-",
)

_CREDENTIAL = re.compile(r"auth|key$|token|secret|cookie|passw|credential|signature")
_SOMEBODY = re.compile(
    r"(^|[-_])(account|app|application|client|company|consumer|customer|department|env|environment|group|member|"
    r"namespace|org|organisation|organization|owner|principal|profile|project|role|subject|subscription|team|tenant|"
    r"user|workspace)(s|id|name)?($|[-_])"
)
_OF_PROVIDERS = ("anthropic-", "openai-", "x-dashscope-", "x-goog-", "x-vertex-ai-")


def lasting(headers: Headers) -> Headers:
    """The headers that may matter to a gateway: all except those that describe one message, one connection, one
    trace or the SDK's version."""
    # The set first: it contains most of what a client sends.
    return tuple(pair for pair in headers if pair[0] not in _VOLATILE and not is_volatile(pair[0]))


@lru_cache(maxsize=4096)
def is_volatile(name: str) -> bool:
    """Whether a header, by its lower-case name, describes one message in transit."""
    return name in _VOLATILE or name.startswith(_VOLATILE_PREFIXES)


@lru_cache(maxsize=4096)
def may_vary(name: str) -> bool:
    """Whether a header that is in no list may turn out to describe one message. Never true of a header whose name
    suggests a credential or a person: those separate accounts, whatever their values."""
    return not (
        is_volatile(name)
        or name.startswith(_OF_PROVIDERS)
        or _CREDENTIAL.search(name) is not None
        or _SOMEBODY.search(name) is not None
    )
