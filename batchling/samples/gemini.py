"""Sample answers of Gemini's endpoints, in the shapes of google-genai 3.4."""

from __future__ import annotations

import msgspec

from batchling.core.model import JSON
from batchling.samples.schema import instance
from batchling.samples.text import number, reply, said, seed_of, tokens


def answer(method: str, model: str, body: dict[str, JSON]) -> dict[str, JSON]:
    """The JSON that a call of this method (`generateContent` ...) with this body could have got."""
    if method == "embedContent":
        return {"embedding": _embedding(body)}
    if method == "batchEmbedContents":
        return {"embeddings": [_embedding(each) for each in body.get("requests") or []]}
    return _generated(model, body)


def _generated(model: str, body: dict[str, JSON]) -> dict[str, JSON]:
    seed = seed_of(body)
    contents = body.get("contents") or []
    prompt = said([part for content in contents if isinstance(content, dict) for part in content.get("parts") or []])
    config = body.get("generationConfig") or {}
    schema = config.get("responseJsonSchema") or _lowered(config.get("responseSchema"))
    candidates = []
    for index in range(config.get("candidateCount") or 1):
        name = f"candidate{index}" if index else ""
        if schema:
            text = msgspec.json.encode(instance(schema, seed + name)).decode()
        elif config.get("responseMimeType") == "application/json":
            text = msgspec.json.encode({"answer": reply(prompt, seed, name)}).decode()
        else:
            text = reply(prompt, seed, name)
        content = {"role": "model", "parts": [{"text": text}]}
        candidates.append({"content": content, "finishReason": "STOP", "index": index})
    used, made = tokens(contents), sum(tokens(each["content"]) for each in candidates)
    return {
        "candidates": candidates,
        "usageMetadata": {"promptTokenCount": used, "candidatesTokenCount": made, "totalTokenCount": used + made},
        "modelVersion": model.removeprefix("models/"),
        "responseId": seed[:22],
    }


def _lowered(schema: JSON) -> JSON:
    """A schema of Gemini's own kind, whose types are in capitals, as JSON Schema."""
    if isinstance(schema, dict):
        return {
            name: value.lower() if name == "type" and isinstance(value, str) else _lowered(value)
            for name, value in schema.items()
        }
    return [_lowered(each) for each in schema] if isinstance(schema, list) else schema


def _embedding(body: dict[str, JSON]) -> dict[str, JSON]:
    seed = seed_of(body.get("content"))
    size = body.get("outputDimensionality") or 8
    return {"values": [number(seed, str(place), 2_000) / 1_000 - 1 for place in range(size)]}
