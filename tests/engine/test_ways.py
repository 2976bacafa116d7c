"""Our own calls reach what the program's client reaches, and say in words what they do not reach."""

from __future__ import annotations

import asyncio
import gzip
import logging
import os
import random
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
import trustme

from batchling import batchify, events, jobs
from batchling.core.model import Call, Flow, Request, Response, Site, Target
from batchling.core.way import Proxy, Way
from batchling.engine import pools, wire
from batchling.engine.access import Access
from batchling.engine.exchange import Exchange, FlowContext, GivenUp
from batchling.engine.patience import Patience
from batchling.engine.sender import NetworkFault, Sender
from batchling.environment import ways as environment
from batchling.providers import PROVIDERS
from batchling.system.gate import RealTime, current
from batchling.system.pending import Pending
from batchling.testing import ProviderServer
from tests.engine.calls import QUICK, chat, together
from tests.engine.fronts import ProxyServer, SocksServer, client_context, listening, pipe, port_of, server_context, tls
from tests.patience import be_patient
from tests.waiting import wait_until

HEADERS = (("authorization", "Bearer sk-1"), ("content-type", "application/json"))
INSIDE = "http://llm.internal.example"
"""A host that only a proxy or a socket leads to."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def scope(base: str, **options: Any) -> Iterator[list[events.Event]]:
    heard: list[events.Event] = []
    with batchify(**{"gateways": {base: "openai"}, "on_event": heard.append, "cache": False, **QUICK, **options}):
        yield heard


def submit(base: str, text: str, way: Way | None) -> Pending[Response]:
    """As a hook does it."""
    import msgspec

    gate = current()
    assert gate is not None
    future = gate.submit(Request("POST", f"{base}/chat/completions", HEADERS, msgspec.json.encode(chat(text))), way)
    assert future is not None
    return future


def get(url: str, way: Way | None = None) -> Response:
    async def once() -> Response:
        sender = Sender()
        try:
            return await sender.send(Call(Request("GET", url, HEADERS)), way=way)
        finally:
            await sender.close()

    return asyncio.run(once())


def fault_of(url: str, way: Way | None = None) -> NetworkFault:
    with pytest.raises(NetworkFault) as fault:
        get(url, way)
    return fault.value


# Trust.


@pytest.mark.thorough
def test_what_the_client_trusts_is_trusted(provider_server: ProviderServer, authority: trustme.CA) -> None:
    with tls(provider_server, server_context(authority)) as url, scope(f"{url}/openai/v1"):
        future = submit(f"{url}/openai/v1", "a", Way(tls=client_context(authority)))
        assert future.result(20).status == 200
    assert len(provider_server.billed(batch=True)) == 1


@pytest.mark.thorough
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize("way", [None, Way()])
def test_what_the_environment_trusts_is_trusted(
    provider_server: ProviderServer,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variable: str,
    way: Way | None,
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with tls(provider_server, server_context(authority)) as url:
        assert fault_of(f"{url}/openai/v1/batches", way).final
        monkeypatch.setenv(variable, str(tmp_path / "ca.pem"))
        assert get(f"{url}/openai/v1/batches", way).status == 200


@pytest.mark.thorough
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_a_folder_of_certificates_is_trusted(
    provider_server: ProviderServer, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    command = ["openssl", "x509", "-hash", "-noout", "-in", str(tmp_path / "ca.pem")]
    name = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    (tmp_path / "ca.pem").rename(tmp_path / f"{name}.0")
    monkeypatch.setenv("SSL_CERT_DIR", f"{tmp_path / 'none'}{os.pathsep}{tmp_path}")
    with tls(provider_server, server_context(authority)) as url:
        assert get(f"{url}/openai/v1/batches").status == 200


@pytest.mark.thorough
def test_variables_add_to_each_other_and_to_the_system(
    provider_server: ProviderServer,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whichever library a program uses; and a file that is not there is no reason to stop."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    usual = len(environment.trust().get_ca_certs())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    with tls(provider_server, server_context(authority)) as url:
        assert get(f"{url}/openai/v1/batches").status == 200
        assert get(f"{url}/openai/v1/batches").status == 200
    assert len(environment.trust().get_ca_certs()) == usual + 1 > 50
    (warning,) = [record.getMessage() for record in caplog.records if "missing.pem" in record.getMessage()]
    assert warning.startswith(
        f"batchling: SSL_CERT_FILE names {tmp_path / 'missing.pem'}, which cannot be read (No such"
    )


@pytest.mark.thorough
def test_a_client_certificate_is_shown(provider_server: ProviderServer, authority: trustme.CA) -> None:
    clients, known = trustme.CA(), client_context(authority)
    clients.issue_cert("me@company.example").configure_cert(known)
    with tls(provider_server, server_context(authority, clients)) as url, scope(f"{url}/openai/v1"):
        assert submit(f"{url}/openai/v1", "a", Way(tls=known)).result(20).status == 200
    assert len(provider_server.billed(batch=True)) == 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate_that_is_missing(authority: trustme.CA, version: ssl.TLSVersion) -> None:
    """With TLS 1.3 the refusal comes after the request was sent; the server has not read it."""
    context = server_context(authority, trustme.CA())
    context.maximum_version = version

    def serve(listening: socket.socket) -> None:
        inner = listening.accept()[0]
        secured = context.wrap_socket(inner, server_side=True, do_handshake_on_connect=False)
        with pytest.raises(ssl.SSLError):
            secured.do_handshake()
        with socket.socket(fileno=secured.detach()) as raw:  # read on, or the alert would be lost in a reset
            while raw.recv(65536):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        fault = fault_of(f"https://127.0.0.1:{listening.getsockname()[1]}/", Way(tls=client_context(authority)))
        thread.join()
    assert (fault.final, fault.acted) == (True, False)
    assert "alert" in str(fault)


@pytest.mark.parametrize("name", ["another.example", "127.0.0.9"])
def test_a_certificate_for_another_host_gets_other_words(name: str, provider_server: ProviderServer) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    with tls(provider_server, context) as url:
        fault = fault_of(url, Way(tls=client_context(authority)))
    assert fault.final
    assert str(fault).startswith("the certificate of 127.0.0.1 is not valid (")
    assert "SSL_CERT_FILE" not in str(fault)


def test_tls_where_there_is_none(provider_server: ProviderServer) -> None:
    fault = fault_of(provider_server.url.replace("http:", "https:"))
    assert (fault.final, fault.acted) == (True, False)
    assert str(fault).startswith("TLS with 127.0.0.1 failed (")


# What cannot arrive goes real time, at once.


@pytest.mark.thorough
@pytest.mark.parametrize("library", [httpx, httpx2])
def test_the_clients_own_exception_for_a_certificate(
    provider_server: ProviderServer,
    authority: trustme.CA,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    library: Any,
) -> None:
    with tls(provider_server, server_context(authority)) as url:
        started = time.monotonic()
        with scope(f"{url}/openai/v1") as heard:
            for text in ("a", "b"):
                with pytest.raises(library.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                    library.post(f"{url}/openai/v1/chat/completions", json=chat(text), headers=dict(HEADERS))
        assert time.monotonic() - started < 10
    reason = (
        "the certificate of 127.0.0.1 is not trusted (unable to get local issuer certificate): "
        "set SSL_CERT_FILE to your company's CA bundle, or pass verify= to the client"
    )
    assert [each.reason for each in heard if isinstance(each, events.Bypassed)] == [reason] * 2
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    (text,) = warnings
    assert f"a call to 127.0.0.1/openai/v1/chat/completions goes real time, at full price: {reason}." in text
    report = capsys.readouterr().err
    assert "2 went real time" in report
    assert report.count("is not trusted") == 1
    assert provider_server.calls() == []


@pytest.mark.thorough
def test_a_hook_that_tells_no_way(provider_server: ProviderServer, authority: trustme.CA) -> None:
    """The environment does not trust the gateway: real time. Others there are batched."""
    with tls(provider_server, server_context(authority)) as url:
        base = f"{url}/openai/v1"
        with scope(base):
            with pytest.raises(RealTime):
                submit(base, "a", None).result(20)
            assert submit(base, "b", Way(tls=client_context(authority))).result(20).status == 200
    assert len(provider_server.billed()) == len(provider_server.billed(batch=True)) == 1


@pytest.mark.thorough
@pytest.mark.parametrize("client", ["httpx", "httpx2", "httpx2 async", "requests", "aiohttp"])
def test_the_trust_of_each_client_goes_along(
    provider_server: ProviderServer, authority: trustme.CA, tmp_path: Path, client: str
) -> None:
    """A private authority that only the client knows."""
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(authority.cert_pem.bytes())
    context = client_context(authority)

    async def by_aiohttp(url: str) -> int:
        async with aiohttp.ClientSession() as session:
            async with session.post(url, json=chat("a"), headers=dict(HEADERS), ssl=context) as answer:
                return answer.status

    async def by_httpx2(url: str) -> int:
        async with httpx2.AsyncClient(verify=context) as session:
            return (await session.post(url, json=chat("a"), headers=dict(HEADERS))).status_code

    def ask(url: str) -> int:
        if client == "aiohttp":
            return asyncio.run(by_aiohttp(url))
        if client == "httpx2 async":
            return asyncio.run(by_httpx2(url))
        if client == "requests":
            return requests.post(url, json=chat("a"), headers=dict(HEADERS), verify=str(bundle)).status_code
        library = {"httpx": httpx, "httpx2": httpx2}[client]
        with library.Client(verify=context) as session:
            status: int = session.post(url, json=chat("a"), headers=dict(HEADERS)).status_code
            return status

    with tls(provider_server, server_context(authority)) as url, scope(f"{url}/openai/v1"):
        assert ask(f"{url}/openai/v1/chat/completions") == 200
    assert len(provider_server.billed()) == len(provider_server.billed(batch=True)) == 1


def test_openai_meets_its_own_wall(provider_server: ProviderServer, authority: trustme.CA) -> None:
    openai = pytest.importorskip("openai")
    with tls(provider_server, server_context(authority)) as url, scope(f"{url}/openai/v1"):
        client = openai.OpenAI(base_url=f"{url}/openai/v1", api_key="sk-1", max_retries=0)
        with pytest.raises(openai.APIConnectionError):
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "a"}])
        client.close()


@pytest.mark.thorough
def test_a_wall_on_the_way_to_a_job_is_waited_out(provider_server: ProviderServer, authority: trustme.CA) -> None:
    """The law holds: no network failure moves a record."""
    context = server_context(authority)
    submitted, unreached = threading.Event(), threading.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await pipe(reader, writer, port_of(provider_server))

    heard: list[events.Event] = []

    def listen(event: events.Event) -> None:
        heard.append(event)
        if isinstance(event, events.Submitted):
            submitted.set()
        if isinstance(event, events.Delayed) and event.unreached:
            unreached.set()

    with listening(handle, context) as front:
        base = f"https://127.0.0.1:{front.port}/openai/v1"
        with batchify(
            gateways={base: "openai"}, on_event=listen, batch_window_seconds=0.05, batch_poll_interval_seconds=1.0
        ):
            future = submit(base, "a", Way(tls=client_context(authority)))
            assert submitted.wait(20)
            trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
            front.hang_up()
            assert unreached.wait(20)
            authority.issue_cert("127.0.0.1").configure_cert(context)
            assert future.result(30).status == 200
    assert any(
        "certificate of 127.0.0.1 is not trusted" in each.why for each in heard if isinstance(each, events.Delayed)
    )
    assert len(provider_server.billed()) == len(provider_server.billed(batch=True)) == 1


def test_a_client_set_up_wrongly_does_not_hold_up_the_others(provider_server: ProviderServer) -> None:
    base = provider_server.openai_url
    wrong = Way(proxy=Proxy(f"http://127.0.0.1:{closed_port()}"))
    with scope(base, **together(2)):
        for texts in ("ab", "cd"):
            first = submit(base, texts[0], Way())
            second = submit(base, texts[1], wrong)
            assert (first.result(20).status, second.result(20).status) == (200, 200)
    assert len(provider_server.billed(batch=True)) == 4


def test_a_proxy_that_wants_a_login_from_one_client_of_two(provider_server: ProviderServer) -> None:
    """What cannot pass on one way passes on the other, and nothing goes real time."""
    base = provider_server.openai_url
    with listening(ProxyServer(0, status=407)) as front, scope(base, **together(2)) as heard:
        first = submit(base, "a", Way())
        second = submit(base, "b", Way(proxy=Proxy(f"http://127.0.0.1:{front.port}")))
        assert (first.result(20).status, second.result(20).status) == (200, 200)
    assert not [each for each in heard if isinstance(each, events.Bypassed)]


@pytest.mark.parametrize(("created", "raised"), [(False, NetworkFault), (True, GivenUp)])
def test_a_wall_behind_a_create_call_is_waited_out(
    provider_server: ProviderServer, created: bool, raised: type[Exception]
) -> None:
    """Something may be under way then: the requests must not be sent once more in real time."""
    target = Target("openai", provider_server.openai_url, "/v1/chat/completions", "m", "")
    access = Access(PROVIDERS["openai"], Site(target), Way())

    def flow() -> Flow[None]:
        yield Call(Request("GET", f"{provider_server.openai_url}/batches", HEADERS), repeatable=not created)
        yield Call(Request("GET", provider_server.url.replace("http:", "https:")))

    async def run() -> None:
        sender = Sender()
        flow_context = FlowContext("b", "submit", time.time() + 0.05, access, submits=True)
        try:
            await Exchange(sender, lambda event: None, Patience(poll=0.01)).run(flow_context, flow)
        finally:
            await sender.close()

    with pytest.raises(raised, match=r"TLS with .* failed"):
        asyncio.run(run())


# What may pass is waited for, in words from the first failure on.


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("http://llm.invalid/v1", "the name llm.invalid does not resolve"),
        ("http://127.0.0.1:{port}/v1", "127.0.0.1:{port} refuses the connection"),
    ],
)
def test_the_first_message_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, base: str, words: str
) -> None:
    port = closed_port()
    base, words = base.format(port=port), words.format(port=port)
    lookup = socket.getaddrinfo

    def at_once(host: Any, *args: Any, **options: Any) -> Any:
        # What a resolver without a network says after seconds, which would be all the patience there is.
        if host in ("llm.invalid", b"llm.invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return lookup(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", at_once)
    be_patient(monkeypatch, before_job=0.5)
    with scope(base):
        answer = submit(base, "a", Way()).result(20)
    assert answer.status == 424
    assert f"cannot submit ({words})" in answer.body.decode()
    first = next(record for record in caplog.records if "cannot submit" in record.getMessage())
    assert first.levelno == logging.WARNING
    assert words in first.getMessage()
    assert "/v1" not in first.getMessage()


@pytest.mark.thorough
def test_a_host_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    from batchling.engine import sender

    monkeypatch.setattr(sender, "CONNECT_SECONDS", 0.2)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        place = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(place)
        fault = fault_of(f"http://127.0.0.1:{place[1]}/")
        for each in waiting:
            each.close()
    assert str(fault) == f"127.0.0.1:{place[1]} does not answer"
    assert (fault.acted, fault.final) == (False, False)


# Proxies and sockets.


@pytest.mark.thorough
@pytest.mark.parametrize("login", ["", "me:p@ss"])
def test_a_proxy_leads_to_what_it_is_asked_for(
    provider_server: ProviderServer, authority: trustme.CA, login: str
) -> None:
    import base64

    sent = ((b"proxy-authorization", b"Basic " + base64.b64encode(login.encode())),) if login else ()
    with tls(provider_server, server_context(authority)) as url:
        tunnel, forward = ProxyServer(int(url.rpartition(":")[2]), login), ProxyServer(port_of(provider_server), login)
        with listening(tunnel) as one, listening(forward) as other:
            with scope(f"{url}/openai/v1"):
                way = Way(client_context(authority), Proxy(f"http://127.0.0.1:{one.port}", sent))
                assert submit(f"{url}/openai/v1", "a", way).result(20).status == 200
            with scope(f"{INSIDE}/openai/v1"):
                way = Way(proxy=Proxy(f"http://127.0.0.1:{other.port}", sent))
                assert submit(f"{INSIDE}/openai/v1", "b", way).result(20).status == 200
    assert set(tunnel.asked) == {f"CONNECT {url.removeprefix('https://')} HTTP/1.1"}
    assert forward.asked[0] == f"POST {INSIDE}/openai/v1/files HTTP/1.1"
    assert len(provider_server.billed(batch=True)) == 2


@pytest.mark.thorough
@pytest.mark.parametrize("base", [INSIDE, INSIDE.replace("http", "https")])
def test_a_proxy_that_wants_a_login(
    provider_server: ProviderServer, caplog: pytest.LogCaptureFixture, base: str
) -> None:
    with listening(ProxyServer(port_of(provider_server), "me:secret-word")) as front:
        started = time.monotonic()
        with scope(f"{base}/v1") as heard:
            future = submit(f"{base}/v1", "a", Way(proxy=Proxy(f"http://127.0.0.1:{front.port}")))
            with pytest.raises(RealTime):
                future.result(20)
        assert time.monotonic() - started < 10
        words = f"the proxy at 127.0.0.1:{front.port} requires a login (407)"
        assert [each.reason for each in heard if isinstance(each, events.Bypassed)] == [words]
    assert words in caplog.text
    assert "secret-word" not in caplog.text


@pytest.mark.parametrize(("status", "final"), [(403, True), (502, False), (503, False)])
def test_a_proxy_that_does_not_connect(provider_server: ProviderServer, status: int, final: bool) -> None:
    with listening(ProxyServer(0, status=status)) as front:
        fault = fault_of("https://api.example/", Way(proxy=Proxy(f"http://127.0.0.1:{front.port}")))
    assert str(fault) == f"the proxy at 127.0.0.1:{front.port} does not connect to api.example ({status})"
    assert (fault.acted, fault.final) == (False, final)


def test_the_proxy_of_the_environment_with_its_login(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = ProxyServer(port_of(provider_server), "me:p@ss")
    with listening(proxy) as front:
        monkeypatch.setenv("HTTP_PROXY", f"me:p%40ss@127.0.0.1:{front.port}")
        assert get(f"{INSIDE}/openai/v1/batches").status == 200
        assert get(f"{provider_server.openai_url}/batches", Way()).status == 200
        assert len(proxy.asked) == 1
        monkeypatch.setenv("NO_PROXY", "other.example, 127.0.0.0/8")
        assert get(f"{provider_server.openai_url}/batches").status == 200
        assert len(proxy.asked) == 1
        monkeypatch.setenv("NO_PROXY", "other.example")
        assert get(f"{provider_server.openai_url}/batches").status == 200
        assert len(proxy.asked) == 2


@pytest.mark.thorough
def test_a_proxy_that_is_set_and_not_used_by_the_client(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiohttp by default, httpx with trust_env=False."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port()}")
    with scope(provider_server.openai_url):
        assert submit(provider_server.openai_url, "a", Way()).result(20).status == 200


@pytest.mark.parametrize("follows", [True, False])
def test_files_at_another_host(provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch, follows: bool) -> None:
    """A gateway inside, reached directly, points to a storage outside, which only the company's proxy leads to. A client
    that ignores the proxy has no way there."""

    async def gateway(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        place = f"{INSIDE}/openai/v1/batches".encode()
        writer.write(b"HTTP/1.1 302 Found\r\nlocation: %s\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % place)
        writer.close()

    proxy = ProxyServer(port_of(provider_server))
    with listening(gateway) as home, listening(proxy) as front:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{front.port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1" if follows else "")
        url = f"http://127.0.0.1:{home.port}/v1"

        async def run() -> None:
            sender = Sender()
            try:
                await sender.send(Call(Request("GET", url)), way=Way(), home=url)
            finally:
                await sender.close()

        if follows:
            asyncio.run(run())
        else:
            with pytest.raises(NetworkFault, match=r"llm\.internal\.example does not resolve"):
                asyncio.run(run())
    assert proxy.asked == ([f"GET {INSIDE}/openai/v1/batches HTTP/1.1"] if follows else [])


@pytest.mark.parametrize("address", ["http://proxy:port", "http://"])
def test_a_proxy_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", address)
    fault = fault_of("https://api.example/")
    assert fault.final
    assert "check HTTPS_PROXY" in str(fault)


@pytest.mark.skipif(pools.SOCKS, reason="socksio is installed")
def test_socks_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://me:secret@127.0.0.1:9")
    fault = fault_of("https://api.example/")
    assert (str(fault), fault.final) == ("the proxy at 127.0.0.1:9 speaks SOCKS: pip install socksio", True)


@pytest.mark.skipif(not pools.SOCKS, reason="needs socksio")
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_socks(provider_server: ProviderServer, scheme: str) -> None:
    """The proxy looks the name up."""
    socks = SocksServer(port_of(provider_server), (b"me", b"secret"))
    with listening(socks) as front:
        address = f"{scheme}://127.0.0.1:{front.port}"
        known, unknown, wrong = (Way(proxy=Proxy(address, auth=auth)) for auth in (socks.login, None, (b"me", b"no")))
        with scope(f"{INSIDE}/openai/v1"):
            assert submit(f"{INSIDE}/openai/v1", "a", known).result(20).status == 200
        for way in (unknown, wrong):
            fault = fault_of(INSIDE, way)
            assert fault.final
            assert str(fault) == f"the proxy at 127.0.0.1:{front.port} does not accept the login, or requires one"
    assert set(socks.asked) == {b"llm.internal.example"}


@pytest.mark.skipif(not pools.SOCKS, reason="needs socksio")
def test_a_socks_proxy_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "SOCKS_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        fault = fault_of(INSIDE, Way(proxy=Proxy(f"socks5://127.0.0.1:{port}")))
    assert (str(fault), fault.acted) == (f"the proxy at 127.0.0.1:{port} does not answer", False)


@pytest.mark.thorough
def test_a_unix_socket(provider_server: ProviderServer, tmp_path: Path) -> None:
    path = str(tmp_path / "s")

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await pipe(reader, writer, port_of(provider_server))

    with listening(handle, path=path), scope(f"{INSIDE}/openai/v1"):
        assert submit(f"{INSIDE}/openai/v1", "a", Way(uds=path)).result(20).status == 200
    fault = fault_of(INSIDE, Way(uds=f"{path}-gone"))
    assert str(fault) == "the client's Unix socket cannot be reached (No such file or directory)"


@pytest.mark.thorough
def test_another_process_collects_on_the_environments_way(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch, authority: trustme.CA, tmp_path: Path
) -> None:
    """The way is never written: a record holds nothing of it."""
    with tls(provider_server, server_context(authority)) as url:
        base = f"{url}/openai/v1"
        monkeypatch.setenv("BATCHLING_GATEWAYS", f"{base}=openai")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
        with pytest.raises(KeyError), scope(base, cache=True, batch_poll_interval_seconds=60.0) as heard:
            submit(base, "a", Way(tls=client_context(authority)))
            wait_until(lambda: any(isinstance(each, events.Submitted) for each in heard), "the job is submitted")
            raise KeyError
        (failed,) = asyncio.run(jobs.collect(once=True))
        assert "certificate of 127.0.0.1 is not trusted" in failed.why
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        (collected,) = asyncio.run(jobs.collect(poll_interval=0.02))
    assert collected.what == "collected"


# Pools.


def test_a_pool_for_each_way_and_few_of_them(provider_server: ProviderServer) -> None:
    async def run() -> None:
        sender = Sender()
        call = Call(Request("GET", f"{provider_server.openai_url}/batches", HEADERS))
        ways = [Way(tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)) for _ in range(12)]
        for way in (*ways, ways[-1], Way(tls=ways[-1].tls)):
            assert (await sender.send(call, way=way)).ok
        assert len(sender._pools) == pools.MOST_WAYS
        assert ("", ways[-1]) in sender._pools._lanes
        await asyncio.gather(*(sender.send(call, way=way) for way in ways))  # none of them is closed while it is used
        assert len(sender._pools) == pools.MOST_WAYS
        await sender.close()
        assert len(sender._pools) == 0

    asyncio.run(run())


@pytest.mark.thorough
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_makes_its_own_connections(provider_server: ProviderServer) -> None:
    """Two processes that write on one connection would get each other's answers."""
    opened: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer.get_extra_info("peername")[1])
        await pipe(reader, writer, port_of(provider_server))

    with listening(handle) as front:
        base = f"http://127.0.0.1:{front.port}/openai/v1"
        with scope(base):
            assert submit(base, "a", Way()).result(20).status == 200
            before = len(opened)
            if (child := os.fork()) == 0:
                os._exit(0 if submit(base, "b", Way()).result(20).status == 200 else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert len(opened) > before
            assert submit(base, "c", Way()).result(20).status == 200
    assert len(provider_server.billed(batch=True)) == 3


# Bodies.


def deflated(data: bytes, wbits: int) -> bytes:
    packer = zlib.compressobj(wbits=wbits)
    return packer.compress(data) + packer.flush()


DATA = random.Random(1).randbytes(50_000) + bytes(3_000_000)


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(DATA)),
        ("x-gzip", gzip.compress(DATA[:70_000]) + gzip.compress(DATA[70_000:]) + bytes(7)),
        ("deflate", zlib.compress(DATA)),
        ("deflate", deflated(DATA, -zlib.MAX_WBITS)),
        ("deflate, gzip", gzip.compress(zlib.compress(DATA))),
        ("identity", DATA),
        ("br", DATA),
        ("", DATA),
    ],
    ids=["gzip", "two members", "deflate", "deflate without a frame", "both", "identity", "not asked for", "none"],
)
@pytest.mark.parametrize("cut", [False, True])
def test_compressed_answers(coding: str, packed: bytes, cut: bool) -> None:
    """A download that is cut off where its length is not known is no whole answer."""
    if cut:
        packed = packed[: len(packed) - 100]

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"accept-encoding: gzip, deflate\r\n" in head
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-encoding: %s\r\n\r\n" % coding.encode())
        writer.write(packed)
        await writer.drain()
        writer.close()

    with listening(handle) as front:
        if cut and coding not in ("", "identity", "br"):
            assert "compressed answer that is cut off" in str(fault_of(f"http://127.0.0.1:{front.port}/"))
        else:
            assert get(f"http://127.0.0.1:{front.port}/").body == (packed if cut else DATA)


@pytest.mark.thorough
def test_a_bomb_unfolds_in_pieces() -> None:
    from batchling.engine.decoding import decoder

    pieces = decoder("gzip").feed(gzip.compress(bytes(50_000_000)))
    assert max(map(len, pieces)) <= 262_144


# Nobody watches.


@pytest.mark.thorough
def test_nothing_else_logs_at_info(provider_server: ProviderServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), scope(provider_server.openai_url):
        assert submit(provider_server.openai_url, "a", Way()).result(20).status == 200
    assert {record.name.partition(".")[0] for record in caplog.records} == {"batchling"}


def test_opentelemetry_traces_none_of_our_calls(provider_server: ProviderServer) -> None:
    instrumentation = pytest.importorskip("opentelemetry.instrumentation.httpx")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    instrumentor = instrumentation.HTTPXClientInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        with scope(provider_server.openai_url):
            assert submit(provider_server.openai_url, "a", Way()).result(20).status == 200
        assert spans.get_finished_spans() == ()
        httpx.get(f"{provider_server.openai_url}/batches")
        assert len(spans.get_finished_spans()) == 1
    finally:
        instrumentor.uninstrument()


SENTRY = """
import sentry_sdk, sys, time
from sentry_sdk.integrations.httpx import HttpxIntegration
from sentry_sdk.integrations.socket import SocketIntegration
from sentry_sdk.integrations.stdlib import StdlibIntegration
from sentry_sdk.transport import Transport
sent = []
class Kept(Transport):
    def capture_envelope(self, envelope):
        sent.append(envelope)
sentry_sdk.init(
    dsn="https://a@example.invalid/1",
    transport=Kept,
    traces_sample_rate=1.0,
    default_integrations=False,
    integrations=[HttpxIntegration(), SocketIntegration(), StdlibIntegration()],
)
from batchling import batchify, events
from batchling.core.model import Request
from batchling.core.way import Way
from batchling.system.gate import current
base = sys.argv[1]
with batchify(gateways={base: "openai"}, cache=False, batch_window_seconds=0.05, batch_poll_interval_seconds=0.05, display="off"):
    body = b'{"model": "m", "messages": [{"role": "user", "content": "a"}]}'
    request = Request("POST", base + "/chat/completions", (("authorization", "Bearer sk-1"),), body)
    with sentry_sdk.start_transaction(op="task", name="mine") as mine:
        assert current().submit(request, Way()).result(20).status == 200
sentry_sdk.flush()
events = [item.payload.json for envelope in sent for item in envelope.items if item.type == "transaction"]
assert [event.get("transaction") for event in events] == ["mine"], events
assert events[0]["spans"] == [], events[0]["spans"]
crumbs = events[0].get("breadcrumbs", {}).get("values", [])
assert not [crumb for crumb in crumbs if crumb["type"] == "http"], crumbs
"""


@pytest.mark.slow
def test_sentry_traces_none_of_our_calls(provider_server: ProviderServer) -> None:
    pytest.importorskip("sentry_sdk")
    run(SENTRY, provider_server.openai_url)


IMPORTS = """
import sys, threading
import batchling.engine.sender
watched = []
class Finder:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is not threading.main_thread() and name != "sniffio":
            watched.append(name)
sys.meta_path.insert(0, Finder())
import asyncio
from batchling.core.model import Call, Request
from batchling.core.way import Proxy, Way
from batchling.engine.sender import NetworkFault, Sender
url, trusted, closed = sys.argv[1:]
proxy = Proxy("http://127.0.0.1:" + closed)
async def calls():
    sender = Sender()
    for address, way in [(url, None), (trusted, None), (url, Way(proxy=proxy)), (trusted, Way(proxy=proxy)),
                         ("http://m\\u00fcnchen.invalid/", None), (url, Way(uds="/nowhere")), ("http://127.0.0.1:" + closed, None)]:
        try:
            await sender.send(Call(Request("GET", address)), way=way)
        except NetworkFault:
            pass
    await sender.close()
thread = threading.Thread(target=lambda: asyncio.run(calls()))
thread.start()
thread.join()
assert watched == [], watched
assert not {"httpx", "httpx2"} & set(sys.modules)
"""


@pytest.mark.thorough
def test_no_module_is_imported_where_calls_are_made(provider_server: ProviderServer, authority: trustme.CA) -> None:
    with tls(provider_server, server_context(authority)) as trusted:
        run(IMPORTS, f"{provider_server.openai_url}/batches", trusted, str(closed_port()))


def run(program: str, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr[-3000:]
