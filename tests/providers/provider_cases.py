"""How a program talks to each provider: what the contract needs to know of one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from batchling.providers.azure import Azure
from batchling.providers.base import Provider
from batchling.providers.google.vertex import Vertex
from batchling.testing import ProviderServer

Body = dict[str, Any]


def chat(text: str) -> Body:
    return {"model": "m", "messages": [{"role": "user", "content": text}], "x_unknown": {"of": ["ours", 1.5]}}


def claude(text: str) -> Body:
    return {**chat(text), "max_tokens": 9}


def embedding(text: str) -> Body:
    return {"model": "m", "input": [text]}


def completion(text: str) -> Body:
    return {"model": "m", "prompt": text}


def hosted(name: str) -> Callable[[str], Body]:
    """Audio that the provider fetches itself, from where the body says under this name."""
    return lambda text: {"model": "m", name: f"https://example.org/{text.replace(' ', '-')}.mp3"}


def response(text: str) -> Body:
    return {"model": "m", "input": text}


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def error(message: str) -> Body:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


@dataclass(frozen=True)
class ProviderCase:
    """`paths` are the real-time calls below the provider's place at the embedded server, each with a maker of bodies; the
    first is what most cases use. `word` is a job
    in an unknown state. `refuses` names the cases that the provider cannot do, and why."""

    name: str
    paths: Mapping[str, Callable[[str], Body]]
    headers: Callable[[str], dict[str, str]] = bearer
    error: Callable[[str], Body] = error
    texts: int = 4
    providers: Callable[[ProviderServer], list[Provider]] = lambda server: []
    word: Body = field(default_factory=lambda: {"id": "j", "status": "daydreaming"})
    refuses: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> str:
        return next(iter(self.paths))

    @property
    def body(self) -> Callable[[str], Body]:
        return self.paths[self.path]


def azure(server: ProviderServer) -> list[Provider]:
    return [Azure(deployments={"m": "m-batch"})]


def compatible(name: str, base: str, *paths: tuple[str, Callable[[str], Body]], **more: Any) -> ProviderCase:
    return ProviderCase(name, {base + path: body for path, body in paths or [("/chat/completions", chat)]}, **more)


CHAT = ("/chat/completions", chat)
EMBEDDING = ("/embeddings", embedding)
RESPONSE = ("/responses", response)
COMPLETION = ("/completions", completion)
MESSAGE = ("/messages", claude)


IMAGES = tuple((path, completion) for path in ("/images/generations", "/images/edits", "/videos"))


def audio(name: str) -> tuple[tuple[str, Callable[[str], Body]], ...]:
    return (("/audio/transcriptions", hosted(name)), ("/audio/translations", hosted(name)))


def gemini(text: str) -> Body:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}], "generationConfig": {"maxOutputTokens": 9}}


def google_key(key: str) -> dict[str, str]:
    return {"x-goog-api-key": key}


def google_error(text: str) -> Body:
    return {"error": {"code": 400, "message": text, "status": "INVALID_ARGUMENT"}}


def vertex_claude(text: str) -> Body:
    messages = [{"role": "user", "content": text}]
    return {"anthropic_version": "vertex-2023-10-16", "max_tokens": 9, "messages": messages}


VERTEX = "/v1/projects/p/locations/us-central1/publishers/"

NO_CANCEL = {"cancel": "there is no call that stops a job"}

PROVIDER_CASES = [
    compatible("openai", "/v1", CHAT, EMBEDDING, RESPONSE, COMPLETION, ("/moderations", embedding), *IMAGES),
    ProviderCase(
        "anthropic",
        {"/v1/messages": claude},
        lambda key: {"x-api-key": key, "anthropic-version": "2023-06-01"},
        lambda text: {"type": "error", "error": {"type": "invalid_request_error", "message": text}},
        word={"id": "j", "processing_status": "daydreaming"},
        refuses={"validation": "bad rows fail alone, never the job"},
    ),
    ProviderCase(
        "gemini",
        {
            "/v1beta/models/m:generateContent": gemini,
            "/v1beta/models/m:embedContent": lambda text: {"content": {"parts": [{"text": text}]}},
            "/v1/models/m:batchEmbedContents": lambda text: {"requests": [{"content": {"parts": [{"text": text}]}}]},
            "/v1/models/m-image:generateContent": gemini,  # by a file
        },
        google_key,
        google_error,
        word={"name": "batches/j", "metadata": {"state": "BATCH_STATE_DAYDREAMING"}},
    ),
    ProviderCase(
        "vertex",
        {
            VERTEX + "google/models/m:generateContent": gemini,
            VERTEX + "anthropic/models/c:rawPredict": vertex_claude,
        },
        error=google_error,
        providers=lambda server: [Vertex(gcs_prefix="gs://bucket/batches", storage=f"{server.url}/vertex/storage")],
        word={"name": "j", "state": "JOB_STATE_DAYDREAMING"},
        refuses={"credentials": "the account is the project; a token lasts an hour"},
    ),
    compatible("gemini-openai", "/v1beta/openai", CHAT, EMBEDDING),
    ProviderCase(
        "azure",
        {
            "/openai/v1/chat/completions": chat,
            "/openai/v1/responses": response,
            "/openai/deployments/m/chat/completions?api-version=2024-10-21": chat,
            "/openai/responses?api-version=2025-03-01-preview": response,
        },
        lambda key: {"api-key": key},
        providers=azure,
    ),
    compatible(
        "mistral",
        "/v1",
        CHAT,
        EMBEDDING,
        ("/fim/completions", completion),
        ("/moderations", embedding),
        ("/chat/moderations", lambda text: {"model": "m", "input": [[{"role": "user", "content": text}]]}),
        ("/classifications", embedding),
        ("/chat/classifications", lambda text: {"model": "m", "input": [[{"role": "user", "content": text}]]}),
        ("/ocr", lambda text: {"model": "m", "document": {"type": "document_url", "document_url": text}}),
        ("/conversations", lambda text: {"model": "m", "inputs": text, "store": False}),
    ),
    compatible("xai", "/v1", word={"batch_id": "j"}, refuses={"unknown_status": "its jobs have no status word"}),
    compatible(
        "fireworks",
        "/inference/v1",
        word={"name": "accounts/a/batchInferenceJobs/j", "state": "JOB_STATE_DAYDREAMING"},
    ),
    compatible("groq", "/openai/v1", CHAT, *audio("url")),
    compatible("together", "/v1", CHAT, *audio("file")),
    compatible(
        "doubleword",
        "/v1",
        CHAT,
        COMPLETION,
        EMBEDDING,
        RESPONSE,
        MESSAGE,
        refuses={"partial_expiry": "its jobs do not expire: late rows still arrive"},
    ),
    compatible("deepinfra", "/v1/openai", CHAT, COMPLETION, EMBEDDING),
    compatible("parasail", "/v1", CHAT, EMBEDDING),
    compatible("novita", "/openai/v1", CHAT, COMPLETION),
    compatible("siliconflow", "/v1"),
    compatible("dashscope", "/compatible-mode/v1", CHAT, EMBEDDING),
    compatible("zhipu", "/api/paas/v4"),
    compatible("kimi", "/v1", ("/chat/completions", lambda text: {**chat(text), "model": "kimi-k2.6"})),
    compatible("perplexity", "/v1", RESPONSE),
    compatible("cerebras", "/v1", texts=12),
    compatible(
        "voyage",
        "/v1",
        EMBEDDING,
        ("/contextualizedembeddings", lambda text: {"model": "m", "inputs": [[text, "b"]]}),
        ("/rerank", lambda text: {"model": "m", "query": text, "documents": ["a", "b"]}),
        error=lambda text: {"detail": text},
        refuses={"line_separators_in_answers": "its answers are numbers"},
    ),
    compatible("openrouter", "/api/v1", CHAT, EMBEDDING, RESPONSE, MESSAGE, refuses=NO_CANCEL),
    compatible("sference", "/v1"),
]

BY_NAME = {provider_case.name: provider_case for provider_case in PROVIDER_CASES}


def as_bytes(value: Any) -> bytes:
    return json.dumps(value).encode()
