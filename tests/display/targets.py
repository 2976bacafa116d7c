"""Two queues, as the display is told of them."""

from __future__ import annotations

from batchling.core.model import Target

CHAT = Target("openai", "b", "/v1/chat/completions", "gpt-5-mini", "a")
CLAUDE = Target("anthropic", "b", "/v1/messages", "claude-haiku-4-5", "a")
