"""The body of a large upload is made while it is sent: counted in bytes that are held, not timed."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterable

import pytest

from batchling.core.model import Item, Request, Site, Target
from batchling.environment import registry
from batchling.providers.base import Provider
from batchling.providers.routes import Routes
from batchling.testing import ProviderServer
from tests.providers.flows import answer
from tests.providers.provider_cases import PROVIDER_CASES, ProviderCase

ROWS, ROW = 120, 100_000

FOUND = answer({"id": "f", "name": "f", "accounts": [{"name": "accounts/a"}], "state": "CREATED"})
"""What a flow may want to hear before it uploads."""


def batch(server: ProviderServer, provider_case: ProviderCase, text: str) -> tuple[Provider, Site, list[Item]]:
    """A batch of large requests, each with this in its text."""
    url = f"{server.url}/{provider_case.name}{provider_case.path}"
    headers = tuple(provider_case.headers("sk-1").items())
    asked = [
        Request("POST", url, headers, json.dumps(provider_case.body(f"{n} {text}"), indent=1).encode())
        for n in range(ROWS)
    ]
    found = Routes(server.gateways, registry.providers(provider_case.providers(server))).match("POST", url)
    assert found is not None
    provider, route = found
    target = provider.target(route, asked[0], json.loads(asked[0].body))
    assert isinstance(target, Target)
    return provider, provider.site(target, route, asked[0]), [Item(f"key-{n}", each) for n, each in enumerate(asked)]


def upload(provider: Provider, site: Site, items: list[Item]) -> Iterable[bytes]:
    flow = provider.submit(site, items, "tag")
    call = next(flow)
    for _ in range(5):
        if call.chunks:
            return call.chunks
        place = ("x-goog-upload-url", site.target.base_url + "/upload")
        call = flow.send(answer(json.loads(FOUND.body), headers=(place,)))
    raise AssertionError("the flow uploads nothing")


@pytest.mark.parametrize("provider_case", PROVIDER_CASES, ids=str)
def test_an_upload_holds_one_row_at_a_time(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    provider, site, items = batch(provider_server, provider_case, "x" * ROW)
    tracemalloc.start()
    try:
        chunks = upload(provider, site, items)
        size = sum(map(len, chunks))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert size > ROWS * ROW
    assert peak < 8 * ROW


@pytest.mark.parametrize("provider_case", PROVIDER_CASES, ids=str)
def test_an_upload_can_be_repeated(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    provider, site, items = batch(provider_server, provider_case, "é\n")
    chunks = upload(provider, site, items)
    whole = b"".join(chunks)

    assert b"".join(chunks) == whole
    assert getattr(chunks, "size", None) in (None, len(whole))
    for item in items[:: ROWS // 3]:
        assert item.key.encode() in whole
