"""How each target is reached: its provider, the newest credential of its account, and the way of the client that sent
that credential. Credentials and ways are never written to disk.

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
"""A Date header that differs from our clock by no more than this many seconds is ignored: it is rounded to whole
seconds, and takes time to arrive."""

_BLOCKED = 7
"""How many blocked ways are remembered besides the newest one."""


class Access:
    """How one target's provider is called. Read `site` and `way` again for each call: credentials may expire, and a
    newer client may use another way. None means the environment's way."""

    def __init__(self, provider: Provider, site: Site, way: Way | None = None) -> None:
        self.provider = provider
        self.site: Site = site
        self.way = way
        self.ahead: float = 0.0
        """Seconds by which the provider's clock is ahead of ours, according to its last response."""
        self._fallback = way
        """The way on which a call was last answered; until then, the first one."""
        self._blocked: list[Way | None] = []
        """Ways on which recent calls did not arrive."""
        self.latest: Headers | None = None
        """The headers of the call that was registered last: most likely, the next one has the same."""

    def prove(self, way: Way | None) -> None:
        """Record that a call on this way was answered."""
        self._fallback = way
        if way in self._blocked:
            self._blocked.remove(way)

    def note_clock(self, response: Response, now: float) -> None:
        """Compare our clock with a response's Date header. A response with an Age header is ignored: it comes from a
        cache, and its date is old."""
        if header(response.headers, "age") is None and (moment := retry.moment(header(response.headers, "date"))):
            ahead = moment - now
            self.ahead = ahead if abs(ahead) > _EXACT else 0.0

    def turn_back(self, way: Way | None) -> bool:
        """Record that a call on this way never arrived, and return whether there is another way to try. A newer client
        that is set up wrongly must not prevent the jobs of the others from being polled."""
        if way not in self._blocked:
            self._blocked = [*self._blocked[-_BLOCKED:], way]
        if self.way == way:
            self.way = self._fallback
        return self.way not in self._blocked

    async def renew(self, refused: Headers, seconds: float) -> bool:
        """Whether there are other headers than these, which the provider answered with 401 or 403. If there are none
        yet, get a fresh credential where the provider can, within this many seconds."""
        if self.site.headers != refused:
            return True
        renew = self.provider.renew
        if renew is None or header(refused, "authorization") is None:  # a refused key is not replaced by a token
            return False
        try:
            fresh = await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(None, renew), seconds)
        except Exception as fault:  # from the user's function, or a cloud's library
            _log.warning("batchling: %s: cannot get a fresh credential (%s)", self.provider.name, type(fault).__name__)
            return False
        self.take(fresh)
        return self.site.headers != refused

    def take(self, fresh: Headers) -> None:
        """Use these headers from now on, in place of those with the same names."""
        names = {name for name, _ in fresh}
        kept = tuple(pair for pair in self.site.headers if pair[0] not in names)
        self.site = Site(self.site.target, kept + fresh, self.site.official)


class Accesses:
    """The access to each target that one scope has seen; `providers` are the scope's, by name."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self.providers = providers
        self._known: dict[Target, Access] = {}
        self._tokens: dict[AccountKey, str] = {}

    def __getitem__(self, target: Target) -> Access:
        return self._known[target]

    def register(self, target: Target, route: Route, request: Request, way: Way | None = None) -> Target:
        """Note a request's credential, and its client's way if that is known. Returns the target: one object for all
        equal ones."""
        access = self._known.get(target)
        if access is None:
            site = self.providers[target.provider].site(target, route, request)
            access = self._known[target] = Access(self.providers[target.provider], site, way)
        access.way = way or access.way
        if access.latest is request.headers:
            return access.site.target
        access.latest = request.headers
        token = header(request.headers, "authorization")
        account = target.account_key
        if token is not None and self._tokens.setdefault(account, token) != token:
            self._tokens[account] = token
            self._renew(account, token)
        return access.site.target

    def access_for(self, target: Target, other: Target) -> Access:
        """The access to a target, registered or not; `other` is a registered target of the same account."""
        if (access := self._known.get(target)) is not None:
            return access
        lent = self._known[other]
        return Access(lent.provider, Site(target, lent.site.headers, lent.site.official), lent.way)

    def _renew(self, account: AccountKey, token: str) -> None:
        """Use an account's newer token for all its targets: tokens may change every hour."""
        for target, access in self._known.items():
            if target.account_key == account:
                known = header(access.site.headers, "authorization")
                if known is not None and known != token:
                    access.take((("authorization", token),))
