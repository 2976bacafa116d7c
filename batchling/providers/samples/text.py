"""Short texts and small numbers that depend only on a prompt."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any

import msgspec

_canonical = msgspec.json.Encoder(order="sorted")

_FIELD = re.compile(r"\[\[ ## (\w+) ## \]\]")
"""dspy requests its output fields between such marks."""

_OPENINGS = ("In short:", "Briefly put:", "The answer:", "As a rule:", "Most likely:", "On balance:")
_SUBJECTS = ("the first option", "a careful yes", "a plain no", "the second half", "a middle way", "the usual case")
_REASONS = ("it is simplest", "the facts agree", "time is short", "nothing speaks against it", "it was asked for")


def seed_of(body: Any) -> str:
    """64 hex digits that identify a request body."""
    return sha256(_canonical.encode(body)).hexdigest()


def asked_seed(body: dict[str, Any]) -> str:
    """A seed that identifies a request however its answer is sent: a stream has the same text as a plain answer."""
    return seed_of({name: value for name, value in body.items() if name not in ("stream", "stream_options")})


def number(seed: str, name: str, count: int) -> int:
    """An integer in [0, count) that depends on the seed and the name."""
    return int.from_bytes(sha256(f"{seed}\0{name}".encode()).digest()[:8], "big") % count


def sentence(seed: str, name: str = "") -> str:
    """A sentence that differs between most seeds."""
    parts = [
        words[number(seed, f"{name}{kind}", len(words))] for kind, words in enumerate((_OPENINGS, _SUBJECTS, _REASONS))
    ]
    return f"{parts[0]} {parts[1]}, since {parts[2]} (sample {seed[:6]})."


def reply(prompt: str, seed: str, name: str = "") -> str:
    """The text of an answer. If the prompt asks for marked fields, it contains all of them."""
    fields = [field for field in dict.fromkeys(_FIELD.findall(prompt)) if field != "completed"]
    if not fields or "completed" not in prompt:
        # Characters that some take for line ends are repeated, as a model that quotes the prompt would do.
        return sentence(seed, name) + "".join(mark for mark in "\u2028\u2029\x85" if mark in prompt)
    asked = prompt.rpartition("[[ ## completed ## ]]")[0]
    marked = [field for field in fields if f"[[ ## {field} ## ]]" in asked]
    body = "\n\n".join(f"[[ ## {field} ## ]]\n{sentence(seed, name + field)}" for field in marked)
    return f"{body}\n\n[[ ## completed ## ]]"


def next_tool(tools: list[dict[str, Any]], called: set[Any]) -> dict[str, Any] | None:
    """The tool to call where one must be called: the first that the conversation has not called yet, so agents finish;
    the last one once all have been called; None if there are no tools."""
    return next((tool for tool in tools if tool.get("name") not in called), tools[-1] if tools else None)


def tokens(value: Any) -> int:
    """The approximate number of tokens of a value: four characters each, at least one."""
    text = value if isinstance(value, str) else _canonical.encode(value).decode()
    return max(1, len(text) // 4)


def prompt_text(content: Any) -> str:
    """All text in a message's content, at any depth."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(prompt_text(part) for part in content)
    if isinstance(content, dict):
        return "\n".join(prompt_text(content[name]) for name in ("text", "content", "input") if name in content)
    return ""
