"""Processes that know nothing of the scope, and botocore's calls, are noticed; what they do stays theirs."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from batchling import batchify
from batchling.testing import ProviderServer
from batchling.testing.redirection import Redirection

TOLD = "the scope does not apply in it"


@pytest.mark.thorough
@pytest.mark.parametrize(("method", "told"), [("spawn", True), ("forkserver", True), ("fork", False)])
def test_a_process_that_starts_anew_is_told_once(caplog: pytest.LogCaptureFixture, method: str, told: bool) -> None:
    context: Any = multiprocessing.get_context(method)
    with batchify():
        for _ in range(2):
            child = context.Process(target=len, args=("",))
            child.start()
            child.join(60)
    assert child.exitcode == 0
    texts = [record.getMessage() for record in caplog.records if TOLD in record.getMessage()]
    assert len(texts) == told
    assert all(f'"{method}"' in text for text in texts)


def test_a_pool_of_processes_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with batchify(), ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(len, "abc").result(60) == 3
    assert TOLD in caplog.text


def test_a_manager_is_not(caplog: pytest.LogCaptureFixture) -> None:
    with batchify(), multiprocessing.get_context("spawn").Manager() as manager:
        assert manager.list([1])[0] == 1
    assert TOLD not in caplog.text


def test_outside_of_a_scope_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    child = multiprocessing.get_context("spawn").Process(target=len, args=("",))
    with batchify():
        pass
    child.start()
    child.join(60)
    assert TOLD not in caplog.text


@pytest.fixture
def bedrock(provider_server: ProviderServer) -> Iterator[str]:
    """A URL with Bedrock's host name that leads to the embedded server, which knows no Bedrock."""
    host = "bedrock-runtime.us-east-1.amazonaws.com"
    redirection = Redirection("127.0.0.1", 443, [host])
    redirection.install()
    yield provider_server.url.replace("127.0.0.1", host)
    redirection.uninstall()


@pytest.mark.thorough
def test_calls_by_botocore_are_reported_and_go_their_way(
    provider_server: ProviderServer, bedrock: str, capsys: pytest.CaptureFixture[str]
) -> None:
    session = botocore.session.Session()
    session.set_credentials("AKIA", "secret")

    def client(service: str, url: str) -> Any:
        config = Config(retries={"total_max_attempts": 1})
        return session.create_client(service, "us-east-1", endpoint_url=url, verify=False, config=config)

    with batchify():
        with pytest.raises(ClientError):
            client("bedrock-runtime", bedrock).converse(modelId="m", messages=[])
        with pytest.raises(ClientError):
            client("s3", provider_server.url).list_buckets()
    assert [call.path for call in provider_server.calls()] == ["/model/m/converse", "/"]
    report = capsys.readouterr().err
    assert "1 went real time" in report
    assert "bedrock-runtime.us-east-1.amazonaws.com/model/m/converse" in report
    assert "boto3's signed calls cannot be batched" in report
