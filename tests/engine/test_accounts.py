"""The credential of a record's account is found as SDKs would send it, and no other is."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from msgspec import structs

from batchling.core.model import Headers, Request, Target
from batchling.core.seal import Seal
from batchling.environment.accounts import advice, find_site
from batchling.providers import PROVIDERS
from batchling.providers.azure import AZURE
from batchling.providers.base import Route
from batchling.providers.google.vertex import VERTEX
from batchling.providers.routes import Routes

BODY = {"model": "kimi-k2.5", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
BEARER = (("authorization", "Bearer k-1"),)
SEAL = Seal(b"secret")
GATEWAYS = {"http://localhost:4000": "openai"}
KNOWN = {
    **PROVIDERS,
    "azure": replace(AZURE, deployments={"kimi-k2.5": "batch"}),
    "vertex": replace(VERTEX, gcs_prefix="gs://b", renew=lambda: (("authorization", "Bearer fresh"),)),
}
URLS = {
    "gemini": "https://generativelanguage.googleapis.com/v1beta/models/m:generateContent",
    "vertex": "https://aiplatform.googleapis.com/v1/projects/p/locations/l/publishers/google/models/m:generateContent",
    "azure": "https://x.openai.azure.com/openai/v1/chat/completions",
    "perplexity": "https://api.perplexity.ai/v1/responses",
    "voyage": "https://api.voyageai.com/v1/embeddings",
}
SENT = {
    "anthropic": (("x-api-key", "k-1"), ("anthropic-version", "2023-06-01"), ("anthropic-beta", "b")),
    "gemini": (("x-goog-api-key", "k-1"),),
    "azure": (("api-key", "k-1"),),
}


def target_of(url: str, headers: Headers, gateways: dict[str, str] | None = None) -> Target:
    """The target of a call as a scope sees it."""
    matched = Routes(gateways or {}, KNOWN).match("POST", url)
    assert matched is not None
    asked = Request("POST", url, (*headers, ("user-agent", "x"), ("x-stainless-os", "y")), json.dumps(BODY).encode())
    made = matched[0].target(matched[1], asked, BODY)
    assert isinstance(made, Target), made
    return SEAL.bind(made)


def url_of(name: str) -> str:
    return URLS.get(name) or PROVIDERS[name].roots[0].replace("*", "x") + PROVIDERS[name].endpoints[0]


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_every_providers_key_is_found_in_its_variable(name: str) -> None:
    url = f"{PROVIDERS[name].roots[0]}/chat/completions" if "/chat/completions" in PROVIDERS[name].endpoints else ""
    target = target_of(URLS.get(name) or url or url_of(name), SENT.get(name, BEARER))
    assert target.provider == name
    variable = KNOWN[name].facts.variables[0]
    site = find_site(target, KNOWN[name], {variable: "k-1", "OTHER_KEY": "k-2"}, SEAL)

    assert site is not None
    assert site.target == target
    assert site.official
    if name == "vertex":  # whose tokens are no part of an account
        assert site.headers == (("authorization", "Bearer fresh"),)
        return
    assert [pair for pair in site.headers if pair[1].endswith("k-1")] == list(SENT.get(name, BEARER)[:1])
    assert find_site(target, replace_renew(name), {variable: "k-2"}, SEAL) is None
    assert "k-2" not in advice(target, KNOWN[name], {variable: "k-2"})
    assert f"set {variable}" in advice(target, KNOWN[name], {})


def test_a_token_that_no_digest_covers_is_the_clouds_own() -> None:
    """Else any key at all would be sent there."""
    everything = {"OPENAI_API_KEY": "k-2", "SOME_TOKEN": "k-3", "AZURE_OPENAI_API_KEY": "k-4"}
    vertex = target_of(URLS["vertex"], BEARER)
    entra = target_of(URLS["azure"], BEARER)

    def fail() -> Headers:
        raise ImportError

    assert find_site(vertex, replace(KNOWN["vertex"], renew=fail), everything, SEAL) is None
    azure = replace(KNOWN["azure"], renew=fail)
    assert find_site(entra, azure, everything, SEAL) is None
    site = find_site(entra, azure, {**everything, "AZURE_OPENAI_AD_TOKEN": "k-5"}, SEAL)
    assert site is not None
    assert site.headers == (("authorization", "Bearer k-5"),)
    gateway = target_of(
        URLS["azure"].replace("https://x.openai.azure.com", "http://localhost:4000"),
        BEARER,
        {"http://localhost:4000": "azure"},
    )
    named = {"http://localhost:4000": "azure"}
    assert find_site(gateway, azure, {**everything, "AZURE_OPENAI_AD_TOKEN": "k-5"}, SEAL, named) is None


def replace_renew(name: str) -> object:
    return replace(KNOWN[name], renew=None) if name == "azure" else KNOWN[name]


@pytest.mark.parametrize("gateway", [False, True])
def test_an_organisation_belongs_to_the_account(gateway: bool) -> None:
    headers = (*BEARER, ("openai-organization", "org"), ("openai-project", "proj"))
    url = "http://localhost:4000/v1/chat/completions" if gateway else "https://api.openai.com/v1/chat/completions"
    target = target_of(url, headers, GATEWAYS)
    openai = PROVIDERS["openai"]

    assert find_site(target, openai, {"OPENAI_API_KEY": "k-1"}, SEAL, GATEWAYS) is None
    assert find_site(target, openai, {"OPENAI_API_KEY": "k-1", "OPENAI_ORG_ID": "org"}, SEAL, GATEWAYS) is None
    whole = {"OPENAI_API_KEY": "k-1", "OPENAI_ORG_ID": "org", "OPENAI_PROJECT_ID": "proj"}
    site = find_site(target, openai, whole, SEAL, GATEWAYS)
    assert site is not None
    assert (sorted(site.headers), site.official) == (sorted(headers), not gateway)
    # One that came without them is found all the same.
    assert find_site(target_of(url, BEARER, GATEWAYS), openai, whole, SEAL, GATEWAYS) is not None
    assert find_site(target, openai, {**whole, "OPENAI_PROJECT_ID": "another"}, SEAL, GATEWAYS) is None


@pytest.mark.parametrize(
    ("variable", "header"),
    [
        ("OPENAI_ORG_ID", "openai-organization"),
        ("OPENAI_PROJECT_ID", "openai-project"),
        ("ANTHROPIC_WORKSPACE_ID", "anthropic-workspace-id"),
        ("ANTHROPIC_AWS_WORKSPACE_ID", "anthropic-workspace-id"),
        ("GOOGLE_CLOUD_QUOTA_PROJECT", "x-goog-user-project"),
    ],
)
@pytest.mark.parametrize("name", ["openai", "gemini-openai", "mistral", "cerebras"])
def test_what_any_sdk_adds_is_found_at_a_gateway_of_any_provider(name: str, variable: str, header: str) -> None:
    """A gateway takes calls of other SDKs than that of the provider whose API it speaks."""
    gateways = {"http://localhost:4000": name}
    path = "/v1beta/openai/chat/completions" if name == "gemini-openai" else "/v1/chat/completions"
    url = "http://localhost:4000" + path
    headers = (*BEARER, (header, "x-1"))
    target = target_of(url, headers, gateways)
    environment = {"ANY_API_KEY": "k-1", variable: "x-1"}
    site = find_site(target, PROVIDERS[name], environment, SEAL, gateways)
    assert site is not None
    matched = Routes(gateways, KNOWN).match("POST", url)
    assert matched is not None
    asked = PROVIDERS[name].site(target, matched[1], Request("POST", url, headers, b""))
    assert sorted(site.headers) == sorted(asked.headers)


def test_a_gateways_key_and_headers_are_found() -> None:
    headers = (*BEARER, ("x-tenant", "blue"))
    target = target_of("http://localhost:4000/v1/chat/completions", headers, GATEWAYS)
    environment = {"LITELLM_API_KEY": "k-1", "OPENAI_CUSTOM_HEADERS": "X-Tenant: blue"}
    assert find_site(target, PROVIDERS["openai"], {"LITELLM_API_KEY": "k-1"}, SEAL, GATEWAYS) is None
    assert find_site(target, PROVIDERS["openai"], environment, SEAL, GATEWAYS) is not None


@pytest.mark.parametrize(
    ("url", "gateways"),
    [
        ("http://localhost:4000/v1", {}),
        ("http://localhost:4000/v1", {"http://localhost:4000": "anthropic"}),
        ("http://localhost:4000/v1", {"http://localhost:4000/v2": "openai", "http://localhost:400": "openai"}),
        ("https://localhost:4000/v1", GATEWAYS),
        ("http://api.openai.com/v1", {}),
        ("https://api.openai.com:8443/v1", {}),
        ("https://api.openai.com.evil.example/v1", {}),
        ("https://user@api.openai.com/v1", {}),
    ],
)
def test_no_credential_goes_where_the_user_has_not_sent_it(url: str, gateways: dict[str, str]) -> None:
    """Not even for a record that is sealed, as a run with a gateway leaves it."""
    honest = Target("openai", url, "/chat/completions", "m", "")
    made = PROVIDERS["openai"].target(Route(url, honest.endpoint, "", True), Request("POST", url, BEARER, b"{}"), BODY)
    assert isinstance(made, Target)
    target = SEAL.bind(structs.replace(honest, account=made.account))
    assert find_site(target, PROVIDERS["openai"], {"OPENAI_API_KEY": "k-1"}, SEAL, gateways) is None
    told = advice(target, PROVIDERS["openai"], {"OPENAI_API_KEY": "k-1"}, gateways)
    assert "no credential was sent" in told
    assert "k-1" not in told


def test_an_account_is_of_one_place() -> None:
    """Its digest in a record of another place stands for nobody there."""
    target = target_of("https://api.openai.com/v1/chat/completions", BEARER)
    environment = {"OPENAI_API_KEY": "k-1"}
    assert find_site(target, PROVIDERS["openai"], environment, SEAL) is not None
    moved = structs.replace(target, base_url="http://localhost:4000/v1")
    assert find_site(moved, PROVIDERS["openai"], environment, SEAL, GATEWAYS) is None
    assert find_site(target, PROVIDERS["openai"], environment, Seal(b"another")) is None
    places = ["https://h/v1", "http://h/v1", "https://h:444/v1", "https://i/v1"]
    accounts = {SEAL.bind(structs.replace(target, base_url=place)).account for place in places}
    assert len(accounts) == 4
    assert SEAL.bind(structs.replace(target, base_url="https://H:443/v2")).account in accounts


def test_a_bearer_token_for_claude() -> None:
    target = target_of("https://api.anthropic.com/v1/messages", (*BEARER, ("anthropic-version", "2023-06-01")))
    site = find_site(target, PROVIDERS["anthropic"], {"ANTHROPIC_AUTH_TOKEN": "k-1", "ANTHROPIC_API_KEY": "k-2"}, SEAL)
    assert site is not None
    # Our calls carry the version that the caller's did.
    assert sorted(site.headers) == sorted((*BEARER, ("anthropic-version", "2023-06-01")))
