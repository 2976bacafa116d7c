"""Sample answers of OpenAI's endpoints, in the shapes of the openai SDK 3.54."""

from __future__ import annotations

import base64
import math
import struct
from typing import Any

import msgspec

from batchling.providers.samples.schema import instance
from batchling.providers.samples.text import asked_seed, next_tool, number, prompt_text, reply, seed_of, tokens

CREATED = 1_795_000_000
"""A fixed Unix time, so equal requests get equal answers."""

_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
"""A one-pixel PNG in base64."""

_DIMENSIONS = {"text-embedding-3-large": 3072}


def answer(endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
    """The JSON that a call of this endpoint (`/v1/chat/completions` ...) with this body could have returned."""
    return _MAKERS[endpoint](body, asked_seed(body))


def _chat(body: dict[str, Any], seed: str) -> dict[str, Any]:
    messages = body.get("messages") or []
    prompt = prompt_text(messages)
    choices = []
    for index in range(body.get("n") or 1):
        name = f"choice{index}" if index else ""
        message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None, "annotations": []}
        finish = "stop"
        if called := _forced_tool(body, [tool.get("function", tool) for tool in body.get("tools") or []]):
            arguments = msgspec.json.encode(instance(called.get("parameters") or {}, seed + name)).decode()
            call = {"name": called.get("name"), "arguments": arguments}
            message["tool_calls"] = [{"id": f"call_{seed[:20]}{index}", "type": "function", "function": call}]
            finish = "stop" if isinstance(body.get("tool_choice"), dict) else "tool_calls"
        else:
            message["content"] = _formatted(body.get("response_format"), prompt, seed, name)
        choices.append({"index": index, "message": message, "logprobs": None, "finish_reason": finish})
    used = tokens(messages)
    made = sum(tokens(choice["message"]) for choice in choices)
    return {
        "id": f"chatcmpl-{seed[:29]}",
        "object": "chat.completion",
        "created": CREATED,
        "model": body.get("model"),
        "choices": choices,
        "usage": {
            "prompt_tokens": used,
            "completion_tokens": made,
            "total_tokens": used + made,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "service_tier": "default",
        "system_fingerprint": None,
    }


def _forced_tool(body: dict[str, Any], tools: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The tool that must be called: the named one, or the first where any will do; None where text is allowed."""
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        name = choice.get("name") or (choice.get("function") or {}).get("name")
        return next((tool for tool in tools if tool.get("name") == name), tools[0] if tools else None)
    return next_tool(tools, _called(body)) if choice == "required" else None


def _called(body: dict[str, Any]) -> set[Any]:
    """The names of the functions that the conversation has called so far, in the format of chat and of responses."""
    given = body.get("input")
    turns = [*(body.get("messages") or []), *(given if isinstance(given, list) else [])]
    turns = [turn for turn in turns if isinstance(turn, dict)]
    calls = [call.get("function") or {} for turn in turns for call in turn.get("tool_calls") or []]
    calls += [turn for turn in turns if turn.get("type") == "function_call"]
    return {call.get("name") for call in calls}


def _formatted(form: Any, prompt: str, seed: str, name: str = "") -> str:
    """The text of an answer in the requested format: JSON for a schema, any JSON, or prose."""
    kind = form.get("type") if isinstance(form, dict) else None
    if kind == "json_schema":
        schema = (form.get("json_schema") or form).get("schema") or {}
        return msgspec.json.encode(instance(schema, seed + name)).decode()
    if kind == "json_object":
        return msgspec.json.encode({"answer": reply("", seed, name)}).decode()
    return reply(prompt, seed, name)


def _responses(body: dict[str, Any], seed: str) -> dict[str, Any]:
    prompt = f"{body.get('instructions') or ''}\n{prompt_text(body.get('input') or '')}"
    if called := _forced_tool(body, [tool for tool in body.get("tools") or [] if tool.get("type") == "function"]):
        output: dict[str, Any] = {
            "type": "function_call",
            "id": f"fc_{seed[:24]}",
            "call_id": f"call_{seed[:24]}",
            "name": called.get("name"),
            "arguments": msgspec.json.encode(instance(called.get("parameters") or {}, seed)).decode(),
            "status": "completed",
        }
    else:
        text = _formatted((body.get("text") or {}).get("format"), prompt, seed)
        content = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        output = {
            "type": "message",
            "id": f"msg_{seed[:24]}",
            "role": "assistant",
            "status": "completed",
            "content": [content],
        }
    used, made = tokens(prompt), tokens(output)
    return {
        "id": f"resp_{seed[:32]}",
        "object": "response",
        "created_at": CREATED,
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "model": body.get("model"),
        "output": [output],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": bool(body.get("store", True)),
        "temperature": body.get("temperature", 1.0),
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": {
            "input_tokens": used,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": made,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": used + made,
        },
        "user": None,
        "metadata": body.get("metadata") or {},
    }


def _embeddings(body: dict[str, Any], seed: str) -> dict[str, Any]:
    given = body.get("input")
    inputs = given if isinstance(given, list) and given and isinstance(given[0], str | list) else [given]
    size = body.get("dimensions") or _DIMENSIONS.get(body.get("model") or "", 1536)
    rows = []
    for index, value in enumerate(inputs):
        vector = _vector(seed_of([body.get("model"), value]), size)
        rows.append({"object": "embedding", "index": index, "embedding": _coded(vector, body.get("encoding_format"))})
    used = sum(tokens(value) for value in inputs)
    usage = {"prompt_tokens": used, "total_tokens": used}
    return {"object": "list", "data": rows, "model": body.get("model"), "usage": usage}


def _vector(seed: str, size: int) -> list[float]:
    """A vector of length 1."""
    raw = [(number(seed, str(place % 61), 2001) - 1000 + place % 7) / 1000 for place in range(size)]
    length = math.sqrt(sum(part * part for part in raw)) or 1.0
    return [part / length for part in raw]


def _coded(vector: list[float], coding: Any) -> Any:
    if coding == "base64":
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    return vector


def _completions(body: dict[str, Any], seed: str) -> dict[str, Any]:
    prompt = body.get("prompt") or ""
    prompts = prompt if isinstance(prompt, list) and prompt and isinstance(prompt[0], str) else [prompt]
    count = len(prompts) * (body.get("n") or 1)
    choices = [
        {"index": index, "text": reply("", seed, str(index)), "logprobs": None, "finish_reason": "stop"}
        for index in range(count)
    ]
    used, made = tokens(prompt), tokens(choices)
    return {
        "id": f"cmpl-{seed[:29]}",
        "object": "text_completion",
        "created": CREATED,
        "model": body.get("model"),
        "choices": choices,
        "usage": {"prompt_tokens": used, "completion_tokens": made, "total_tokens": used + made},
    }


_HARMS = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)


def _moderations(body: dict[str, Any], seed: str) -> dict[str, Any]:
    given = body.get("input")
    count = len(given) if isinstance(given, list) and all(isinstance(one, str) for one in given) else 1
    result = {
        "flagged": False,
        "categories": dict.fromkeys(_HARMS, False),
        "category_scores": {harm: number(seed, harm, 1000) / 1e6 for harm in _HARMS},
        "category_applied_input_types": {harm: ["text"] for harm in _HARMS},
    }
    return {"id": f"modr-{seed[:24]}", "model": body.get("model"), "results": [result] * count}


def _images(body: dict[str, Any], seed: str) -> dict[str, Any]:
    picture = {"b64_json": _PIXEL}
    used = tokens(body.get("prompt") or "")
    details = {"text_tokens": used, "image_tokens": 0}
    usage = {"input_tokens": used, "output_tokens": 256, "total_tokens": used + 256, "input_tokens_details": details}
    return {"created": CREATED, "data": [picture] * (body.get("n") or 1), "usage": usage}


def _videos(body: dict[str, Any], seed: str) -> dict[str, Any]:
    return {
        "id": f"video_{seed[:32]}",
        "object": "video",
        "created_at": CREATED,
        "completed_at": CREATED,
        "expires_at": CREATED + 86_400,
        "error": None,
        "model": body.get("model"),
        "progress": 100,
        "prompt": body.get("prompt"),
        "remixed_from_video_id": None,
        "seconds": str(body.get("seconds") or "4"),
        "size": body.get("size") or "720x1280",
        "status": "completed",
    }


def _audio(body: dict[str, Any], seed: str) -> dict[str, Any]:
    return {"text": reply("", seed)}


_MAKERS = {
    "/v1/chat/completions": _chat,
    "/v1/responses": _responses,
    "/v1/embeddings": _embeddings,
    "/v1/completions": _completions,
    "/v1/moderations": _moderations,
    "/v1/images/generations": _images,
    "/v1/images/edits": _images,
    "/v1/videos": _videos,
    "/v1/audio/transcriptions": _audio,
    "/v1/audio/translations": _audio,
}
