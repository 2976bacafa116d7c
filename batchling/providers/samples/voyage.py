"""Sample answers of Voyage's endpoints, in the shapes of its API reference."""

from __future__ import annotations

from typing import Any

from batchling.providers.samples import openai
from batchling.providers.samples.text import number, seed_of, tokens


def answer(endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
    """The JSON that a call of this endpoint (`/v1/embeddings` ...) with this body could have returned."""
    if endpoint == "/v1/rerank":
        return _reranked(body)
    if endpoint == "/v1/contextualizedembeddings":
        groups = [_embedded({**body, "input": texts})["data"] for texts in body.get("inputs") or []]
        data = [{"object": "list", "data": data, "index": index} for index, data in enumerate(groups)]
        return {"object": "list", "data": data, "model": body["model"], "usage": _usage(body.get("inputs"))}
    return _embedded(body)


def _embedded(body: dict[str, Any]) -> dict[str, Any]:
    answer = openai.answer("/v1/embeddings", {**body, "dimensions": body.get("output_dimension") or 8})
    return {**answer, "usage": _usage(body.get("input"))}


def _reranked(body: dict[str, Any]) -> dict[str, Any]:
    seed = seed_of(body)
    documents = body.get("documents") or []
    scores = {place: number(seed, str(place), 1_000) / 1_000 for place in range(len(documents))}
    ranked = sorted(scores, key=lambda place: -scores[place])[: body.get("top_k") or len(documents)]
    data = [{"index": place, "relevance_score": scores[place]} for place in ranked]
    return {"object": "list", "data": data, "model": body["model"], "usage": _usage(documents)}


def _usage(asked: Any) -> dict[str, Any]:
    return {"total_tokens": tokens(asked)}
