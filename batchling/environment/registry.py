"""The providers of a scope: built in, installed by other packages, set up by the environment, passed by the caller."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass, replace
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

from batchling.core.text import described
from batchling.environment.cloud_tokens import SOURCES
from batchling.errors import OptionError, outline
from batchling.providers import PROVIDERS
from batchling.providers.base import Adjustable, Provider

_log = logging.getLogger(__name__)

GROUP = "batchling.providers"
"""The entry point group for providers from other packages."""


def providers(given: object = None) -> dict[str, Provider]:
    """Every provider that a scope knows, by name; `given` ones replace others with the same name.

    Raises `OptionError` for what is not a provider.
    """
    found = {**PROVIDERS, **installed(), **_from_environment()}
    if given is not None:
        if not isinstance(given, Iterable) or isinstance(given, str | bytes | Mapping):
            raise OptionError(
                "providers", f"must be a list of providers, [Vertex(gcs_prefix=...)]; not {described(given)}"
            )
        for provider in given:
            if not _is_provider(provider):
                raise OptionError("providers", f"{described(provider)} is not a provider: see docs/write_a_provider.md")
            found[provider.name] = provider
    return {name: _renewing(provider) for name, provider in found.items()}


def _renewing(provider: Provider) -> Provider:
    """The provider, with a source of fresh tokens if it belongs to a cloud and has none yet."""
    source = SOURCES.get(provider.facts.cloud)
    if source is None or provider.renew is not None or not is_dataclass(provider):
        return provider
    return replace(provider, renew=source)


@lru_cache(maxsize=1)
def installed() -> Mapping[str, Provider]:
    """The providers from other packages. One that cannot be loaded is left out, with a warning."""
    found: dict[str, Provider] = {}
    for entry in entry_points(group=GROUP):
        try:
            provider = entry.load()
        except Exception as fault:  # it is another package's code
            _log.warning("batchling: provider %s cannot be loaded (%s)", entry.name, outline(fault))
            continue
        if _is_provider(provider):
            _announce(entry, provider.name, found)
            found[provider.name] = provider
        else:
            _log.warning(
                "batchling: entry point %s is not a provider: it lacks attributes of batchling.providers.base.Provider",
                entry.name,
            )
    return found


def _announce(entry: EntryPoint, name: str, found: Mapping[str, Provider]) -> None:
    """Log a warning if an installed package replaces an existing provider: calls, prompts and credentials go through
    its code."""
    if name in PROVIDERS or name in found:
        _log.warning(
            "batchling: package %s replaces the provider %s: its calls, with their credentials, go through that "
            "package's code. Uninstall it if that is not what you want",
            entry.dist.name if entry.dist is not None else entry.value,
            name,
        )


def _is_provider(value: object) -> bool:
    wanted = [name for name in vars(Provider) if not name.startswith("_")]
    return not isinstance(value, type) and all(hasattr(value, name) for name in wanted)


def setting_variables() -> tuple[str, ...]:
    """The variables that set up built-in providers."""
    adjustable = (provider for provider in PROVIDERS.values() if isinstance(provider, Adjustable))
    return tuple(provider.setting_variable for provider in adjustable)


def _from_environment() -> dict[str, Provider]:
    """The providers that environment variables set up, as those describe them."""
    found: dict[str, Provider] = {}
    for name, provider in PROVIDERS.items():
        if isinstance(provider, Adjustable):
            try:
                found[name] = provider.with_setting(os.environ.get(provider.setting_variable, ""))
            except ValueError as fault:
                raise OptionError(provider.setting_variable, str(fault)) from fault
    return found
