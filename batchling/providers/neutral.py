"""The parts of a request body that cannot change an answer, as far as several providers share them.

Facts: the request types of openai 3.57 and anthropic 2.14, Google's reference of `generateContent`, mistralai 3.7.
What a single provider adds is listed with its own facts.
"""

from __future__ import annotations

from batchling.core.neutral import Neutral

OPENAI_LABELS = (
    "metadata",  # "additional information about the object", 16 pairs
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "store",  # whether the answer can be retrieved later
    "user",
)
"""Labels, caching and storage options of OpenAI's requests, for all that speak its dialect: a provider that does not
know one of them refuses or ignores it. `seed`, `service_tier` and `n` change answers and are not among them."""

CHAT_IDS = ("messages[].tool_calls[].id", "messages[].tool_call_id")
"""Neutral ids of chat completions."""

_WITH_ID = (
    "message",
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "custom_tool_call_output",
    "computer_call",
    "computer_call_output",
    "local_shell_call",
    "local_shell_call_output",
    "shell_call",
    "shell_call_output",
    "apply_patch_call",
    "apply_patch_call_output",
    "mcp_approval_request",
    "mcp_approval_response",
)
"""Types of input items that are complete without anything the provider stored. The `id` of an `item_reference`, a
`reasoning` item or an `image_generation_call` says which content is meant, so it counts."""

RESPONSES_IDS = (
    f"input[{'|'.join(_WITH_ID)}].id",
    "input[].call_id",
    "input[].approval_request_id",
    "input[].caller.caller_id",
)
"""Neutral ids of responses. The `call_id` of a local shell's output is its `id`: they share one numbering."""

MESSAGES_IDS = (
    "messages[].content[tool_use|server_tool_use|mcp_tool_use].id",
    "messages[].content[].tool_use_id",
    "messages[].content[].caller.tool_id",
)
"""Neutral ids of Anthropic's messages."""

GEMINI_IDS = tuple(
    f"contents[].parts[].{part}.id"
    for part in ("functionCall", "function_call", "functionResponse", "function_response")
)
"""Neutral ids of `generateContent`, whose REST API accepts both spellings."""

OPENAI_DIALECT = Neutral(OPENAI_LABELS, CHAT_IDS + RESPONSES_IDS + MESSAGES_IDS)
"""The neutral parts for all that speak OpenAI's dialect; some of them offer Anthropic's messages as well."""
