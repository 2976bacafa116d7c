"""What a dry run answers: there is something for every endpoint that is batched."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batchling.core.model import Request, Target
from batchling.environment import registry
from batchling.providers import PROVIDERS
from batchling.providers.azure import Azure
from batchling.providers.google.vertex import Vertex
from batchling.providers.routes import Routes

BODY: dict[str, Any] = {
    "model": "kimi-k2.6",
    "messages": [{"role": "user", "content": "hi"}],
    "input": ["hi"],
    "inputs": [["hi"]],
    "prompt": "hi",
    "query": "hi",
    "documents": ["hi"],
    "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
    "content": {"parts": [{"text": "hi"}]},
    "requests": [{"content": {"parts": [{"text": "hi"}]}}],
}
SPARSE: dict[str, Any] = {"contents": BODY["contents"], "messages": BODY["messages"], "max_tokens": 9}
RECORDING = dict.fromkeys(("url", "file"), "https://example.org/talk.mp3")
NEEDED: dict[str, dict[str, Any]] = {
    "/conversations": {"store": False},
    "/audio/transcriptions": RECORDING,
    "/audio/translations": RECORDING,
}
"""What a batch cannot do without."""
PLACES = {
    "gemini": "v1beta/",
    "azure": "openai/v1/",
    "vertex": "v1/projects/p/locations/us-central1/",
    "openrouter": "api/v1/",
}
OURS = [
    Azure(deployments={"kimi-k2.6": "b"}),
    Vertex(gcs_prefix="gs://bucket/folder", storage="https://gateway.example.org/storage"),
]
ENDPOINTS = [(provider.name, endpoint) for provider in PROVIDERS.values() for endpoint in provider.endpoints]


@pytest.mark.parametrize(("name", "endpoint"), ENDPOINTS)
def test_every_endpoint_can_be_rehearsed(name: str, endpoint: str) -> None:
    known = registry.providers(OURS)
    url = f"https://gateway.example.org/{PLACES.get(name, 'v1/')}{endpoint.replace('*', 'm').lstrip('/')}"
    provider, route = Routes({"https://gateway.example.org": name}, known).match("POST", url) or pytest.fail("no route")
    body = SPARSE if name == "vertex" else {**BODY, **NEEDED.get(endpoint, {})}
    target = provider.target(route, Request("POST", url, (), json.dumps(body).encode()), body)

    assert isinstance(target, Target), target
    answer = provider.rehearse(target, body)
    assert answer.status == 200
    assert isinstance(json.loads(answer.body), dict)
