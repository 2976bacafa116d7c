"""What tests must not inherit from the machine they run on: proxies, keys, options of ours, and whom it trusts."""

from __future__ import annotations

import os

TRUST: dict[str, str] = {}
"""The removed variables that say whom to trust, for what has to reach a package index."""


def forget() -> None:
    """Remove these variables from the environment."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if (value := os.environ.pop(name, None)) is not None:
            TRUST[name] = value
    for name in tuple(os.environ):
        if name.lower().endswith("_proxy") or name.endswith("_API_KEY") or name.startswith("BATCHLING_"):
            del os.environ[name]
