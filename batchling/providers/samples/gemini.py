"""Sample answers of Gemini's endpoints, in the shapes of google-genai 3.4."""

from __future__ import annotations

from typing import Any

import msgspec

from batchling.providers.samples.schema import instance
from batchling.providers.samples.text import next_tool, number, prompt_text, reply, seed_of, tokens

_OPEN = frozenset({"args", "response", "responseJsonSchema", "parametersJsonSchema", "labels", "default", "example"})
"""Fields whose value is the caller's own JSON."""
_MAPS = frozenset({"properties"})
"""Fields whose value maps the caller's own names to messages."""
_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})
"""Keys of a schema that are 64-bit integers, which JSON may represent as strings."""


def answer(method: str, model: str, body: dict[str, Any]) -> dict[str, Any]:
    """The JSON that a call of this method (`generateContent` ...) with this body could have returned."""
    body = lower_camel(body)
    if method == "embedContent":
        return {"embedding": _embedding(body)}
    if method == "batchEmbedContents":
        return {"embeddings": [_embedding(each) for each in body.get("requests") or []]}
    return _generated(model, body)


def _generated(model: str, body: dict[str, Any]) -> dict[str, Any]:
    seed = seed_of(body)
    contents = body.get("contents") or []
    prompt = prompt_text(
        [part for content in contents if isinstance(content, dict) for part in content.get("parts") or []]
    )
    config = body.get("generationConfig") or {}
    schema = config.get("responseJsonSchema") or _lowered(config.get("responseSchema"))
    called = _forced_call(body)
    candidates = []
    for index in range(config.get("candidateCount") or 1):
        name = f"candidate{index}" if index else ""
        part: dict[str, Any] = {}
        if called:
            form = called.get("parametersJsonSchema") or _lowered(called.get("parameters")) or {"type": "object"}
            part = {"functionCall": {"name": called.get("name"), "args": instance(form, seed + name)}}
        elif schema:
            part = {"text": msgspec.json.encode(instance(schema, seed + name)).decode()}
        elif config.get("responseMimeType") == "application/json":
            part = {"text": msgspec.json.encode({"answer": reply(prompt, seed, name)}).decode()}
        else:
            part = {"text": reply(prompt, seed, name)}
        content = {"role": "model", "parts": [part]}
        candidates.append({"content": content, "finishReason": "STOP", "index": index})
    used, made = tokens(contents), sum(tokens(each["content"]) for each in candidates)
    return {
        "candidates": candidates,
        "usageMetadata": {"promptTokenCount": used, "candidatesTokenCount": made, "totalTokenCount": used + made},
        "modelVersion": model.removeprefix("models/"),
        "responseId": seed[:22],
    }


def _forced_call(body: dict[str, Any]) -> dict[str, Any] | None:
    """The declaration of the function that must be called; None where text is allowed."""
    config = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    if str(config.get("mode")).upper() != "ANY":
        return None
    tools = body.get("tools") or []
    declared = [each for tool in tools if isinstance(tool, dict) for each in tool.get("functionDeclarations") or []]
    allowed = config.get("allowedFunctionNames") or [each.get("name") for each in declared]
    contents = [content for content in body.get("contents") or [] if isinstance(content, dict)]
    parts = [part for content in contents for part in content.get("parts") or []]
    called = {part["functionCall"].get("name") for part in parts if "functionCall" in part}
    return next_tool([each for each in declared if each.get("name") in allowed], called)


def lower_camel(value: Any, *, deep: bool = True) -> Any:
    """A message in proto3 JSON's standard spelling, of the two that it accepts: `system_instruction` becomes
    `systemInstruction`. Names that the caller chose stay as they are. Without `deep`, only the outermost names are
    changed."""
    if isinstance(value, list):
        return [lower_camel(each) for each in value]
    if not isinstance(value, dict):
        return value
    renamed: dict[str, Any] = {}
    for name, inner in value.items():
        first, *others = name.split("_")
        camel = first + "".join(other[:1].upper() + other[1:] for other in others) if first else name
        if camel in _MAPS and isinstance(inner, dict):
            renamed[camel] = {own: lower_camel(each) for own, each in inner.items()}
        else:
            renamed[camel] = lower_camel(inner) if deep and camel not in _OPEN else inner
    return renamed


def _lowered(schema: Any) -> Any:
    """A schema in Gemini's own format, with types in capitals and numbers as strings, converted to JSON Schema."""
    if isinstance(schema, dict):
        lowered: dict[str, Any] = {}
        for name, value in schema.items():
            if name == "type" and isinstance(value, str):
                lowered[name] = value.lower()
            elif name in _COUNTS and isinstance(value, str):
                lowered[name] = int(value)
            else:
                lowered[name] = _lowered(value)
        return lowered
    return [_lowered(each) for each in schema] if isinstance(schema, list) else schema


def _embedding(body: dict[str, Any]) -> dict[str, Any]:
    seed = seed_of(body.get("content"))
    size = body.get("outputDimensionality") or 8
    return {"values": [number(seed, str(place), 2_000) / 1_000 - 1 for place in range(size)]}
