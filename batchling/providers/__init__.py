"""The table of providers, and which of them a URL belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from batchling.providers.anthropic import ANTHROPIC
from batchling.providers.base import Provider, Route
from batchling.providers.openai import OPENAI

PROVIDERS: Mapping[str, Provider] = {provider.name: provider for provider in (OPENAI, ANTHROPIC)}
"""Every built-in provider by its name."""


class Routes:
    """Finds the provider and the route of a URL: official hosts, and the gateways of one scope.

    `gateways` maps a base URL to a provider's name; any path may follow the base URL, and the longest base URL
    wins. Immutable after construction; `match` may be called from any thread and costs under a microsecond for
    a URL that it has seen.
    """

    def __init__(self, gateways: Mapping[str, str]) -> None:
        self._places: dict[str, list[tuple[str, Provider, bool]]] = {}
        for provider in PROVIDERS.values():
            for root in provider.roots:
                self._add(root, provider, official=True)
        for base, name in sorted(gateways.items(), key=lambda gateway: -len(gateway[0])):
            self._add(base, PROVIDERS[name], official=False)
        self.match = lru_cache(maxsize=4096)(self._match)

    def _add(self, base: str, provider: Provider, *, official: bool) -> None:
        parts = urlsplit(base)
        place = (base.rstrip("/"), provider, official)
        self._places.setdefault(parts.netloc.lower(), []).append(place)

    def _match(self, method: str, url: str) -> tuple[Provider, Route] | None:
        """The provider that knows this call, and its route; None when the call is not ours."""
        netloc = url.split("/", 3)[2].lower() if url.count("/") > 1 else ""
        for base, provider, official in self._places.get(netloc, ()):
            if url.startswith(base) and url[len(base) : len(base) + 1] in ("/", "?", ""):
                route = provider.route(method, url, official=official)
                if route is not None:
                    return provider, route
        return None
