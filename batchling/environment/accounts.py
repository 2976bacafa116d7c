"""Finds the credential of the account that a record names, in the environment, as the SDKs read it.

A record holds a digest of the credential, its organisation and the place that it is for, never the credential itself. A
variable is used if the headers that an SDK would make from it have that digest, so a key is never sent for another
account or to another host. In addition, a credential is sent only to its provider's own hosts over TLS, or to a gateway
that the user has named in this run; a record, being a file, cannot decide either. Clouds are the exception: no digest
can cover their tokens, so the token comes from the cloud's own library or variable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from types import MappingProxyType
from typing import Any

import msgspec

from batchling.core.model import Headers, Request, Site, Target
from batchling.core.seal import Seal
from batchling.core.text import MOST_SHOWN, printable
from batchling.providers import PROVIDERS
from batchling.providers.base import Adjustable, Provider, Route
from batchling.providers.roots import root_of

NO_GATEWAYS: Mapping[str, str] = MappingProxyType({})

_MORE_HEADERS = dict.fromkeys(pair for each in PROVIDERS.values() for pair in each.facts.more_headers)
"""Variables that SDKs make a further header of. Any SDK may have called, and not only the provider's own."""
_HEADER_OPTIONS = tuple({start for each in PROVIDERS.values() for start in each.facts.header_options})
_CUSTOM = "_CUSTOM_HEADERS"
"""The suffix of variables with headers that an SDK adds to each call, one per line."""
_ENDINGS = ("_KEY", "_TOKEN")
"""The suffixes of variables that hold a credential."""
_DECOY = "decoy"
_ASKED: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "?"}]}]}
"""A body that every provider can batch; the account does not depend on it."""


def find_site(
    target: Target,
    provider: Provider,
    environment: Mapping[str, str],
    seal: Seal,
    gateways: Mapping[str, str] = NO_GATEWAYS,
) -> Site | None:
    """Where the calls of a target go and for which account, with the credential from the environment whose digest under
    this seal is the account's. None if there is no such credential, or it must not be sent there. `gateways` are those
    of this run: base URLs with the names of their providers. May get a token from a cloud's library."""
    if not may_have_credentials(target.base_url, provider, gateways):
        return None
    for name in variables(provider, environment):
        token = name.endswith("_TOKEN")
        sent = _as_sent(provider, environment[name], environment, token=token)
        for headers, decoy in zip(sent, _as_sent(provider, _DECOY, environment, token=token), strict=True):
            site = _site(target, provider, headers, seal)
            # If a decoy does as well, the account does not depend on the credential: clouds change tokens every hour.
            if site is not None and _site(target, provider, decoy, seal) is None:
                return site
    return _renewed(target, provider, environment, seal)


def variables(provider: Provider, environment: Mapping[str, str]) -> list[str]:
    """The names of the variables that are set and may hold a provider's credential, the usual ones first."""
    usual = [name for name in provider.facts.variables if environment.get(name)]
    others = sorted(name for name in environment if name.endswith(_ENDINGS) and environment[name])
    return [*usual, *(name for name in others if name not in usual)]


def advice(
    target: Target, provider: Provider, environment: Mapping[str, str], gateways: Mapping[str, str] = NO_GATEWAYS
) -> str:
    """What to do if there is no credential. Contains only the names of variables."""
    if not may_have_credentials(target.base_url, provider, gateways):
        return (
            f"no credential was sent to {printable(target.base_url, MOST_SHOWN)}, which is not {provider.name}'s own "
            "address: if you trust this gateway with it, set BATCHLING_GATEWAYS="
            f"{printable(target.base_url, MOST_SHOWN)}={provider.name}, or run its program again"
        )
    wanted = " or ".join(provider.facts.variables) or "its variable"
    if any(environment.get(name) for name in provider.facts.variables):
        return (
            f"the credential in {wanted} belongs to another account or organisation (wanted: {target.account[:8]}); "
            "set the one for this job, or run its program again"
        )
    return f"no credential: set {wanted} (account {target.account[:8]}), or run its program again"


def is_official(base_url: str, provider: Provider) -> bool:
    """Whether a base URL is the provider's own, not a gateway's."""
    return root_of(base_url, provider.roots) is not None


def may_have_credentials(base_url: str, provider: Provider, gateways: Mapping[str, str]) -> bool:
    """Whether a base URL is the provider's own, or is below one of these gateways."""
    if is_official(base_url, provider):
        return True
    return any(name == provider.name and f"{base_url}/".startswith(f"{gateway}/") for gateway, name in gateways.items())


def _site(target: Target, provider: Provider, headers: Headers, seal: Seal) -> Site | None:
    """The site of a target, if these headers belong to its account."""
    route = Route(target.base_url, target.endpoint, "", is_official(target.base_url, provider))
    probe, url = provider, target.base_url + target.endpoint
    if isinstance(provider, Adjustable):
        probe, url = provider.example(target)
    body = {**_ASKED, "model": target.model}
    options = tuple(pair for pair in target.options if pair[0].startswith(_HEADER_OPTIONS))
    request = Request("POST", url, (*headers, *options), msgspec.json.encode(body))
    made = probe.target(route, request, body)
    if not isinstance(made, Target) or seal.bind(made).account != target.account:
        return None
    return provider.site(target, route, request)


def _as_sent(provider: Provider, secret: str, environment: Mapping[str, str], *, token: bool) -> Iterator[Headers]:
    """The headers that an SDK would send with this credential, with and without what the environment adds to them."""
    facts = provider.facts
    more: list[Headers] = [((header, environment[name]),) for name, header in _MORE_HEADERS if environment.get(name)]
    more += [_custom(environment[name]) for name in sorted(environment) if name.endswith(_CUSTOM) and environment[name]]
    for names in (token and facts.token_headers) or facts.key_headers:
        form = tuple((name, f"Bearer {secret}" if name == "authorization" else secret) for name in names)
        for count in range(min(len(more), 4) + 1):
            for chosen in combinations(more, count):
                yield (*form, *(pair for headers in chosen for pair in headers))


def _custom(text: str) -> Headers:
    """The headers in a variable, one per line."""
    pairs = [line.partition(":") for line in text.splitlines()]
    return tuple((name.strip().lower(), value.strip()) for name, colon, value in pairs if colon)


def _renewed(target: Target, provider: Provider, environment: Mapping[str, str], seal: Seal) -> Site | None:
    """The site with a token from the cloud's library; such tokens are not part of an account."""
    if provider.renew is None or not is_official(target.base_url, provider):
        return None
    try:
        headers = provider.renew()
    except Exception:  # a library of the user's own, or none at all
        token = environment.get(provider.facts.token_variable)
        if not token:
            return None
        headers = (("authorization", f"Bearer {token}"),)
    quota = tuple(pair for pair in target.options if pair[0] == provider.facts.quota_header)
    return _site(target, provider, (*headers, *quota), seal)
