"""The table of built-in providers."""

from __future__ import annotations

from collections.abc import Mapping

from batchling.providers.anthropic import ANTHROPIC
from batchling.providers.azure import AZURE
from batchling.providers.base import Provider
from batchling.providers.compatible import COMPATIBLE
from batchling.providers.fireworks import FIREWORKS
from batchling.providers.google.gemini import GEMINI
from batchling.providers.google.gemini_openai import GEMINI_COMPATIBLE
from batchling.providers.google.vertex import VERTEX
from batchling.providers.inline import OPENROUTER, SFERENCE
from batchling.providers.mistral import MISTRAL
from batchling.providers.openai import OPENAI
from batchling.providers.voyage import VOYAGE
from batchling.providers.xai import XAI

_BUILT_IN: tuple[Provider, ...] = (
    OPENAI,
    ANTHROPIC,
    GEMINI,
    VERTEX,
    AZURE,
    MISTRAL,
    XAI,
    FIREWORKS,
    *COMPATIBLE,
    OPENROUTER,
    VOYAGE,
    SFERENCE,
    GEMINI_COMPATIBLE,
)

PROVIDERS: Mapping[str, Provider] = {provider.name: provider for provider in _BUILT_IN}
"""Every built-in provider by its name."""


WITHOUT: Mapping[str, str] = {
    "AWS Bedrock": "its batches, including the OpenAI-compatible ones, read from S3, to which neither the caller's "
    "signature nor a bearer key gives access, and need a role and at least 100 rows; boto3's calls are reported",
    "Cohere": "batches take their own models, which real-time calls do not name, and return Avro files",
    "Nebius": "a batch takes messages and a few mapped parameters, not a whole request",
    "Databricks": "batches exist for SQL functions, not for chat",
    "Alibaba Batch Chat": "its calls are already batch calls: they pass through unchanged",
    "Z.ai international": "no batch API is known at api.z.ai",
    "Claude on Bedrock, Foundry": "no Message Batches there",
    "Claude on Google Cloud": "claude.googleapis.com takes bearer tokens that expire within the hour",
    "Vercel AI Gateway": "no batch API is known at ai-gateway.vercel.sh",
    "vLLM production-stack": "its /v1/batches is a stub",
}
"""Services that are not batched, and why."""
