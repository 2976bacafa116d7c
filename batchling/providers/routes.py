"""Which provider a URL belongs to."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from batchling.providers import PROVIDERS
from batchling.providers.base import Provider, Route
from batchling.providers.roots import pattern

UNKNOWN_HOST = "no batch API is known at this host (a gateway? name it in gateways=)"

_ANYWHERE = (
    "/chat/completions",
    "/v1/messages",
    "/v1/responses",
    "/v1/embeddings",
    ":generateContent",
    ":embedContent",
    "/ml/v1/text/chat",
)
"""Endings of the paths of paid calls, at any host."""
_UNBATCHED_HOSTS = (
    "api.cohere.com",
    "api.cohere.ai",
    "bedrock-runtime.",
    "bedrock-mantle.",
    "ai-gateway.vercel.sh",
)
"""Beginnings of those hosts of `WITHOUT` whose paid calls have other paths."""
_AT_BATCH_PRICE = ("batch.dashscope.",)
"""Beginnings of hosts whose calls are already charged at the batch price; Volcengine Ark's have their own path."""
_TRACES = ("/traces/ingest", "/v1/traces")
"""Endings of the paths to which tracing clients send what they recorded: no model answers there."""


class Routes:
    """Find the provider and the route of a URL, at official hosts and at the gateways of one scope.

    `gateways` maps a base URL to a provider's name; any path may follow the base URL, and the longest base URL
    wins. `providers` are the scope's providers, by name. Immutable after construction; `match` may be called from any
    thread and takes less than a microsecond for a URL it has seen before.
    """

    def __init__(self, gateways: Mapping[str, str], providers: Mapping[str, Provider] = PROVIDERS) -> None:
        self.providers = providers
        self._places: dict[str, list[_Place]] = {}
        self._families: list[tuple[re.Pattern[str], _Place]] = []
        for base, name in sorted(gateways.items(), key=lambda gateway: -len(gateway[0])):
            self._add(base, providers[name], official=False)
        for provider in providers.values():
            for root in provider.roots:
                self._add(root, provider, official=True)
        self.match: Callable[[str, str], tuple[Provider, Route] | None] = lru_cache(maxsize=4096)(self._match)
        self.unserved: Callable[[str, str], bool] = lru_cache(maxsize=4096)(self._unserved)

    def _add(self, base: str, provider: Provider, *, official: bool) -> None:
        parts = urlsplit(base)
        host = parts.netloc.lower()
        place = (parts.scheme, parts.path.rstrip("/"), provider, official)
        if "*" in host:
            self._families.append((pattern(host), place))
        else:
            self._places.setdefault(host, []).append(place)

    def _match(self, method: str, url: str) -> tuple[Provider, Route] | None:
        """The provider that recognises this call, and its route; None when the call is not ours."""
        scheme, _, rest = url.partition("://")
        host, slash, path = rest.partition("/")
        host = host.lower()
        if (slash + path).partition("?")[0].endswith(_TRACES):
            return None
        families = [place for hosts, place in self._families if hosts.fullmatch(host)]
        for known_scheme, root, provider, official in [*self._places.get(host, ()), *families]:
            if scheme == known_scheme and _is_below(slash + path, root):
                route = provider.route(method, f"{scheme}://{host}{slash}{path}", official=official)
                if route is not None:
                    return provider, route
        return None

    def _unserved(self, method: str, url: str) -> bool:
        """Whether a call that is not ours still looks like an LLM call, and should be reported."""
        if method != "POST":
            return False
        _, _, rest = url.partition("://")
        host, _, path = rest.partition("/")
        host = host.lower()
        if host.startswith(_AT_BATCH_PRICE) or "/batch/chat/completions" in path or self._is_known(host):
            return False
        return host.startswith(_UNBATCHED_HOSTS) or ("/" + path.partition("?")[0]).endswith(_ANYWHERE)

    def _is_known(self, host: str) -> bool:
        return host in self._places or any(hosts.fullmatch(host) for hosts, _ in self._families)


@lru_cache(maxsize=4096)
def is_local(url: str) -> bool:
    """Whether a URL points to this machine or to a private network."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        return ip_address(host).is_private
    except ValueError:
        return "." not in host


_Place = tuple[str, str, Provider, bool]
"""Scheme, path of the root, the provider that serves it, and whether the host is an official one."""


def _is_below(path: str, root: str) -> bool:
    return path.startswith(root) and path[len(root) : len(root) + 1] in ("/", "?", "", ":")
