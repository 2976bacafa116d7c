"""Real-time answers as server-sent events, in the order and the shapes in which the providers send them.

Each text comes in one piece or two; what matters to a client is which events occur.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from aiohttp import web

from batchling.testing.replies import encode


async def openai_stream(
    request: web.Request, endpoint: str, body: dict[str, Any], answer: dict[str, Any]
) -> web.StreamResponse:
    """The response to a call of this endpoint in OpenAI's dialect that requests a stream."""
    if endpoint.endswith("/responses"):
        return await _send(request, map(_named, _response_events(answer)))
    if endpoint.endswith("/messages"):
        return await claude_stream(request, answer)
    chunks = _chunks(answer, bool((body.get("stream_options") or {}).get("include_usage")))
    return await _send(request, [*map(_unnamed, chunks), b"data: [DONE]\n\n"])


async def mistral_stream(request: web.Request, endpoint: str, answer: dict[str, Any]) -> web.StreamResponse:
    """The response to a call to Mistral that requests a stream; the usage is in the last piece."""
    if endpoint.endswith("/conversations"):
        return await _send(request, map(_named, _conversation_events(answer)))
    chunks = list(_chunks(answer, include_usage=False))
    chunks[-1]["usage"] = answer["usage"]
    return await _send(request, [*map(_unnamed, chunks), b"data: [DONE]\n\n"])


async def claude_stream(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
    """The message as Anthropic streams it: each block in one piece."""
    return await _send(request, map(_named, _message_events(message)))


async def gemini_stream(request: web.Request, answer: dict[str, Any]) -> web.StreamResponse:
    """The response of `streamGenerateContent`: events with `alt=sse`, else one JSON array that grows."""
    pieces = list(map(encode, _parts(answer)))
    if request.query.get("alt") == "sse":
        return await _send(request, (b"data: " + piece + b"\r\n\r\n" for piece in pieces))
    marks = [b"[", *[b",\r\n"] * (len(pieces) - 1)]
    return await _send(
        request, [*(mark + piece for mark, piece in zip(marks, pieces, strict=True)), b"\n]\n"], "application/json"
    )


async def _send(request: web.Request, pieces: Iterable[bytes], kind: str = "text/event-stream") -> web.StreamResponse:
    stream = web.StreamResponse(headers={"content-type": kind})
    await stream.prepare(request)
    for piece in pieces:
        await stream.write(piece)
    await stream.write_eof()
    return stream


def _named(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\n".encode() + _unnamed(event)


def _unnamed(event: dict[str, Any]) -> bytes:
    return b"data: " + encode(event) + b"\n\n"


def _chunks(answer: dict[str, Any], include_usage: bool) -> Iterator[dict[str, Any]]:
    """The chunks of a chat completion or a completion: the contents, the ends, and the usage if requested."""
    chat = "message" in answer["choices"][0]
    chunk = {**answer, "object": "chat.completion.chunk"} if chat else dict(answer)
    chunk["usage"] = None
    for over in (False, True):
        choices = []
        for choice in answer["choices"]:
            made = (
                {"delta": {} if over else _delta(choice["message"])} if chat else {"text": choice["text"] * (not over)}
            )
            finish = choice["finish_reason"] if over else None
            choices.append({"index": choice["index"], **made, "logprobs": None, "finish_reason": finish})
        yield {**chunk, "choices": choices}
    if include_usage:
        yield {**chunk, "choices": [], "usage": answer["usage"]}


def _delta(message: dict[str, Any]) -> dict[str, Any]:
    """A complete message as one piece of a stream, in which tool calls are numbered."""
    if "tool_calls" not in message:
        return message
    return {**message, "tool_calls": [{**call, "index": n} for n, call in enumerate(message["tool_calls"])]}


def _response_events(response: dict[str, Any]) -> Iterator[dict[str, Any]]:
    early = {**response, "status": "in_progress", "output": [], "usage": None}
    events: list[dict[str, Any]] = [
        {"type": f"response.{word}", "response": early} for word in ("created", "in_progress")
    ]
    for index, item in enumerate(response["output"]):
        at = {"output_index": index}
        empty: dict[str, Any] = {"content": []} if item["type"] == "message" else {"arguments": ""}
        added = {**item, **empty, "status": "in_progress"}
        events.append({"type": "response.output_item.added", **at, "item": added})
        at_item = {**at, "item_id": item["id"]}
        if item["type"] == "function_call":
            kind = "response.function_call_arguments"
            events.append({"type": f"{kind}.delta", **at_item, "delta": item["arguments"]})
            events.append({"type": f"{kind}.done", **at_item, "arguments": item["arguments"], "name": item["name"]})
        for place, part in enumerate(item.get("content") or []):
            at_part = {**at_item, "content_index": place}
            text = {**at_part, "logprobs": []}
            events.append({"type": "response.content_part.added", **at_part, "part": {**part, "text": ""}})
            events.append({"type": "response.output_text.delta", **text, "delta": part["text"]})
            events.append({"type": "response.output_text.done", **text, "text": part["text"]})
            events.append({"type": "response.content_part.done", **at_part, "part": part})
        events.append({"type": "response.output_item.done", **at, "item": item})
    events.append({"type": "response.completed", "response": response})
    for number, event in enumerate(events):
        yield {**event, "sequence_number": number}


def _message_events(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}}
    for index, block in enumerate(message["content"]):
        if block["type"] == "text":
            empty, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
        else:
            empty = {**block, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": encode(block["input"]).decode()}
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    reason = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": reason, "usage": message["usage"]}
    yield {"type": "message_stop"}


def _conversation_events(conversation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"type": "conversation.response.started", "conversation_id": conversation["conversation_id"]}
    for index, entry in enumerate(conversation["outputs"]):
        piece = {"id": entry["id"], "output_index": index, "content": entry["content"], "role": entry["role"]}
        yield {"type": "message.output.delta", **piece}
    yield {"type": "conversation.response.done", "usage": conversation["usage"]}


def _parts(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The parts of a Gemini answer: its first half without an end, and the rest. A function call is never split."""
    texts = [each["content"]["parts"][0].get("text", "") for each in answer["candidates"]]
    if all(texts):
        first = []
        for candidate, text in zip(answer["candidates"], texts, strict=True):
            content = {**candidate["content"], "parts": [{"text": text[: len(text) // 2]}]}
            first.append({"content": content, "index": candidate["index"]})
        used = answer["usageMetadata"]["promptTokenCount"]
        yield {**answer, "candidates": first, "usageMetadata": {"promptTokenCount": used, "totalTokenCount": used}}
    rest = []
    for candidate, text in zip(answer["candidates"], texts, strict=True):
        parts = [{"text": text[len(text) // 2 :]}] if all(texts) else candidate["content"]["parts"]
        rest.append({**candidate, "content": {**candidate["content"], "parts": parts}})
    yield {**answer, "candidates": rest}
