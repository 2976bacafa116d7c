"""Who serves a target, and as whom: the provider, and the newest credential of the account.

Belongs to the engine's loop thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from batchling.core.model import Headers, Request, Site, Target, header
from batchling.providers.base import Provider, Route

_log = logging.getLogger(__name__)


class Access:
    """The way to one target's provider. `site` is asked for anew for each call: credentials may run out."""

    def __init__(self, provider: Provider, site: Site) -> None:
        self.provider = provider
        self.site = site

    async def renew(self, refused: Headers) -> bool:
        """The provider refused these headers with 401: whether there are others by now."""
        if self.site.headers != refused:
            return True
        renew = self.provider.renew
        if renew is None:
            return False
        try:
            fresh = await asyncio.get_running_loop().run_in_executor(None, renew)
        except Exception as fault:  # a library of the user's, or a function
            _log.warning("batchling: %s: no fresh credential (%s)", self.provider.name, type(fault).__name__)
            return False
        self._take(fresh)
        return self.site.headers != refused

    def _take(self, fresh: Headers) -> None:
        names = {name for name, _ in fresh}
        kept = tuple(pair for pair in self.site.headers if pair[0] not in names)
        self.site = Site(self.site.target, kept + fresh, self.site.official)


class Accesses:
    """The ways to all targets that one scope has met; `providers` are the scope's, by name."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self.providers = providers
        self._known: dict[Target, Access] = {}

    def __getitem__(self, target: Target) -> Access:
        return self._known[target]

    def meet(self, target: Target, route: Route, request: Request) -> Target:
        """Take note of a request's credential. Returns the target: one object for all equal ones."""
        access = self._known.get(target)
        if access is None:
            site = self.providers[target.provider].site(target, route, request)
            self._known[target] = Access(self.providers[target.provider], site)
            return target
        known = header(access.site.headers, "authorization")
        if known is not None and known != header(request.headers, "authorization"):
            access.site = access.provider.site(access.site.target, route, request)
        return access.site.target
