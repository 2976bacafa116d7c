"""Libraries that are imported while hooks are in place, dropped and imported again, reloaded, imported in two threads."""

from __future__ import annotations

import subprocess
import sys

import pytest

ASK = """
import asyncio, faulthandler, importlib, sys
faulthandler.dump_traceback_later(40, exit=True)
from batchling import batchify
from batchling.testing import ProviderServer
BODY = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}]}
def ask(name, server):
    library = importlib.import_module(name)
    call = dict(json=BODY, headers={"authorization": "Bearer sk-1"})
    url = server.openai_url + "/chat/completions"
    if name != "aiohttp":
        return library.post(url, **call).status_code
    async def program():
        async with library.ClientSession() as session, session.post(url, **call) as answer:
            return answer.status
    return asyncio.run(program())
def drop(name):
    for module in [each for each in sys.modules if each.split(".")[0] == name]:
        del sys.modules[module]
def scope(server):
    return batchify(gateways=server.gateways, cache=False, display="off",
                    batch_window_seconds=0.05, batch_poll_interval_seconds=0.05)
"""


def run(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", ASK + program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "name", ["httpx", *(pytest.param(n, marks=pytest.mark.slow) for n in ("httpx2", "requests", "aiohttp"))]
)
@pytest.mark.parametrize("when", ["in the scope", pytest.param("between scopes", marks=pytest.mark.slow)])
def test_a_library_that_is_imported_again_is_hooked_again(name: str, when: str) -> None:
    also = {"requests": "urllib3"}.get(name, name)
    run(f"""
import {name}
with ProviderServer() as server:
    with scope(server):
        assert ask({name!r}, server) == 200
        if {when!r} == "in the scope":
            drop({name!r}); drop({also!r})
            assert ask({name!r}, server) == 200
    drop({name!r}); drop({also!r})
    with scope(server):
        assert ask({name!r}, server) == 200
    assert server.billed(batch=False) == []
""")


@pytest.mark.thorough
@pytest.mark.parametrize(
    "modules",
    ["httpx._client httpx._api httpx", "urllib3.connectionpool urllib3.poolmanager"],
)
def test_a_library_that_is_reloaded_is_hooked_again(modules: str) -> None:
    name = "httpx" if "httpx" in modules else "requests"
    run(f"""
import {name}
with ProviderServer() as server, scope(server):
    for module in {modules.split()!r}:
        importlib.reload(sys.modules[module])
    assert ask({name!r}, server) == 200
    assert server.billed(batch=False) == []
""")


@pytest.mark.thorough
def test_the_import_system_is_left_as_it_was() -> None:
    """Loaders are the library's own once it is loaded, and our finder goes with the hooks."""
    run("""
from batchling import install_hooks, uninstall_hooks
before = list(sys.meta_path)
install_hooks()
import httpx, importlib.resources
assert type(httpx.__spec__.loader).__name__ == type(httpx.__loader__).__name__ == "SourceFileLoader"
assert importlib.resources.files("httpx").joinpath("py.typed").is_file()
assert httpx.HTTPTransport.__dict__["handle_request"].__wrapped__
uninstall_hooks()
assert sys.meta_path == before
""")


@pytest.mark.thorough
def test_a_library_that_another_thread_imports_right_now_is_waited_for() -> None:
    run("""
import importlib.abc, threading
go_on, begun = threading.Event(), threading.Event()
class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "httpx._client":
            begun.set(); go_on.wait(20)
sys.meta_path.insert(0, Slow())
importing = threading.Thread(target=lambda: importlib.import_module("httpx"))
importing.start()
assert begun.wait(20)
threading.Timer(0.2, go_on.set).start()
with ProviderServer() as server:
    with scope(server):
        importing.join()
        assert ask("httpx", server) == 200
    assert server.billed(batch=False) == []
""")
