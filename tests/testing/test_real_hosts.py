"""The providers' own host names, led to the embedded server: with every HTTP library, in children, and what is left of it
afterwards."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpcore
import httpx
import httpx2
import pytest
import requests
import trio
import trustme

from batchling import batchify
from batchling.hooks import uninstall_hooks
from batchling.providers import PROVIDERS
from batchling.testing import ProviderServer, real_hosts
from batchling.testing.hosts import HOSTS, SIGNED_LINKS
from batchling.testing.real_hosts import TRUST_VARIABLES
from tests.engine.calls import QUICK, chat

MODELS = "https://api.openai.com/v1/models"
KEY = {"authorization": "Bearer sk-1"}


@pytest.fixture
def server(provider_server_at_real_hosts: ProviderServer) -> ProviderServer:
    return provider_server_at_real_hosts


def seen(server: ProviderServer) -> list[tuple[str, int]]:
    return [(call.path, call.status) for call in server.calls()]


def test_the_table_has_every_host_of_every_provider_and_no_other() -> None:
    roots = {urlsplit(root).netloc for provider in PROVIDERS.values() for root in provider.roots}

    assert set(HOSTS) - {SIGNED_LINKS} == roots | {"storage.googleapis.com"}


def with_urllib() -> int:
    return int(urllib.request.urlopen(urllib.request.Request(MODELS, headers=KEY)).status)


@pytest.mark.thorough
def test_urllib_was_used_before(provider_server: ProviderServer) -> None:
    urllib.request.urlopen(urllib.request.Request(provider_server.openai_url + "/models", headers=KEY)).close()
    opener = vars(urllib.request)["_opener"]
    with provider_server.at_real_hosts():
        assert with_urllib() == 200
    assert vars(urllib.request)["_opener"] is opener


def with_a_socket_that_resolves_itself() -> int:
    with socket.socket() as plain:
        plain.connect(("API.OpenAI.com.", 443))
        with ssl.create_default_context().wrap_socket(plain, server_hostname="api.openai.com") as tls:
            tls.sendall(b"GET /v1/models HTTP/1.1\r\nhost: api.openai.com\r\nauthorization: Bearer sk-1\r\n\r\n")
            return int(tls.recv(99).split()[1])


@pytest.mark.parametrize(
    "ask",
    [
        lambda: httpx.get(MODELS, headers=KEY).status_code,
        lambda: httpx2.get(MODELS, headers=KEY).status_code,
        lambda: requests.get(MODELS, headers=KEY).status_code,
        with_urllib,
        with_a_socket_that_resolves_itself,
    ],
    ids=["httpx", "httpx2", "requests", "urllib", "socket"],
)
def test_sync(server: ProviderServer, ask: Callable[[], int]) -> None:
    assert ask() == 200
    assert seen(server) == [("/openai/v1/models", 200)]


async def with_httpx() -> int:
    async with httpx.AsyncClient() as client:
        return (await client.get(MODELS, headers=KEY)).status_code


async def with_httpx2() -> int:
    async with httpx2.AsyncClient() as client:
        return (await client.get(MODELS, headers=KEY)).status_code


async def with_httpcore() -> int:
    async with httpcore.AsyncConnectionPool(ssl_context=ssl.create_default_context()) as pool:
        return (await pool.request("GET", MODELS, headers=KEY)).status


async def with_aiohttp() -> int:
    async with aiohttp.ClientSession() as session, session.get(MODELS, headers=KEY) as answer:
        return answer.status


async def with_a_stream() -> int:
    context = ssl.create_default_context()
    reader, writer = await asyncio.open_connection("api.openai.com", 443, ssl=context)
    writer.write(b"GET /v1/models HTTP/1.1\r\nhost: api.openai.com\r\nauthorization: Bearer sk-1\r\n\r\n")
    status = (await reader.readline()).split()[1]
    writer.close()
    await writer.wait_closed()
    return int(status)


lenient = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


def on_asyncio(ask: Callable[[], Any]) -> Any:
    try:
        return asyncio.run(ask())
    finally:
        gc.collect()  # what aiohttp leaves of a TLS connection when its loop ends at once, while that is no error


def on_trio(ask: Callable[[], Any]) -> Any:
    return trio.run(ask)


def on_uvloop(ask: Callable[[], Any]) -> Any:
    uvloop = pytest.importorskip("uvloop", reason="not installed: tox -e sdk-providers")
    return uvloop.run(ask())


@lenient
@pytest.mark.parametrize(
    ("run", "ask"),
    [
        *((run, ask) for run in (on_asyncio, on_uvloop) for ask in (with_aiohttp, with_a_stream)),
        *((run, ask) for run in (on_asyncio, on_trio, on_uvloop) for ask in (with_httpx, with_httpx2, with_httpcore)),
    ],
)
def test_async(server: ProviderServer, run: Callable[..., int], ask: Callable[[], int]) -> None:
    assert run(ask) == 200
    assert seen(server) == [("/openai/v1/models", 200)]


@lenient
def test_aiodns(server: ProviderServer) -> None:
    pytest.importorskip("aiodns", reason="not installed: tox -e sdk-providers")

    async def ask() -> int:
        connector = aiohttp.TCPConnector(resolver=aiohttp.AsyncResolver())
        async with aiohttp.ClientSession(connector=connector) as session, session.get(MODELS, headers=KEY) as answer:
            return answer.status

    assert on_asyncio(ask) == 200


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://eu.api.openai.com/v1/models", "/openai/v1/models"),
        ("https://api.groq.com/openai/v1/models", "/groq/openai/v1/models"),
        ("https://open.bigmodel.cn/api/paas/v4/models", "/zhipu/api/paas/v4/models"),
        ("https://mine.openai.azure.com/openai/v1/models", "/azure/openai/v1/models"),
        ("https://w.cn-beijing.maas.aliyuncs.com/compatible-mode/v1/models", "/dashscope/compatible-mode/v1/models"),
        ("https://europe-west4-aiplatform.googleapis.com/v1/x", "/vertex/v1/x"),
        ("https://storage.googleapis.com/storage/v1/b/x/o", "/vertex/storage/storage/v1/b/x/o"),
    ],
)
def test_each_host_is_what_is_mounted_for_it(server: ProviderServer, url: str, path: str) -> None:
    httpx.get(url, headers={**KEY, "api-key": "k"})

    assert [call.path for call in server.calls()] == [path]


def test_other_names_and_ports_are_left_alone(server: ProviderServer) -> None:
    assert socket.gethostbyname("localhost") == "127.0.0.1"
    address = socket.gethostbyname("api.openai.com")
    assert address.startswith("127.")
    assert socket.gethostbyname_ex("api.openai.com")[2] == [address]
    assert httpx.get(server.url + "/openai/v1/models", headers=KEY).status_code == 200
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("api.openai.com", 444), timeout=5)
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("api.openai.com", 443, flags=socket.AI_NUMERICHOST)
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("api.openai.com", 443, family=socket.AF_INET6)
    with socket.socket() as plain:
        assert plain.connect_ex(("api.openai.com", 443)) == 0


@pytest.mark.thorough
def test_proxies_are_passed_by(monkeypatch: pytest.MonkeyPatch, provider_server: ProviderServer) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "mine.test")
    with provider_server.at_real_hosts():
        assert httpx.get(MODELS, headers=KEY).status_code == 200
        assert httpx2.get(MODELS, headers=KEY).status_code == 200
        assert requests.get(MODELS, headers=KEY).status_code == 200
        assert with_urllib() == 200
        assert os.environ["NO_PROXY"].startswith("mine.test,")
        with pytest.raises(httpx.ConnectError):
            httpx.get("http://other.test/")


def state() -> list[object]:
    names = ("getaddrinfo", "gethostbyname", "gethostbyname_ex")
    methods = {name: value for name, value in vars(socket.socket).items() if name.startswith("connect")}
    context = vars(sys.modules["aiohttp.connector"])["_SSL_CONTEXT_VERIFIED"]
    return [dict(os.environ), [vars(socket)[name] for name in names], methods, context, list(sys.meta_path)]


@pytest.mark.parametrize("name", [None, "REQUESTS_CA_BUNDLE"])
def test_everything_is_restored(name: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name is not None:
        Path(tmp_path, "ca.pem").write_bytes(trustme.CA().cert_pem.bytes())
        monkeypatch.setenv(name, str(tmp_path / "ca.pem"))
    before = state()
    with pytest.raises(KeyError), ProviderServer().at_real_hosts() as server:
        folder = Path(os.environ["SSL_CERT_FILE"]).parent
        assert state() != before
        raise KeyError

    assert state() == before
    assert not folder.exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url)


def test_a_wrapper_of_somebody_elses_stays_and_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with ProviderServer().at_real_hosts():
        ours = socket.gethostbyname
        monkeypatch.setattr(socket, "gethostbyname", lambda name: ours(name))
        assert socket.gethostbyname("api.openai.com").startswith("127.")
    assert socket.gethostbyname("127.0.0.9") == "127.0.0.9"
    with pytest.raises(socket.gaierror):
        socket.gethostbyname("api.openai.com.invalid")


def test_what_was_trusted_still_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TRUST_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    theirs = [trustme.CA().cert_pem.bytes() for _ in range(2)]
    for name, content in zip(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), theirs, strict=True):
        Path(tmp_path, name).write_bytes(content)
        monkeypatch.setenv(name, str(tmp_path / name))
    with ProviderServer().at_real_hosts():
        files = {os.environ[name] for name in TRUST_VARIABLES}
        bundle = Path(*files).read_bytes()

    assert all(content in bundle for content in theirs)
    assert bundle.count(b"BEGIN CERTIFICATE") == 3


def test_one_block_at_a_time(server: ProviderServer) -> None:
    refused: list[BaseException] = []

    def enter() -> None:
        try:
            with server.at_real_hosts():
                pass
        except RuntimeError as fault:
            refused.append(fault)

    enter()
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()

    assert len(refused) == 2
    assert "in use already" in str(refused[0])
    assert httpx.get(MODELS, headers=KEY).status_code == 200


def test_one_server_twice_and_a_client_kept_in_between(provider_server: ProviderServer) -> None:
    with provider_server.at_real_hosts():
        client = httpx.Client()
        assert client.get(MODELS, headers=KEY).status_code == 200
    with ProviderServer().at_real_hosts() as second, closing(client):
        assert client.get("https://us.api.openai.com/v1/models", headers=KEY).status_code == 200
        assert len(second.calls()) == 1


def test_trustme_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)
    monkeypatch.setattr(real_hosts, "_authority", real_hosts._authority.__wrapped__)
    before = state()
    with pytest.raises(RuntimeError, match=r"batchling\[testing\]"), ProviderServer().at_real_hosts():
        pass
    assert state() == before


# Children.

ASK = f"import urllib.request as u; print(u.urlopen(u.Request({MODELS!r}, headers={KEY!r})).status)"


def test_a_program_started_inside(server: ProviderServer) -> None:
    assert subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True).stdout == "200\n"


@pytest.mark.thorough
def test_a_program_started_by_one(server: ProviderServer) -> None:
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ASK!r}], check=True)"
    assert subprocess.run([sys.executable, "-c", outer], capture_output=True, text=True, check=True).stdout == "200\n"


@pytest.mark.thorough
def test_libraries_that_a_child_imports_later(server: ProviderServer) -> None:
    program = f"""
import asyncio, aiohttp
async def ask():
    async with aiohttp.ClientSession() as session, session.get({MODELS!r}, headers={KEY!r}) as answer:
        return answer.status
print(asyncio.run(ask()))
try:
    import uvloop
    print(uvloop.run(ask()))
except ImportError:
    print(200)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "200\n200\n"


def test_a_sitecustomize_of_the_users_runs_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider_server: ProviderServer
) -> None:
    Path(tmp_path, "sitecustomize.py").write_text("MINE = 7")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with provider_server.at_real_hosts():
        program = f"import sitecustomize; print(sitecustomize.MINE); {ASK}"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "7\n200\n"
    assert os.environ["PYTHONPATH"] == str(tmp_path)


@pytest.fixture
def forkserver() -> Iterator[None]:
    """One that starts inside the block."""
    from multiprocessing.forkserver import _forkserver  # type: ignore[attr-defined]

    _forkserver._stop()
    yield
    _forkserver._stop()


@pytest.mark.thorough
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers(server: ProviderServer, forkserver: None, method: str) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        assert pool.submit(with_urllib).result() == 200


def test_other_children_know_nothing_of_it(provider_server: ProviderServer) -> None:
    with provider_server.at_real_hosts():
        pass
    program = "import socket, sys; print('_batchling_redirection' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# Batching.


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("url", "headers", "body"),
    [
        ("https://api.openai.com/v1/chat/completions", KEY, chat("hi")),
        (
            "https://api.anthropic.com/v1/messages",
            {"x-api-key": "k", "anthropic-version": "2023-06-01"},
            chat("hi", max_tokens=9),
        ),
        (
            "https://generativelanguage.googleapis.com/v1beta/models/m:generateContent",
            {"x-goog-api-key": "k"},
            {"contents": [{"parts": [{"text": "hi"}]}]},
        ),
        ("https://generativelanguage.googleapis.com/v1beta/openai/chat/completions", KEY, chat("hi")),
        ("https://api.fireworks.ai/inference/v1/chat/completions", KEY, chat("hi")),
        ("https://api.saas.parasail.io/v1/chat/completions", KEY, chat("hi")),
    ],
    ids=["openai", "anthropic", "gemini", "gemini-openai", "fireworks", "parasail"],
)
def test_batches_twice(server: ProviderServer, url: str, headers: dict[str, str], body: dict[str, Any]) -> None:
    answers = []
    for _ in range(2):
        with batchify(**QUICK):  # type: ignore[arg-type]
            answers.append(httpx.post(url, headers=headers, json=body).json())

    assert answers[0] == answers[1]
    assert len(server.billed(batch=True)) == len(server.billed()) == 1


def ask_in_a_scope() -> int:
    with batchify(**QUICK):  # type: ignore[arg-type]
        return httpx.post("https://api.openai.com/v1/chat/completions", headers=KEY, json=chat("hi")).status_code


@pytest.mark.thorough
def test_batches_of_a_worker(server: ProviderServer) -> None:
    uninstall_hooks()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(ask_in_a_scope).result() == 200
    assert len(server.billed(batch=True)) == len(server.billed()) == 1
