"""Which requests a scope batches, for which target, and why the others go real time. Any thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from batchling.cache import Store
from batchling.core import events
from batchling.core.fingerprint import decode_body, fingerprint
from batchling.core.model import JSON, Bypass, Request, Target
from batchling.core.signed import is_signed
from batchling.core.way import Way
from batchling.core.window import ROW_OVERHEAD
from batchling.engine.answers import Answers
from batchling.engine.waiter import Arrival
from batchling.providers.base import Provider, Route
from batchling.providers.routes import UNKNOWN_HOST, Routes, is_local


class Routing:
    """See the module docstring. The seal of `store` names accounts."""

    def __init__(self, routes: Routes, store: Store, answers: Answers) -> None:
        self.providers: Mapping[str, Provider] = routes.providers
        self._routes = routes
        self._store = store
        self._answers = answers
        self.reason_against: Callable[[str, str], str | None] = lru_cache(maxsize=1024)(self._reason_against)

    def _reason_against(self, method: str, url: str) -> str | None:
        if self._routes.match(method, url) is not None:
            return None
        return events.LOCAL if is_local(url) else UNKNOWN_HOST

    def arrival(self, request: Request, way: Way | None) -> tuple[Arrival, dict[str, JSON]] | Bypass:
        """The call to be batched for a request, with its body; or why the request goes real time."""
        matched = self._routes.match(request.method, request.url)
        if matched is None:
            return Bypass(self.reason_against(request.method, request.url) or UNKNOWN_HOST)
        provider, route = matched
        if is_signed(request.headers):
            return Bypass("signed for this one request")
        body = decode_body(request.body)
        if body is None:
            return Bypass("body is not a JSON object")
        target = self.target(provider, route, request, body)
        if isinstance(target, Target):
            target = _too_large(provider, request, body) or target
        if isinstance(target, Bypass):
            return target
        return Arrival(matched, target, request, fingerprint(target, body, provider.facts.neutral), way), body

    def target(self, provider: Provider, route: Route, request: Request, body: dict[str, JSON]) -> Target | Bypass:
        """The target of a request, as the cache names it; or why it goes real time, for example because its account or
        model turned out to take no batches."""
        target = provider.target(route, request, body)
        if isinstance(target, Bypass):
            return target
        target = self._store.seal.bind(target)
        reason = self._answers.reason_against(target)
        return target if reason is None else Bypass(reason)


def _too_large(provider: Provider, request: Request, body: dict[str, JSON]) -> Bypass | None:
    """Why no batch can hold this request; None if one can."""
    limits = provider.limits
    if len(request.body) + ROW_OVERHEAD > min(limits.bytes, limits.row or limits.bytes):
        return Bypass("too large for a row of a batch")
    if limits.inputs is not None and provider.weight(body) > limits.inputs:
        return Bypass("more inputs than a batch may hold")
    return None
