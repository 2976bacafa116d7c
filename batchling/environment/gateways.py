"""The gateways that the user has named: for a scope, or for commands that manage jobs."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping

from batchling.core.text import described, web_address
from batchling.errors import OptionError
from batchling.providers.base import Provider

GATEWAYS_VARIABLE = "BATCHLING_GATEWAYS"


def known_gateways(given: object, known: Mapping[str, Provider]) -> dict[str, str]:
    """The gateways of the environment, overridden by those of the argument. Raises `OptionError`, which quotes none of
    them: a URL may contain a credential, even where it does not belong."""
    found: dict[str, str] = {}
    for place, entry in enumerate(os.environ.get(GATEWAYS_VARIABLE, "").replace(",", " ").split(), 1):
        base, _, name = entry.rpartition("=")
        _add(found, GATEWAYS_VARIABLE, f"entry {place}", base, name, known)
    if given is None:
        return found
    if not isinstance(given, Mapping):
        raise OptionError(
            "gateways",
            f'must map base URLs to provider names, {{"http://localhost:4000": "openai"}}; not {described(given)}',
        )
    for place, (base, name) in enumerate(given.items(), 1):
        _add(found, "gateways", f"entry {place}", base, name, known)
    return found


def _add(
    found: dict[str, str], option: str, place: str, base: object, name: object, known: Mapping[str, Provider]
) -> None:
    form = "http://localhost:4000=openai" if option == GATEWAYS_VARIABLE else '{"http://localhost:4000": "openai"}'
    if not isinstance(name, str) or name not in known:
        near = difflib.get_close_matches(name, known, 1) if isinstance(name, str) else []
        wanted = f"did you mean {near[0]}?" if near else f"the known ones are {', '.join(sorted(known))}"
        raise OptionError(option, f"{place} must look like {form}, with the name of a known provider; {wanted}")
    parts = web_address(base)
    if parts is None or parts.query or parts.fragment or "@" in parts.netloc:
        raise OptionError(
            option, f"{place} must look like {form}: a base URL without user, password, query or fragment"
        )
    found[f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"] = name
