"""Identity: which requests count as the same request, and the key that identifies a request at the provider.

A fingerprint covers everything that can change an answer and nothing that cannot: it is equal for two spellings of the
same JSON body, and different for two accounts, hosts, models or sets of beta features. A key is a fingerprint with an
ordinal, so ten samples of one prompt have ten keys.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256

import msgspec

from batchling.core.model import JSON, Target
from batchling.core.neutral import NOTHING, Neutral

_LENGTH = 40
"""Hex digits of a fingerprint: 160 bits, so a key stays below the 64 characters that providers accept."""

_canonical = msgspec.json.Encoder(order="sorted")


def decode_body(body: bytes) -> dict[str, JSON] | None:
    """The JSON object in a request body; None if the body is anything else."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def fingerprint(target: Target, body: dict[str, JSON], neutral: Neutral = NOTHING) -> str:
    """40 hex digits, equal for requests that have the same content and the same account.

    The body is used in canonical form: keys sorted, no spaces, arrays in order, and without what is `neutral` (labels
    and the spelling of ids). The account is part of it (as a digest), so two tenants never share an answer.
    """
    document = b"[%b,%b]" % (_head(target, neutral.options), _canonical.encode(neutral.strip(body)))
    return sha256(document).hexdigest()[:_LENGTH]


@lru_cache(maxsize=1024)
def _head(target: Target, ignored: tuple[str, ...]) -> bytes:
    """What all requests of a target have in common, in canonical form; `ignored` are names of options."""
    options = tuple(pair for pair in target.options if pair[0] not in ignored)
    return _canonical.encode((target.provider, target.base_url, target.endpoint, target.model, target.account, options))


def key_of(fingerprint: str, ordinal: int) -> str:
    """The key of the `ordinal`-th identical request of a scope, counted from 0."""
    return f"{fingerprint}-{ordinal}"


def digest(*parts: str) -> str:
    """32 hex digits that represent a credential and its organisation where the secret itself must not appear."""
    return sha256("\0".join(parts).encode()).hexdigest()[:32]


class Ordinals:
    """Numbers the identical requests of one scope. A number that its caller gave back is used again.

    Not thread-safe: the engine's loop thread owns it.
    """

    def __init__(self) -> None:
        self._next: dict[str, int] = {}
        self._free: dict[str, list[int]] = {}

    def take(self, fingerprint: str) -> int:
        """The lowest number that no caller holds."""
        if free := self._free.get(fingerprint):
            ordinal = min(free)
            free.remove(ordinal)
            if not free:
                del self._free[fingerprint]
            return ordinal
        ordinal = self._next.get(fingerprint, 0)
        self._next[fingerprint] = ordinal + 1
        return ordinal

    def last(self, fingerprint: str) -> int:
        """The number given out last, for a repeated request that is to join it; 0 if there was none."""
        if fingerprint not in self._next:
            return self.take(fingerprint)
        return self._next[fingerprint] - 1

    def give_back(self, fingerprint: str, ordinal: int) -> None:
        """The caller with this number has no answer; the next identical request takes its place."""
        free = self._free.setdefault(fingerprint, [])
        if ordinal not in free:
            free.append(ordinal)
