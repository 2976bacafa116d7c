"""What only requests and urllib3 have: adapters, retries, raw responses, pools."""

from __future__ import annotations

import io
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
import urllib3
from urllib3.util import Retry

from tests.hooks.world import ANSWER, RecordingGate, echo_server

URL = "https://api.example/v1/answer"
PASS = {"stream": 1}


def post(url: str = URL, **arguments: Any) -> requests.Response:
    with requests.Session() as session:
        return session.post(url, json={}, **arguments)


def test_what_an_adapter_adds_is_in_the_request(gate: RecordingGate) -> None:
    class Keyed(requests.adapters.HTTPAdapter):
        def add_headers(self, request: Any, **_: Any) -> None:
            request.headers["authorization"] = "Bearer added"

    with requests.Session() as session:
        session.mount("https://", Keyed())
        assert session.post(URL, json={}).content == ANSWER

    assert dict(gate.requests[0].headers)["authorization"] == "Bearer added"


@pytest.mark.parametrize(
    "read",
    [
        lambda r: b"".join(r.iter_content(None)),
        lambda r: b"".join(r.iter_content(3)),
        lambda r: b"".join(r.raw.stream(None)),
        lambda r: b"".join(r.raw.stream(3)),
        lambda r: r.raw.read(),
        lambda r: io.BufferedReader(r.raw).read(),
        lambda r: b"\n".join(r.iter_lines(chunk_size=None)),
    ],
)
def test_every_way_to_read_a_stream_ends(gate: RecordingGate, read: Callable[[Any], bytes]) -> None:
    with post(stream=True) as response:
        assert read(response) == ANSWER
        assert response.raw.closed
        assert response.raw.read() == b""


def test_the_raw_response_is_as_from_the_network(gate: RecordingGate) -> None:
    with echo_server() as (url, _), requests.Session() as session:
        passed = session.post(f"{url}/v1/answer", json=PASS, stream=True)
        taken = session.post(f"{url}/v1/answer", json={}, stream=True)
        for response in (passed, taken):
            assert type(response.raw) is urllib3.HTTPResponse
            assert parsedate_to_datetime(response.headers["date"]).tzinfo is not None
        for name in ("geturl", "isclosed", "readable", "seekable"):
            assert getattr(passed.raw, name)() == getattr(taken.raw, name)(), name
        for name in ("status", "reason", "version", "closed", "decode_content", "strict", "msg", "retries"):
            kinds = [type(getattr(response.raw, name, None)) for response in (passed, taken)]
            assert kinds[0] is kinds[1], name
        assert taken.raw.retries.history == ()
        passed.close()
        taken.close()


def test_retries_see_our_failures(gate: RecordingGate) -> None:
    with requests.Session() as session:
        retry = Retry(total=2, backoff_factor=0, status_forcelist=[500], allowed_methods=None)
        session.mount("https://", requests.adapters.HTTPAdapter(max_retries=retry))
        gate.status = 500
        with pytest.raises(requests.exceptions.RetryError):
            session.post(URL, json={})
        assert len(gate.requests) == 3

        def recover(url: str) -> bool:
            gate.status = 200 if len(gate.requests) == 4 else 500
            return True

        gate.wants = lambda method, url: method == "POST" and "/v1/answer" in url and recover(url)  # type: ignore[method-assign]
        response = session.post(URL, json={})

    assert (response.status_code, len(response.raw.retries.history)) == (200, 1)


def test_plain_urllib3_is_hooked(gate: RecordingGate) -> None:
    with urllib3.PoolManager() as pool:
        response = pool.request("POST", URL, body=b"{}", headers={"Content-Type": "application/json"})

    assert (response.status, response.data) == (200, ANSWER)
    assert gate.requests[0].url == URL


def test_a_pool_is_as_good_as_before(gate: RecordingGate) -> None:
    """Answered calls put their connection back, and the next real call uses it."""
    with echo_server() as (url, _), requests.Session() as session:
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=1, pool_block=True))
        for body in ({}, PASS, {}, PASS):
            assert session.post(f"{url}/v1/answer", json=body).status_code == 200

    assert len(gate.requests) == 4


def test_many_threads_wait_in_one_pool(gate: RecordingGate) -> None:
    gate.held = []
    with requests.Session() as session:
        threads = [threading.Thread(target=lambda: session.post(URL, json={})) for _ in range(30)]
        for thread in threads:
            thread.start()
        from batchling.core.model import Response

        for future in gate.wait_for_held(30):
            future.set_result(Response(200, (), b"{}"))
        for thread in threads:
            thread.join(10)
    assert not any(thread.is_alive() for thread in threads)


def test_a_tunnel_is_opened_for_calls_that_leave_only(gate: RecordingGate) -> None:
    """Through a proxy that refuses: an answered call never meets it, one that is let pass gets requests' own error."""
    proxy = {"https": "http://127.0.0.1:9"}
    with requests.Session() as session:
        assert session.post(URL, json={}, proxies=proxy).content == ANSWER
        with pytest.raises(requests.exceptions.ProxyError):
            session.post(URL, json=PASS, proxies=proxy)
        with pytest.raises(requests.exceptions.ProxyError):
            session.get("https://api.example/other", proxies=proxy)

    assert gate.ways[0] is not None
    assert gate.ways[0].proxy is not None
    assert gate.ways[0].proxy.url == "http://127.0.0.1:9"


def test_a_plain_call_by_way_of_a_proxy_has_its_true_address(gate: RecordingGate) -> None:
    proxies = {"http": "http://user:secret@proxy.example:3128"}
    with requests.Session() as session:
        session.post("http://llm.internal/v1/answer", json={}, proxies=proxies)

    assert gate.requests[0].url == "http://llm.internal/v1/answer"
    (way,) = gate.ways
    assert way is not None
    assert way.proxy is not None
    assert (way.proxy.url, dict(way.proxy.headers)) == (
        "http://proxy.example:3128",
        {b"proxy-authorization": b"Basic dXNlcjpzZWNyZXQ="},
    )


def test_sessions_that_begin_at_once_share_one_context(
    gate: RecordingGate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the authorities takes longer than a call, and our sender has connections for each context."""
    made: list[None] = []
    create, second = ssl.create_default_context, threading.Event()

    def slow(*args: Any, **kwargs: Any) -> ssl.SSLContext:
        made.append(None)
        if len(made) > 1:
            second.set()
        second.wait(0.2)  # as long as another thread takes to get here
        return create(*args, **kwargs)

    monkeypatch.setattr("batchling.hooks.urllib3.ssl.create_default_context", slow)
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(trustme.CA().cert_pem.bytes())
    here = threading.Barrier(4)

    def program(_: int) -> None:
        here.wait(20)
        post(verify=str(bundle))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(program, range(4)))
    assert len(gate.requests) == 4
    assert len(made) == 1
    assert len({way.tls for way in gate.ways if way is not None}) == 1


def test_trust_and_certificates_go_along(gate: RecordingGate, tmp_path: Path) -> None:
    authority = trustme.CA()
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(authority.cert_pem.bytes())
    with requests.Session() as session:
        session.post(URL, json={}, verify=str(bundle))
        session.post(URL, json={}, verify=str(bundle))
        session.post(URL, json={}, verify=False)
        with pytest.raises(OSError, match="invalid path"):
            session.post(URL, json={}, verify=str(tmp_path / "missing.pem"))

    trusting, same, blind = [way.tls for way in gate.ways if way is not None]
    assert trusting is not None
    assert blind is not None
    assert trusting is same
    assert [name["subject"] for name in trusting.get_ca_certs()] == [
        certificate["subject"] for certificate in _read(bundle).get_ca_certs()
    ]
    assert (trusting.verify_mode, blind.verify_mode) == (ssl.CERT_REQUIRED, ssl.CERT_NONE)


def _read(bundle: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(bundle)
    return context


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"assert_fingerprint": "aa" * 20}, "a certificate pinned by its fingerprint"),
        ({"assert_hostname": "other.example"}, "a custom server name (SNI)"),
    ],
)
def test_ways_that_only_the_program_can_go(gate: RecordingGate, settings: dict[str, Any], reason: str) -> None:
    with urllib3.HTTPSConnectionPool("127.0.0.1", 9, retries=False, **settings) as pool:
        with pytest.raises(urllib3.exceptions.HTTPError):
            pool.request("POST", "/v1/answer", body=b"{}")

    assert gate.bypassed == [("answer", reason)]


def test_connections_of_the_programs_own_go_real_time(gate: RecordingGate) -> None:
    class Mine(urllib3.HTTPConnectionPool):
        pass

    with Mine("127.0.0.1", 9, retries=False) as pool, pytest.raises(urllib3.exceptions.HTTPError):
        pool.request("POST", "/v1/answer", body=b"{}")

    assert gate.bypassed == [("answer", "the program's own connections")]


def test_a_call_that_its_scope_lets_go_of_is_sent(gate: RecordingGate) -> None:
    gate.lets_go = True
    with echo_server() as (url, _):
        assert post(f"{url}/v1/answer").json()["path"] == "/v1/answer"
    assert len(gate.requests) == 1
