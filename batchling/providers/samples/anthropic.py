"""Sample answers of Anthropic's Messages endpoint, in the shapes of the anthropic SDK 2.12."""

from __future__ import annotations

from typing import Any

import msgspec

from batchling.providers.samples.schema import instance
from batchling.providers.samples.text import asked_seed, next_tool, prompt_text, reply, tokens


def answer(body: dict[str, Any]) -> dict[str, Any]:
    """A message that a call with this body could have returned."""
    seed = asked_seed(body)
    block, reason = _content(body, seed)
    usage = {
        "input_tokens": tokens([body.get("system"), body.get("messages")]),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": tokens(block),
        "service_tier": "standard",
    }
    return {
        "id": f"msg_{seed[:24]}",
        "type": "message",
        "role": "assistant",
        "model": body.get("model"),
        "content": [block],
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": usage,
    }


def _content(body: dict[str, Any], seed: str) -> tuple[dict[str, Any], str]:
    choice = body.get("tool_choice") or {}
    tools = [tool for tool in body.get("tools") or [] if "input_schema" in tool]
    if choice.get("type") in ("any", "tool") and tools:
        named = next((tool for tool in tools if tool.get("name") == choice.get("name")), None)
        tool = named or next_tool(tools, _called(body)) or tools[0]
        made = instance(tool["input_schema"], seed)
        return {"type": "tool_use", "id": f"toolu_{seed[:24]}", "name": tool.get("name"), "input": made}, "tool_use"
    form = (body.get("output_config") or {}).get("format") or body.get("output_format")
    if isinstance(form, dict) and form.get("type") == "json_schema":
        text = msgspec.json.encode(instance(form.get("schema") or {}, seed)).decode()
    else:
        text = reply(f"{prompt_text(body.get('system') or '')}\n{prompt_text(body.get('messages') or [])}", seed)
    return {"type": "text", "text": text}, "end_turn"


def _called(body: dict[str, Any]) -> set[Any]:
    """The names of the tools that the conversation has used so far."""
    contents = [turn.get("content") for turn in body.get("messages") or [] if isinstance(turn, dict)]
    blocks = [
        block for content in contents if isinstance(content, list) for block in content if isinstance(block, dict)
    ]
    return {block.get("name") for block in blocks if block.get("type") == "tool_use"}
