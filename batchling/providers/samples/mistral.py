"""Sample answers of Mistral's endpoints, in the shapes of the mistralai SDK 3.7, which accepts no others."""

from __future__ import annotations

from typing import Any

from batchling.providers.samples import openai
from batchling.providers.samples.text import asked_seed, number, prompt_text, seed_of, sentence, tokens

_HARMS = (
    "sexual",
    "hate_and_discrimination",
    "violence_and_threats",
    "dangerous_and_criminal_content",
    "selfharm",
    "health",
    "financial",
    "law",
    "pii",
)


def answer(endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
    """The JSON that a call of this endpoint (`/v1/chat/completions` ...) with this body could have returned."""
    seed = asked_seed(body)
    if endpoint == "/v1/ocr":
        page = {"index": 0, "markdown": sentence(seed), "images": [], "dimensions": None}
        return {"pages": [page], "model": body.get("model"), "usage_info": {"pages_processed": 1, "doc_size_bytes": 0}}
    if endpoint.endswith(("/moderations", "/classifications")):
        judge = _moderated if endpoint.endswith("/moderations") else _classified
        given = body.get("input")
        # One conversation is a list of messages, several are a list of such lists; a single text is a string.
        several = isinstance(given, list) and ("chat" not in endpoint or (given and isinstance(given[0], list)))
        results = [judge(seed_of(each)) for each in (given if isinstance(given, list) and several else [given])]
        return {"id": f"mod-{seed[:24]}", "model": body.get("model"), "results": results}
    if endpoint == "/v1/conversations":
        return _conversation(body, seed)
    if endpoint == "/v1/fim/completions":
        body = {**body, "messages": [{"role": "user", "content": body.get("prompt")}]}
        endpoint = "/v1/chat/completions"
    if endpoint == "/v1/embeddings":
        body = {**body, "dimensions": body.get("output_dimension") or 1024}
    found = openai.answer(endpoint, body)
    if "id" not in found:
        used = tokens(body.get("input"))
        usage = {"prompt_tokens": used, "completion_tokens": 0, "total_tokens": used}
        found = {"id": f"embd-{seed[:24]}", **found, "usage": usage}
    return found


def _moderated(seed: str) -> dict[str, Any]:
    scores = {harm: number(seed, harm, 1_000) / 1e6 for harm in _HARMS}
    return {"categories": dict.fromkeys(_HARMS, False), "category_scores": scores}


def _classified(seed: str) -> dict[str, Any]:
    yes = number(seed, "yes", 1_000) / 1_000
    return {"label": {"scores": {"yes": yes, "no": 1 - yes}}}


def _conversation(body: dict[str, Any], seed: str) -> dict[str, Any]:
    text = sentence(seed)
    entry = {
        "object": "entry",
        "type": "message.output",
        "id": f"msg_{seed[:24]}",
        "role": "assistant",
        "content": text,
    }
    used, made = tokens(prompt_text(body.get("inputs"))), tokens(text)
    return {
        "object": "conversation.response",
        "model": body.get("model"),
        "conversation_id": f"conv_{seed[:24]}",
        "outputs": [entry],
        "usage": {"prompt_tokens": used, "completion_tokens": made, "total_tokens": used + made},
    }
