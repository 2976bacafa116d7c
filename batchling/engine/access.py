"""Who serves a target, as whom, and how it is reached: the provider, the newest credential of the account, and the way
of the client that gave it. Neither is ever written.

Belongs to the engine's loop thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from batchling.core import retry
from batchling.core.model import AccountKey, Headers, Request, Response, Site, Target, header
from batchling.core.way import Way
from batchling.providers.base import Provider, Route

_log = logging.getLogger(__name__)

_EXACT = 5.0
"""Seconds by which a Date header may differ from our clock and say nothing: it has whole seconds, and travels."""

_BLOCKED = 7
"""Ways that are remembered as blocked, beside the newest."""


class Access:
    """How one target's provider is called. `site` and `way` are asked for anew for each call: credentials may run out,
    and a newer client may go another way. A way of None is the environment's."""

    def __init__(self, provider: Provider, site: Site, way: Way | None = None) -> None:
        self.provider = provider
        self.site: Site = site
        self.way = way
        self.ahead: float = 0.0
        """Seconds by which the provider's clock is ahead of ours, as its last answer shows."""
        self._fallback = way
        """The way on which a call was last answered; before that, the first."""
        self._blocked: list[Way | None] = []
        """Ways on which calls have not arrived of late."""

    def prove(self, way: Way | None) -> None:
        """A call on this way was answered."""
        self._fallback = way
        if way in self._blocked:
            self._blocked.remove(way)

    def note_clock(self, response: Response, now: float) -> None:
        """Take the time from an answer's Date header; what stands in caches, and says an Age, shows an old one."""
        if header(response.headers, "age") is None and (moment := retry.moment(header(response.headers, "date"))):
            ahead = moment - now
            self.ahead = ahead if abs(ahead) > _EXACT else 0.0

    def turn_back(self, way: Way | None) -> bool:
        """A call on this way never arrived: whether there is another one to try. A newer client, set up wrongly, must
        not keep the others' jobs from being asked for."""
        if way not in self._blocked:
            self._blocked = [*self._blocked[-_BLOCKED:], way]
        if self.way == way:
            self.way = self._fallback
        return self.way not in self._blocked

    async def renew(self, refused: Headers, seconds: float) -> bool:
        """The provider turned these headers away, with 401 or 403: whether there are others by now, or within so many
        seconds."""
        if self.site.headers != refused:
            return True
        renew = self.provider.renew
        if renew is None or header(refused, "authorization") is None:  # a refused key is not replaced by a token
            return False
        try:
            fresh = await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(None, renew), seconds)
        except Exception as fault:  # a library of the user's, or a function
            _log.warning("batchling: %s: no fresh credential (%s)", self.provider.name, type(fault).__name__)
            return False
        self.take(fresh)
        return self.site.headers != refused

    def take(self, fresh: Headers) -> None:
        """Ask with these headers from now on, instead of those of their names."""
        names = {name for name, _ in fresh}
        kept = tuple(pair for pair in self.site.headers if pair[0] not in names)
        self.site = Site(self.site.target, kept + fresh, self.site.official)


class Accesses:
    """The ways to all targets that one scope has met; `providers` are the scope's, by name."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self.providers = providers
        self._known: dict[Target, Access] = {}
        self._tokens: dict[AccountKey, str] = {}

    def __getitem__(self, target: Target) -> Access:
        return self._known[target]

    def register(self, target: Target, route: Route, request: Request, way: Way | None = None) -> Target:
        """Take note of a request's credential, and of its client's way if that is known. Returns the target: one object
        for all equal ones."""
        access = self._known.get(target)
        if access is None:
            site = self.providers[target.provider].site(target, route, request)
            access = self._known[target] = Access(self.providers[target.provider], site, way)
        access.way = way or access.way
        token = header(request.headers, "authorization")
        account = target.account_key
        if token is not None and self._tokens.setdefault(account, token) != token:
            self._tokens[account] = token
            self._renew(account, token)
        return access.site.target

    def access_for(self, target: Target, other: Target) -> Access:
        """The way to a target of the same account as another, whether or not it was met."""
        if (access := self._known.get(target)) is not None:
            return access
        lent = self._known[other]
        return Access(lent.provider, Site(target, lent.site.headers, lent.site.official), lent.way)

    def _renew(self, account: AccountKey, token: str) -> None:
        """An account has a newer token, which may be another one each hour: for all that is asked in its name."""
        for target, access in self._known.items():
            if target.account_key == account:
                known = header(access.site.headers, "authorization")
                if known is not None and known != token:
                    access.take((("authorization", token),))
