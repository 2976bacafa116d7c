"""The matrix of SDKs: each at the providers' own host names, which lead to the embedded server, with the base URL that it
has by default; each proved by the server's ledger. A test that takes `server` runs twice on one cache, and its second run
must buy nothing. An SDK that is not installed is skipped and says so; tox has an environment for each."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from batchling.testing import ProviderServer


@pytest.fixture
def server(provider_server_at_real_hosts: ProviderServer) -> Iterator[ProviderServer]:
    """A server that, at the end of the test, must have billed something and nothing of it in real time."""
    server = provider_server_at_real_hosts
    yield server
    assert server.billed(batch=True)
    assert server.billed(batch=False) == []


@pytest.fixture(scope="module", autouse=True)
def _collected() -> Iterator[None]:
    """Collect what an SDK leaves open while the filters of the module that lets it do so still hold: else Python warns in
    whatever test happens to run next."""
    yield
    gc.collect()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test of `server` twice."""
    server = pyfuncitem.funcargs.get("server")
    if not isinstance(server, ProviderServer):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    program = {name: pyfuncitem.funcargs[name] for name in names}
    pyfuncitem.obj(**program)
    bought = len(server.billed())
    pyfuncitem.obj(**program)
    again = len(server.billed()) - bought
    assert again == 0, f"the second run bought {again} of {bought} requests again"
    return True
