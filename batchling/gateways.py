"""The gateways that the user has named: for a scope, or for whoever looks after jobs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from batchling.errors import OptionError
from batchling.providers.base import Provider

GATEWAYS_VARIABLE = "BATCHLING_GATEWAYS"


def known_gateways(given: object, known: Mapping[str, Provider]) -> dict[str, str]:
    """The gateways of the environment and, overriding them, of the argument."""
    found: dict[str, str] = {}
    for entry in os.environ.get(GATEWAYS_VARIABLE, "").replace(",", " ").split():
        base, _, name = entry.rpartition("=")
        found[_base_url(GATEWAYS_VARIABLE, base)] = _provider(GATEWAYS_VARIABLE, name, known)
    if given is None:
        return found
    if not isinstance(given, Mapping):
        raise OptionError(
            "gateways", f'must map base URLs to provider names, {{"http://localhost:4000": "openai"}}; not {given!r}'
        )
    for base, name in given.items():
        found[_base_url("gateways", base)] = _provider("gateways", name, known)
    return found


def _base_url(name: str, base: object) -> str:
    parts = urlsplit(base) if isinstance(base, str) else urlsplit("")
    if (
        parts.scheme not in ("http", "https")
        or not parts.netloc
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        raise OptionError(name, "a base URL must look like http://localhost:4000 or https://host/path")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def _provider(name: str, provider: object, known: Mapping[str, Provider]) -> str:
    if not isinstance(provider, str) or provider not in known:
        raise OptionError(name, f"unknown provider {provider!r}; known are {', '.join(sorted(known))}")
    return provider
