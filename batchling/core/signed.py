"""Which requests can be sent only once, because their signature covers their own bytes, address or time."""

from __future__ import annotations

import re
from functools import lru_cache

from batchling.core.model import Headers, header

_SCHEME = re.compile(
    r"[a-z0-9-]*hmac|(digest|oauth|hawk|signature|sharedkey(lite)?|dpop|mac|negotiate|ntlm|bce-auth-v\d)\b",
    re.IGNORECASE,
)
"""Schemes of an Authorization header: AWS SigV4 and its relatives (AWS4-HMAC-SHA256, ACS3, TC3, SDK), HTTP Digest
(RFC 7616), OAuth 1 (RFC 5849), Hawk, HTTP signatures, Azure's shared keys, DPoP (RFC 9449), MAC tokens; Negotiate and
NTLM are valid for one connection."""

_NAME = re.compile(r"(^|-)(sign|signed|signature|hmac|nonce|dpop|digest)(-|$)|^content-md5$|^x-amz-content-sha256$")
"""Names of headers that sign: RFC 9421's Signature and Signature-Input, digests of the body, and what gateways require
(X-Signature, X-Hub-Signature-256, X-Ca-Signature, X-Nonce ...)."""


@lru_cache(maxsize=256)
def is_signed(headers: Headers) -> bool:
    """Whether a request is signed or bound to a nonce, so its credential cannot be reused for another call."""
    scheme = header(headers, "authorization")
    return any(_NAME.search(name) for name, _ in headers) or (scheme is not None and _SCHEME.match(scheme) is not None)
