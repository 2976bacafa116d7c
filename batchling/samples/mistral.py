"""Sample answers of Mistral's endpoints, in the shapes of mistralai 3.7."""

from __future__ import annotations

from batchling.core.model import JSON
from batchling.samples import openai
from batchling.samples.text import number, said, seed_of, sentence, tokens

_CATEGORIES = ("sexual", "hate_and_discrimination", "violence_and_threats", "dangerous_and_criminal_content", "pii")


def answer(endpoint: str, body: dict[str, JSON]) -> dict[str, JSON]:
    """The JSON that a call of this endpoint (`/v1/chat/completions` ...) with this body could have got."""
    if endpoint == "/v1/fim/completions":
        body = {**body, "messages": [{"role": "user", "content": body.get("prompt")}]}
    elif endpoint in _MAKERS:
        return {"model": body.get("model"), **_MAKERS[endpoint](body, seed_of(body))}
    # `stream: false`, which the SDK sends, changes nothing.
    body = {name: value for name, value in body.items() if name != "stream" or value}
    return openai.answer("/v1/embeddings" if endpoint == "/v1/embeddings" else "/v1/chat/completions", body)


def _moderations(body: dict[str, JSON], seed: str) -> dict[str, JSON]:
    scores = {name: number(seed, name, 50) / 1_000 for name in _CATEGORIES}
    found = {"categories": dict.fromkeys(_CATEGORIES, False), "category_scores": scores}
    return {"id": f"mod-{seed[:24]}", "results": [found for _ in _asked(body)]}


def _classifications(body: dict[str, JSON], seed: str) -> dict[str, JSON]:
    score = number(seed, "score", 1_000) / 1_000
    found = {"label": {"scores": {"yes": score, "no": round(1 - score, 3)}}}
    return {"id": f"cls-{seed[:24]}", "results": [found for _ in _asked(body)]}


def _asked(body: dict[str, JSON]) -> list[JSON]:
    """What is judged, one by one: texts, or conversations."""
    asked = body.get("input")
    if isinstance(asked, list) and asked and isinstance(asked[0], str | list):
        return asked
    return [asked]


def _pages(body: dict[str, JSON], seed: str) -> dict[str, JSON]:
    size = {"dpi": 200, "height": 2200, "width": 1700}
    page = {"index": 0, "markdown": sentence(seed), "images": [], "dimensions": size}
    return {"pages": [page], "usage_info": {"pages_processed": 1, "doc_size_bytes": None}, "document_annotation": None}


def _conversation(body: dict[str, JSON], seed: str) -> dict[str, JSON]:
    text = sentence(seed)
    entry = {
        "object": "entry",
        "type": "message.output",
        "id": f"msg_{seed[:24]}",
        "role": "assistant",
        "content": text,
    }
    used, made = tokens(said(body.get("inputs"))), tokens(text)
    return {
        "object": "conversation.response",
        "conversation_id": f"conv_{seed[:24]}",
        "outputs": [entry],
        "usage": {"prompt_tokens": used, "completion_tokens": made, "total_tokens": used + made},
    }


_MAKERS = {
    "/v1/moderations": _moderations,
    "/v1/chat/moderations": _moderations,
    "/v1/classifications": _classifications,
    "/v1/chat/classifications": _classifications,
    "/v1/ocr": _pages,
    "/v1/conversations": _conversation,
}
