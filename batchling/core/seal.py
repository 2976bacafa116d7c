"""What a cache protects with its secret: the accounts that its records name, and the records themselves.

An account is bound to scheme, host and port: a digest that was copied into a record for another address matches no
account there. Without the secret, it reveals nothing about the credential, not even to somebody who guesses passwords.
A record that was edited or comes from elsewhere has no matching seal.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import urlsplit

import msgspec

from batchling.core.model import Target

_PORTS = {"http": 80, "https": 443}


class Seal:
    """The secret of one cache, 32 bytes. Immutable; any thread."""

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self.bind: Callable[[Target], Target] = lru_cache(maxsize=4096)(self._bind)
        """The target as this cache names it: `account`, as its provider made it, is replaced by a digest of it and of
        the scheme, host and port of `base_url`. Well under a microsecond for a target seen before."""

    def _bind(self, target: Target) -> Target:
        parts = urlsplit(target.base_url)
        place = f"{parts.scheme}://{parts.hostname}:{parts.port or _PORTS.get(parts.scheme)}"
        return msgspec.structs.replace(target, account=self._digest("account", place, target.account)[:32])

    def sign(self, document: bytes) -> str:
        """The seal of a record: 64 hex digits."""
        return self._digest("record", document)

    def fits(self, seal: str, document: bytes) -> bool:
        """Whether this is the seal of this record."""
        return hmac.compare_digest(seal.encode(), self.sign(document).encode())

    def _digest(self, *parts: str | bytes) -> str:
        content = b"\0".join(part if isinstance(part, bytes) else part.encode() for part in parts)
        return hmac.digest(self.secret, content, "sha256").hex()
