"""What a dry run says it would cost."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from batchling import Receipt, batchify
from batchling.core.estimate import Size
from batchling.providers.sizes import size_of
from batchling.testing import ProviderServer
from tests.engine.calls import QUICK, TLS, together

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("endpoint", "body", "output"),
    [
        (CHAT, {"max_tokens": 7}, 7),
        (CHAT, {"max_completion_tokens": 9, "n": 3}, 27),
        ("/v1/responses", {"max_output_tokens": 5}, 5),
        ("/v1beta/models/m:generateContent", {"generationConfig": {"maxOutputTokens": 6, "candidateCount": 2}}, 12),
        ("/v1/embeddings", {"input": "a"}, 0),
        (CHAT, {}, None),
        (CHAT, {"max_tokens": True}, None),
        (CHAT, {"max_tokens": None}, None),
    ],
)
def test_output_is_bounded_by_the_requests_own_maximum(endpoint: str, body: dict[str, Any], output: int | None) -> None:
    assert size_of(endpoint, body).output == output


def test_input_counts_text_and_not_media() -> None:
    text = {"messages": [{"role": "user", "content": "x" * 4_000}]}
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 90_000}}
    both = {"messages": [{"role": "user", "content": [{"type": "text", "text": "x" * 4_000}, picture]}]}

    assert 1_000 <= size_of(CHAT, text).input < 1_010
    assert not size_of(CHAT, text).media
    assert 1_000 <= size_of(CHAT, both).input < 1_020
    assert size_of(CHAT, both).media
    assert size_of(CHAT, {"messages": [{"content": "语" * 1_000}]}).input == pytest.approx(750, abs=10)


def test_cache_marks_are_seen() -> None:
    marked = {"system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}

    assert size_of("/v1/messages", {**marked, "max_tokens": 1}) == Size(16, 1, caches=True, long=True)


def rehearse(server: ProviderServer, bodies: list[dict[str, Any]], **options: Any) -> Receipt:
    wanted = {"gateways": server.gateways, **QUICK, **together(len(bodies)), **options}
    context = batchify(**{"dry_run": True, **wanted})

    async def ask() -> None:
        async with httpx.AsyncClient(verify=TLS, headers={"authorization": "Bearer k"}) as client:
            url = f"{server.openai_url}/chat/completions"
            await asyncio.gather(*(client.post(url, json=body) for body in bodies))

    with context:
        asyncio.run(ask())
    return context.receipt


def body(text: str, model: str = "gpt-5-mini", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def test_a_dry_run_is_priced(provider_server: ProviderServer, capsys: pytest.CaptureFixture[str]) -> None:
    bodies = [body(letter * 400_000, max_completion_tokens=1_000) for letter in "ab"]
    receipt = rehearse(provider_server, bodies)

    (line,) = receipt.lines
    assert receipt.dry_run
    assert line.estimate is not None
    assert (line.estimate.requests, line.estimate.batches, line.estimate.cached) == (2, 1, 0)
    assert line.estimate.output == 2_000
    assert line.estimate.input == pytest.approx(200_000, rel=0.001)
    # gpt-5-mini, per million tokens: $0.25 in, $2 out; a batch is half of it.
    full = (line.estimate.input * 0.25 + 2_000 * 2) / 1e6
    assert line.estimate.full == pytest.approx(full, abs=1e-12)
    assert line.estimate.paid == pytest.approx(full / 2, abs=1e-12)
    assert receipt.cost.answers == 0
    assert receipt.batches == 0, "nothing was sent"
    shown = capsys.readouterr().err
    assert "$0.054" in shown
    assert "$0.027" in shown
    assert provider_server.calls() == []


@pytest.mark.thorough
def test_what_is_not_known_is_said(provider_server: ProviderServer, capsys: pytest.CaptureFixture[str]) -> None:
    bodies = [body("a", max_tokens=5), body("b"), body("c", "house-model", max_tokens=5)]
    receipt = rehearse(provider_server, bodies, batch_size=None, batch_window_seconds=0.2)

    mini, house = (line.estimate for line in receipt.lines)
    assert mini is not None
    assert house is not None
    assert (mini.output, mini.unbounded, mini.full, mini.paid) == (None, 1, None, None)
    assert (house.output, house.full, house.paid) == (5, None, None)
    shown = capsys.readouterr().err
    assert "gpt-5-mini: 1 request without a maximum of output tokens" in shown
    assert "unknown price for model house-model" in shown


def test_cache_hits_cost_nothing(provider_server: ProviderServer) -> None:
    asked = body("a", max_tokens=5)
    rehearse(provider_server, [asked], dry_run=False)
    receipt = rehearse(provider_server, [asked, body("b", max_tokens=5)])

    estimate = receipt.lines[0].estimate
    assert estimate is not None
    assert (estimate.requests, estimate.cached, estimate.output) == (2, 1, 5)
