"""Which calls to the real hosts are batched, by whom, below which root; and which are paid for and cannot be."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from dataclasses import replace
from typing import Any

import pytest

from batchling.core.fingerprint import decode_body
from batchling.core.model import Bypass, Item, Request, Site, Target
from batchling.providers import PROVIDERS
from batchling.providers.azure import Azure
from batchling.providers.compatible import DOUBLEWORD
from batchling.providers.google.vertex import Vertex
from batchling.providers.openai import OPENAI
from batchling.providers.routes import Routes
from tests.providers.flows import answer, play

ROUTES = Routes({})
CHAT = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'
GEMINI = b'{"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}'
KEY = (("authorization", "Bearer k"), ("x-goog-api-key", "k"), ("api-key", "k"))

VERTEX = "-aiplatform.googleapis.com/v1/projects/p/locations/europe-west1/publishers/google/models/m:generateContent"

BATCHED = {
    "https://api.openai.com/v1/chat/completions": ("openai", "https://api.openai.com/v1"),
    "https://eu.api.openai.com/v1/responses": ("openai", "https://eu.api.openai.com/v1"),
    "https://api.anthropic.com/v1/messages": ("anthropic", "https://api.anthropic.com/v1"),
    "https://api.anthropic.com/v1/messages?beta=true": ("anthropic", "https://api.anthropic.com/v1"),
    "https://aws-external-anthropic.us-west-2.api.aws/v1/messages": (
        "anthropic",
        "https://aws-external-anthropic.us-west-2.api.aws/v1",
    ),
    "https://api.groq.com/openai/v1/chat/completions": ("groq", "https://api.groq.com/openai/v1"),
    "https://api.together.xyz/v1/chat/completions": ("together", "https://api.together.xyz/v1"),
    "https://api.together.ai/v1/chat/completions": ("together", "https://api.together.ai/v1"),
    "https://api-inference.together.ai/v1/chat/completions": ("together", "https://api.together.ai/v1"),
    "https://api.x.ai/v1/chat/completions": ("xai", "https://api.x.ai/v1"),
    "https://api.mistral.ai/v1/fim/completions": ("mistral", "https://api.mistral.ai/v1"),
    "https://api.fireworks.ai/inference/v1/chat/completions": ("fireworks", "https://api.fireworks.ai/inference/v1"),
    "https://api.deepinfra.com/v1/openai/embeddings": ("deepinfra", "https://api.deepinfra.com/v1/openai"),
    "https://api.parasail.io/v1/chat/completions": ("parasail", "https://api.parasail.io/v1"),
    "https://api.novita.ai/openai/v1/completions": ("novita", "https://api.novita.ai/openai/v1"),
    "https://api.siliconflow.cn/v1/chat/completions": ("siliconflow", "https://api.siliconflow.cn/v1"),
    "https://dashscope-intl.aliyuncs.com/compatible-mode/v1/chat/completions": (
        "dashscope",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
    ),
    "https://ws1.cn-beijing.maas.aliyuncs.com/compatible-mode/v1/embeddings": (
        "dashscope",
        "https://ws1.cn-beijing.maas.aliyuncs.com/compatible-mode/v1",
    ),
    "https://open.bigmodel.cn/api/paas/v4/chat/completions": ("zhipu", "https://open.bigmodel.cn/api/paas/v4"),
    "https://api.perplexity.ai/v1/responses": ("perplexity", "https://api.perplexity.ai/v1"),
    "https://api.cerebras.ai/v1/chat/completions": ("cerebras", "https://api.cerebras.ai/v1"),
    "https://api.doubleword.ai/v1/embeddings": ("doubleword", "https://api.doubleword.ai/v1"),
    "https://api.voyageai.com/v1/rerank": ("voyage", "https://api.voyageai.com/v1"),
    "https://eu.openrouter.ai/api/v1/messages": ("openrouter", "https://eu.openrouter.ai/api/v1"),
    "https://api.sference.com/v1/chat/completions": ("sference", "https://api.sference.com/v1"),
    "https://res.openai.azure.com/openai/v1/chat/completions": ("azure", "https://res.openai.azure.com/openai/v1"),
    "https://res.openai.azure.com/openai/deployments/m/chat/completions?api-version=2024-10-21": (
        "azure",
        "https://res.openai.azure.com/openai",
    ),
    "https://res.openai.azure.com/openai/responses?api-version=2025-03-01-preview": (
        "azure",
        "https://res.openai.azure.com/openai",
    ),
    "https://generativelanguage.googleapis.com/v1beta/models/m:generateContent": (
        "gemini",
        "https://generativelanguage.googleapis.com",
    ),
    "https://generativelanguage.googleapis.com/v1/models/m:embedContent?key=k": (
        "gemini",
        "https://generativelanguage.googleapis.com",
    ),
    "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions": (
        "gemini-openai",
        "https://generativelanguage.googleapis.com/v1beta/openai",
    ),
    f"https://europe-west1{VERTEX}": (
        "vertex",
        "https://europe-west1-aiplatform.googleapis.com/v1/projects/p/locations/europe-west1",
    ),
}


def judged(url: str, body: bytes = CHAT) -> tuple[str, Target | Bypass] | None:
    ours = {
        **PROVIDERS,
        "azure": Azure(deployments={"m": "m-batch"}),
        "vertex": Vertex(gcs_prefix="gs://b/f"),
    }
    found = Routes({}, ours).match("POST", url)
    if found is None:
        return None
    provider, route = found
    request = Request("POST", url, KEY if provider.name != "openrouter" else KEY[:1], body)
    return provider.name, provider.target(route, request, decode_body(body) or {})


@pytest.mark.parametrize("url", BATCHED)
def test_batched(url: str) -> None:
    name, root = BATCHED[url]
    body = GEMINI if ":" in url.rpartition("/")[2].partition("?")[0] else CHAT.replace(b'"m"', b'"m"')
    found = judged(url, body)

    assert found is not None
    assert found[0] == name
    assert isinstance(found[1], Target), found[1]
    assert found[1].base_url == root


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.openai.com/v1/audio/speech", "openai"),
        ("https://api.perplexity.ai/chat/completions", "perplexity"),
        ("https://api.x.ai/v1/responses", "xai"),
        ("https://api.groq.com/openai/v1/audio/transcriptions", "groq"),
        ("https://generativelanguage.googleapis.com/v1beta/models/m:streamGenerateContent", "gemini"),
        ("https://generativelanguage.googleapis.com/v1beta/models/m:predict", "gemini"),
        ("https://generativelanguage.googleapis.com/v1alpha/models/m:generateContent", "gemini"),
        ("https://generativelanguage.googleapis.com/v1beta/tunedModels/m:generateContent", "gemini"),
        ("https://generativelanguage.googleapis.com/v1beta/interactions", "gemini"),
        ("https://api.fireworks.ai/inference/v1/embeddings", "fireworks"),
        ("https://res.openai.azure.com/openai/v1/embeddings", "azure"),
        ("https://res.openai.azure.com/openai/deployments/m/embeddings?api-version=2024-10-21", "azure"),
        ("https://res.cognitiveservices.azure.com/openai/deployments/m/chat/completions?api-version=1", "azure"),
        ("https://res.services.ai.azure.com/openai/v1/chat/completions", "azure"),
        ("https://res.openai.azure.com/openai/v1/chat/completions?other=1", "azure"),
    ],
)
def test_paid_and_not_batched(url: str, name: str) -> None:
    found = judged(url)

    assert found is not None
    assert found[0] == name
    assert isinstance(found[1], Bypass)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.eu.mistral.ai/v1/chat/completions",
        "https://batch.dashscope.aliyuncs.com/compatible-mode/v1/chat/completions",
        "https://api.z.ai/api/paas/v4/chat/completions",
        "https://api.openai.com.example.org/v1/chat/completions",
        "https://openai.azure.com.example.org/openai/v1/chat/completions",
        "http://api.openai.com/v1/chat/completions",
        "https://generativelanguage.googleapis.com/v1beta/models/m:countTokens",
        "https://api.mistral.ai/v1/batch/jobs",
        "https://res.openai.azure.com/openai/v1/batches",
        "https://res.openai.azure.com/openai/files?api-version=2024-10-21",
        "https://openrouter.ai/api/v1/batches",
    ],
)
def test_none_of_ours(url: str) -> None:
    assert judged(url) is None


@pytest.mark.parametrize(
    ("url", "body", "reason"),
    [
        ("https://api.moonshot.ai/v1/chat/completions", b'{"model": "kimi-k3"}', "kimi-k3 without a batch form"),
        ("https://api.moonshot.ai/v1/chat/completions", b'{"model": "kimi-k2.6", "top_p": 1}', "parameter top_p"),
        ("https://api.x.ai/v1/chat/completions", b'{"model": "grok-4.5"}', "grok-4.5 without a batch form"),
        ("https://res.openai.azure.com/openai/v1/responses", b'{"model": "x"}', "no batch deployment for 'x'"),
        (
            "https://openrouter.ai/api/v1/chat/completions",
            b'{"model": "m", "messages": [{"image": "data:image/png"}]}',
            "media as a data: URL",
        ),
        ("https://openrouter.ai/api/v1/embeddings", b'{"model": "m", "provider": {}, "input_type": "q"}', "embeddings"),
    ],
)
def test_bodies_without_a_batch_form(url: str, body: bytes, reason: str) -> None:
    found = judged(url, body)

    assert found is not None
    assert isinstance(found[1], Bypass)
    assert reason in found[1].reason


def test_a_key_in_the_url_is_no_part_of_a_target() -> None:
    url = "https://generativelanguage.googleapis.com/v1beta/models/m:generateContent?key=secret"
    provider, route = ROUTES.match("POST", url) or pytest.fail("not matched")
    request = Request("POST", url, (), GEMINI)
    target = provider.target(route, request, {})
    assert isinstance(target, Target)
    assert "secret" not in repr(target)
    site = provider.site(target, route, request)
    assert site.headers == (("x-goog-api-key", "secret"),)


def test_azure_keeps_the_version_and_the_deployment_of_its_old_urls() -> None:
    url = "https://res.openai.azure.com/openai/deployments/real%2Dtime/chat/completions?api-version=2024-10-21"
    provider: Any = Azure(deployments={"real-time": "in-batches"})
    route = provider.route("POST", url, official=True)
    target = provider.target(route, Request("POST", url, KEY, b"{}"), {"messages": []})

    assert (target.model, target.endpoint) == ("in-batches", "/v1/chat/completions")
    assert target.options == (("api-version", "2024-10-21"),)


def entra(of: str, name: str) -> str:
    claims = urlsafe_b64encode(json.dumps({"tid": "t", "oid": of, "jti": name}).encode()).decode().rstrip("=")
    return f"Bearer head.{claims}.signature"


def test_an_entra_token_is_no_part_of_an_account() -> None:
    """Whom it speaks for is; a gateway's own key is one, too."""
    provider: Any = Azure(deployments={"m": "m"})

    def account(token: str, official: bool = True) -> str:
        url = "https://res.openai.azure.com/openai/v1/responses"
        request = Request("POST", url, (("authorization", token),))
        target = provider.target(provider.route("POST", url, official=official), request, {"model": "m"})
        return str(target.account)

    assert account(entra("me", "9h")) == account(entra("me", "10h")) != account(entra("you", "10h"))
    assert account("Bearer opaque-1") == account("Bearer opaque-2") == account("Bearer a.%%.b")
    assert account("Bearer opaque-1", official=False) != account("Bearer opaque-2", official=False)


def test_voyage_parts_batches_by_all_other_parameters() -> None:
    url = "https://api.voyageai.com/v1/embeddings"
    targets = {
        judged(url, body)
        for body in (
            b'{"model": "m", "input": ["a"], "input_type": "query"}',
            b'{"input_type": "query", "model": "m", "input": ["b"]}',
            b'{"model": "m", "input": ["a"], "input_type": "document"}',
        )
    }
    assert len(targets) == 2


def test_openrouters_preferences_part_batches() -> None:
    url = "https://openrouter.ai/api/v1/chat/completions"
    bodies = (b'{"model": "m"}', b'{"model": "m", "provider": {"only": ["a"]}}')
    assert len({judged(url, body) for body in bodies}) == 2


def test_a_gateway_wins_over_an_official_host() -> None:
    routes = Routes({"https://api.openai.com/v1": "groq"})
    provider, route = routes.match("POST", "https://api.openai.com/v1/chat/completions") or pytest.fail("not matched")
    assert (provider.name, route.official) == ("groq", False)


def test_providers_of_a_scope_are_its_own() -> None:
    mine = replace(OPENAI, roots=("https://llm.example.org/v1",))
    routes = Routes({}, {"openai": mine})
    assert routes.match("POST", "https://llm.example.org/v1/chat/completions")
    assert routes.match("POST", "https://api.openai.com/v1/chat/completions") is None


def test_portkeys_headers_part_accounts_and_go_along() -> None:
    url = "https://portkey.example.org/v1/chat/completions"
    provider, route = Routes({"https://portkey.example.org": "openai"}).match("POST", url) or pytest.fail("not matched")
    seen = set()
    for upstream in ("a", "b"):
        headers = (("x-portkey-api-key", "k"), ("x-portkey-virtual-key", upstream))
        request = Request("POST", url, headers, CHAT)
        target = provider.target(route, request, decode_body(CHAT) or {})
        assert isinstance(target, Target)
        assert provider.site(target, route, request).headers == headers
        seen.add(target)
    assert len(seen) == 2


def test_another_window_is_a_setting() -> None:
    hour = replace(DOUBLEWORD, window="1h")
    at = Site(Target("doubleword", "https://api.doubleword.ai/v1", "/v1/chat/completions", "m", "a"))
    items = [Item("k-0", Request("POST", "", (), CHAT))]
    calls, _ = play(hour.submit(at, items, "tag"), answer({"id": "f"}), answer({"id": "b"}, 201))
    assert decode_body(calls[1].request.body) == {
        "input_file_id": "f",
        "endpoint": "/v1/chat/completions",
        "completion_window": "1h",
        "metadata": {"batchling": "tag"},
    }


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://api.deepseek.com/chat/completions", True),
        ("https://api.Cohere.com/v2/chat", True),
        ("https://bedrock-runtime.us-east-1.amazonaws.com/model/m/converse", True),
        ("https://api.z.ai/api/paas/v4/chat/completions?a=b", True),
        ("https://ai-gateway.vercel.sh/v3/ai/language-model", True),
        ("https://claude.googleapis.com/v1/projects/p/locations/global/workspaces/w/invoke/v1/messages", True),
        ("https://batch.dashscope.aliyuncs.com/compatible-mode/v1/chat/completions", False),
        ("https://api.openai.com/v1/files", False),
        ("https://shop.example.org/responses", False),
        ("https://api.openai.com/v1/traces/ingest", False),
        ("https://api.openai.com/v1/traces?a=b", False),
    ],
)
def test_calls_that_nobody_serves_are_told_by_their_look(url: str, told: bool) -> None:
    routes = Routes({})
    assert routes.match("POST", url) is None
    assert routes.unserved("POST", url) is told
    assert routes.unserved("GET", url) is False
