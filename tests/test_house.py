"""The house rules that no linter knows: what a provider is like stands in that provider's own module."""

from __future__ import annotations

import re
from pathlib import Path

from batchling.providers import PROVIDERS

ROOT = Path(__file__).parent.parent / "batchling"

OTHERS = ("claude", "entra", "litellm", "bedrock", "moonshot", "googleapis", "microsoft")
HEADERS = ("x-goog-", "x-api-key", "api-key", "anthropic-", "openai-")
KEYS = ("cache_control", "generationConfig", "max_tokens", "max_completion_tokens", "usageMetadata", "custom_id")
NAMES = re.compile(
    "|".join(rf"\b{re.escape(name)}\b" for name in sorted({*PROVIDERS, *OTHERS, *KEYS} - {"together"}))
    + "|"
    + "|".join(map(re.escape, HEADERS)),
    re.IGNORECASE,
)

ALLOWED = {
    # What people are told, with names of SDKs that they have installed.
    "cli/doctor.py": {"anthropic", "cerebras", "fireworks", "groq", "litellm", "openai", "xai"},
    "display/hints.py": {"cache_control", "claude", "litellm", "max_tokens", "openai", "xai"},
    "hooks/lm15.py": {"litellm"},
    # Examples in messages.
    "cli/manual.py": {"openai", "vertex"},
    "environment/gateways.py": {"openai"},
    "environment/registry.py": {"vertex"},
    "money/quote.py": {"max_tokens"},
    # The demo asks one of the embedded server's APIs.
    "cli/demo.py": {"openai"},
    # The libraries of clouds.
    "environment/cloud_tokens.py": {"azure", "entra", "googleapis", "microsoft"},
    # Names of the list of prices, and of the shapes of answers in it.
    "money/prices.py": {"anthropic", "openai"},
    "money/usage.py": {"usagemetadata"},
}
"""Where such a word may stand all the same, outside of comments and docstrings."""


def test_what_a_provider_is_like_stands_in_its_own_module() -> None:
    found: dict[str, set[str]] = {}
    for path in ROOT.rglob("*.py"):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(("providers/", "testing/")):
            words = {word.lower() for word in NAMES.findall(_code(path.read_text()))}
            if words:
                found[name] = words
    names = found.keys() | ALLOWED.keys()
    strange = {name: found.get(name, set()) - ALLOWED.get(name, set()) for name in names}
    assert {name: words for name, words in strange.items() if words} == {}
    # What is allowed and not there any more goes.
    gone = {name: ALLOWED.get(name, set()) - found.get(name, set()) for name in names}
    assert {name: words for name, words in gone.items() if words} == {}


def _code(text: str) -> str:
    """A module without its docstrings and comments."""
    return re.sub(r"#[^\n]*", "", re.sub(r'(?m)^\s*(?:r|f)?"""[\s\S]*?"""', "", text))
