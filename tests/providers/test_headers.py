"""What of the headers says who asks."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest

from batchling.core.model import Request, Target
from batchling.providers import PROVIDERS
from batchling.providers.headers import is_volatile, lasting, may_vary
from batchling.providers.routes import Routes
from batchling.testing import ProviderServer
from tests.providers.provider_cases import PROVIDER_CASES, ProviderCase

NAMED = sorted({name for provider in PROVIDERS.values() for name in provider.facts.separates})
OTHERS = ("x-tenant", "x-team-id", "x-whatever", "traceparent", "cookie", "user-agent", "x-stainless-lang")


def token(who: str) -> str:
    """As Entra's say for whom they are."""
    return f"Bearer x.{b64encode(json.dumps({'oid': who}).encode()).decode().rstrip('=')}.y"


@pytest.mark.parametrize("provider_case", PROVIDER_CASES, ids=str)
def test_at_official_hosts_the_provider_names_what_separates(
    provider_server: ProviderServer, provider_case: ProviderCase
) -> None:
    provider = next(iter(provider_case.providers(provider_server)), PROVIDERS[provider_case.name])
    host = provider.roots[0].partition("://")[2].partition("/")[0].replace("*", "me")
    url, body = f"https://{host}{provider_case.path}", provider_case.body("text")
    matched = Routes({}, {provider_case.name: provider}).match("POST", url)
    assert matched is not None, url
    assert matched[1].official

    def target(name: str, value: str) -> Target:
        headers = {"authorization": token("me"), name: value} if provider_case.name == "vertex" else {name: value}
        made = provider.target(matched[1], Request("POST", url, tuple(headers.items()), b""), body)
        assert isinstance(made, Target), made
        return made

    separating = {name for name in (*NAMED, *OTHERS) if target(name, token("me")) != target(name, token("you"))}
    assert separating == set(provider.facts.separates)


@pytest.mark.parametrize(
    ("name", "volatile", "varies"),
    [
        ("x-cloud-trace-context", True, False),
        ("x-goog-api-client", True, False),
        ("elastic-apm-traceparent", True, False),
        ("idempotency-key", True, False),
        ("x-forwarded-for", True, False),
        ("x-forwarded-user", False, False),
        ("x-whatever-id", False, True),
        ("x-nonce", False, True),
        ("x-litellm-tags", False, True),
        ("authorization", False, False),
        ("proxy-authorization", False, False),
        ("x-my-apikey", False, False),
        ("x-amz-security-token", False, False),
        ("x-signature", False, False),
        ("openai-organization", False, False),
        ("anthropic-beta", False, False),
        ("x-tenant", False, False),
        ("x-org-id", False, False),
        ("x_user_id", False, False),
        ("x-teamwork", False, True),
    ],
)
def test_names(name: str, volatile: bool, varies: bool) -> None:
    assert (is_volatile(name), may_vary(name)) == (volatile, varies)
    assert lasting(((name, "v"),)) == (() if volatile else ((name, "v"),))
