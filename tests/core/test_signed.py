from __future__ import annotations

import pytest

from batchling.core.signed import is_signed


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "AWS4-HMAC-SHA256 Credential=AKIA/20261126/us-east-1/bedrock/aws4_request, Signature=ab"},
        {"authorization": 'Digest username="u", nonce="n", response="r"'},
        {"authorization": 'OAuth oauth_nonce="n", oauth_signature="s"'},
        {"authorization": 'Hawk id="i", mac="m"'},
        {"authorization": "DPoP eyJ"},
        {"authorization": "SharedKey account:sig"},
        {"authorization": "TC3-HMAC-SHA256 Credential=x"},
        {"authorization": "bce-auth-v1/ak/2026-11-26T00:00:00Z/1800/host/sig"},
        {"authorization": "Negotiate YII"},
        {"authorization": "Bearer sk-1", "x-signature": "ab"},
        {"authorization": "Bearer sk-1", "x-hub-signature-256": "sha256=ab"},
        {"authorization": "Bearer sk-1", "signature-input": "sig1=()", "signature": "sig1=:a:"},
        {"authorization": "Bearer sk-1", "content-digest": "sha-256=:a:"},
        {"x-api-key": "k", "x-nonce": "1"},
    ],
)
def test_what_signs_one_request(headers: dict[str, str]) -> None:
    assert is_signed(tuple(headers.items()))


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer macaroon"},
        {"authorization": "Bearer hmac"},
        {"authorization": "Basic dTpw"},
        {"x-api-key": "k", "anthropic-version": "2023-06-01", "x-stainless-lang": "python"},
        {"x-goog-api-key": "k", "x-goog-api-client": "google-genai-sdk/3.4.0 gl-python/3.11.7"},
        {"api-key": "k", "x-design": "1", "x-assigned-to": "me"},
    ],
)
def test_what_can_be_repeated(headers: dict[str, str]) -> None:
    assert not is_signed(tuple(headers.items()))
