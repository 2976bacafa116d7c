"""A gateway's credential goes to that gateway: of every provider, every call of every flow."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

import msgspec
import pytest

from batchling.core.model import Call, Flow, Item, Job, Request, Response, Site, State, Status, Target
from batchling.providers import PROVIDERS
from batchling.providers.azure import AZURE
from batchling.providers.base import Provider
from batchling.providers.google.vertex import VERTEX
from tests.providers.provider_cases import PROVIDER_CASES, ProviderCase

KEY = "k-OF-THE-GATEWAY"
GATE = "https://gate.example"
KNOWN: dict[str, Provider] = {
    **PROVIDERS,
    "azure": replace(AZURE, deployments={"m": "m-batch"}),
    "vertex": replace(VERTEX, gcs_prefix="gs://bucket/folder", storage=f"{GATE}/storage"),
}
SAID = {
    "id": "x",
    "name": "x",
    "state": "READY",
    "accounts": [{"name": "accounts/a"}],
    "file": {"name": "files/x"},
    "filenameToSignedUrls": {"r.jsonl": "https://signed.example/x"},
    "results_url": "https://results.example/x",
    "url": "https://elsewhere.example/x",
    "next": "https://elsewhere.example/x",
    "data": [],
}
"""What may be an answer of any of them, with links to other hosts."""


def calls_of(flow: Flow[object]) -> list[Call]:
    """The calls of a flow, as far as it gets with these answers."""
    calls = []
    place = (("x-goog-upload-url", "https://uploads.example/x"), ("location", "https://uploads.example/x"))
    try:
        call = next(flow)
        for _ in range(20):
            calls.append(call)
            call = flow.send(Response(200, place, msgspec.json.encode(SAID)))
    except Exception as end:
        assert isinstance(end, StopIteration) or type(end).__name__ in ("Garbled", "Refused", "Unsettled", "Unread"), (
            end
        )
    return calls


def site_of(provider_case: ProviderCase, provider: Provider, url: str) -> tuple[Site, Request]:
    body = provider_case.body("a")
    headers = tuple(provider_case.headers(KEY).items())
    request = Request("POST", url, headers, msgspec.json.encode(body))
    route = provider.route("POST", url, official=False)
    assert route is not None
    target = provider.target(route, request, body)
    assert isinstance(target, Target), target
    return provider.site(target, route, request), request


@pytest.mark.parametrize("provider_case", PROVIDER_CASES, ids=str)
def test_a_gateways_credential_stays_there(provider_case: ProviderCase) -> None:
    provider = KNOWN[provider_case.name]
    at, request = site_of(provider_case, provider, GATE + provider_case.path)
    job = Job("x", {"output": "gs://bucket/out", "input_file_id": "f", "results_url": "https://results.example/x"})
    ended = Status(State.ENDED, "completed", 1, 1, ("gs://bucket/out" if provider_case.name == "vertex" else "o",))
    flows = [
        provider.submit(at, [Item("a" * 40 + "-0", request)], "tag"),
        provider.poll(at, job),
        provider.fetch(at, job, ended),
        provider.find(at, "tag", ["a" * 40 + "-0"], 0.0, frozenset()),
        provider.cancel(at, job),
    ]
    calls = [call for flow in flows for call in calls_of(flow)]
    assert any(KEY in value for call in calls for _, value in call.request.headers)
    for call in calls:
        if urlsplit(call.request.url)[:2] != urlsplit(GATE)[:2]:
            assert call.request.headers == (), call
            assert call.request.url.startswith("https://")
            assert KEY not in call.request.url
