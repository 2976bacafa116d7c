"""`batchling doctor`: what is hooked, installed and set, and what would happen to calls to a URL.

Prints the names of variables, never their values. No network.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

from batchling import __version__
from batchling.cache import cache_folder
from batchling.cli import cache
from batchling.cli.arguments import plain
from batchling.cli.tables import say
from batchling.core.text import web_address
from batchling.display.providers import price
from batchling.environment import registry
from batchling.environment.gateways import known_gateways
from batchling.errors import CacheError, ScriptError
from batchling.providers.base import Adjustable, Provider
from batchling.providers.routes import Routes

_HOOKED = ("httpx", "httpx2", "aiohttp", "requests")
_SDKS = (
    "openai",
    "anthropic",
    "google-genai",
    "mistralai",
    "groq",
    "together",
    "fireworks-ai",
    "cerebras-cloud-sdk",
    "voyageai",
    "perplexityai",
    "zhipuai",
    "litellm",
    "langchain-openai",
    "langchain-anthropic",
    "pydantic-ai",
    "instructor",
    "openai-agents",
    "dspy",
    "llama-index",
)
_OUT_OF_REACH = {
    "xai-sdk": "speaks gRPC: use the openai SDK at api.x.ai",
    "boto3": "signs each call itself: no batch can carry it",
}
_SETTINGS = ("BATCHLING_CACHE_DIR", "BATCHLING_GATEWAYS", *registry.setting_variables())


def doctor(words: Sequence[str]) -> int:
    """Print what a run would find or, if a URL is given, what would happen to POST calls to it. Returns 0, or 1 when
    the cache folder cannot be used."""
    _, rest = plain(words, "doctor [URL]", most=1)
    known = registry.providers()
    gateways = known_gateways(None, known)
    if rest:
        _print("calls to", _would(rest[0], Routes(gateways, known)))
        return 0
    _print("batchling", [f"{__version__} on Python {platform.python_version()}"])
    _print("hooked", _versions(_HOOKED) or ["no HTTP library is installed"])
    _print("SDKs", _versions(_SDKS) or ["none is installed"])
    if strangers := _versions(_OUT_OF_REACH):
        _print("not batched", [f"{name}: {_OUT_OF_REACH[name.partition(' ')[0]]}" for name in strangers])
    _print("credentials", _credentials(known.values()) or ["none is set"])
    _print("settings", [name for name in _SETTINGS if os.environ.get(name)] or ["none is set"])
    _print("gateways", [f"{base} as {name}" for base, name in gateways.items()] or ["none"])
    try:
        _print("cache", [f"{name} {text}" for name, text in cache.facts()] + _rights())
    except CacheError as fault:
        _print("cache", [str(fault)])
        return 1
    return 0


def _print(name: str, lines: Sequence[str]) -> None:
    for number, line in enumerate(lines):
        say(f"{name if number == 0 else '':<13}{line}".rstrip())


def _versions(names: Iterable[str]) -> list[str]:
    found = []
    for name in names:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found


def _credentials(providers: Iterable[Provider]) -> list[str]:
    """The variables that are set, each with the providers whose credential it may be."""
    owners: dict[str, list[str]] = {}
    for provider in providers:
        for name in provider.facts.variables:
            if os.environ.get(name):
                owners.setdefault(name, []).append(provider.name)
    return [f"{name} ({', '.join(names)})" for name, names in owners.items()]


def _rights() -> list[str]:
    """What is wrong with a folder that can be read."""
    folder = Path(cache_folder())
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return [] if os.access(folder, os.W_OK | os.X_OK) else [f"cannot be written: {folder}"]


def _would(url: str, routes: Routes) -> list[str]:
    parts = web_address(url)
    if parts is None:
        raise ScriptError("doctor takes a URL like https://api.openai.com/v1/chat/completions")
    # Without the parts that may be secret: user, password and query.
    port = f":{parts.port}" if parts.port else ""
    lines = [f"{parts.scheme}://{parts.hostname}{port}{parts.path}"]
    matched = routes.match("POST", url)
    if matched is None:
        reason = "not a provider or gateway that batchling knows, or a call that generates nothing"
        return [*lines, f"pass untouched: {reason}", "a gateway can be named in BATCHLING_GATEWAYS or gateways="]
    provider, route = matched
    if not route.endpoint:
        reason = f"{provider.facts.title} has no batch form of this call"
        return [*lines, f"go real time at full price, and are reported: {reason}"]
    if isinstance(provider, Adjustable) and provider.lacks:
        return [*lines, f"go real time at full price, and are reported: it needs {provider.lacks}"]
    facts = provider.facts
    lines.append(f"are batched by {facts.title}{'' if route.official else ', as a gateway'}")
    lines.append(f"price: {price(provider)}; takes {facts.window}")
    lines += [f"note: {quirk}" for quirk in facts.quirks]
    seen = [name for name in facts.variables if os.environ.get(name)]
    lines.append(f"credential: {', '.join(seen) or 'not set: ' + ' or '.join(facts.variables)}")
    return lines
