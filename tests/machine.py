"""What tests must not inherit from the machine they run on: proxies, keys, options of ours, and whom it trusts."""

from __future__ import annotations

import os

_TRUST = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_ASIDE = "MACHINE_"
"""Precedes the names of variables that were set aside, where the workers of pytest-xdist find them, too."""


def forget() -> None:
    """Remove these variables from the environment."""
    for name in tuple(os.environ):
        if name in _TRUST:
            os.environ[_ASIDE + name] = os.environ.pop(name)
        elif name.lower().endswith("_proxy") or name.endswith("_API_KEY") or name.startswith("BATCHLING_"):
            del os.environ[name]


def environment() -> dict[str, str]:
    """The environment with what says whom to trust, for what has to reach a package index."""
    aside = {name.removeprefix(_ASIDE): value for name, value in os.environ.items() if name.startswith(_ASIDE)}
    return {**os.environ, **aside}
