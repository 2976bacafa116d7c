"""What a batch leaves at its provider: its input file is deleted when nobody needs it, and never does that harm."""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from batchling import Detached, batchify, events, jobs
from batchling.core.model import Job, Site, Target
from batchling.providers import PROVIDERS
from batchling.providers.azure import AZURE, Azure
from batchling.providers.files import FileDialect
from batchling.providers.openai import OPENAI
from batchling.testing import ProviderServer
from tests.engine.calls import QUICK, ask_all, scope, together
from tests.faults.refused_writes import Refusal
from tests.patience import be_patient
from tests.providers.flows import answer, play
from tests.providers.provider_cases import BY_NAME
from tests.waiting import wait_for_poll

DELETING = {"openai", "azure", "groq", "deepinfra", "dashscope", "kimi", "perplexity"}


@pytest.fixture
def server(provider_server_at_real_hosts: ProviderServer) -> ProviderServer:
    return provider_server_at_real_hosts


def asked(text: str, name: str = "openai") -> int:
    """The status of a call at a provider's own host."""
    provider_case, provider = BY_NAME[name], PROVIDERS[name]
    root = provider.roots[0].replace("*", "r")
    url = root + provider.endpoints[0] if name != "azure" else root + "/chat/completions"
    path = next(path for path in provider_case.paths if path.endswith(url[len(root) :]))
    with httpx.Client(timeout=20) as client:
        return client.post(url, json=provider_case.paths[path](text), headers=provider_case.headers("sk-1")).status_code


def opened(**options: object) -> AbstractContextManager[None]:
    providers = [Azure(deployments={"m": "m-batch"})]
    return batchify(**{**QUICK, "providers": providers, **options})  # type: ignore[arg-type]


def deletes(server: ProviderServer) -> list[tuple[str, int]]:
    return [(call.path.rpartition("/")[2], call.status) for call in server.calls("DELETE")]


def inputs(server: ProviderServer) -> list[str]:
    """The ids of the files that are still there and were uploaded."""
    with httpx.Client(headers={"authorization": "Bearer sk-1"}) as client:
        files = client.get("https://api.openai.com/v1/files").json()["data"]
    return [file["id"] for file in files if file["purpose"] == "batch"]


@pytest.mark.thorough
@pytest.mark.parametrize("name", [name for name, each in PROVIDERS.items() if isinstance(each, FileDialect)])
def test_an_input_file_is_deleted_where_the_provider_lets_us(server: ProviderServer, name: str) -> None:
    if name not in BY_NAME or PROVIDERS[name].limits.least > 1:
        pytest.skip("not by one plain call")
    for _ in range(2):
        with opened():
            assert asked("a", name) == 200
        calls = len(server.calls())
        assert [status for _, status in deletes(server)] == ([200] if name in DELETING else [])
    with opened():
        assert asked("a", name) == 200
    assert len(server.calls()) == calls
    assert len(server.billed()) == len(server.creates()) == 1


@pytest.mark.thorough
def test_result_files_stay(server: ProviderServer) -> None:
    with opened():
        asked("a")
    (deleted,) = deletes(server)
    (read,) = [call.path for call in server.calls("GET", "/content")]
    with httpx.Client(headers={"authorization": "Bearer sk-1"}) as client:
        files = client.get("https://api.openai.com/v1/files").json()["data"]
    assert [file["purpose"] for file in files] == ["batch_output"]
    assert deleted[0] not in read


@pytest.mark.thorough
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda server: server.fail_call("DELETE", "/files/", 500), id="500"),
        pytest.param(lambda server: server.fail_call("DELETE", "/files/", 403), id="403"),
        pytest.param(lambda server: server.fail_call("DELETE", "/files/", 429, headers={"retry-after": "9"}), id="429"),
        pytest.param(lambda server: server.fail_call("DELETE", "/files/", 200, b"<html>"), id="a page"),
        pytest.param(lambda server: server.drop_call("DELETE", "/files/"), id="dropped"),
        pytest.param(lambda server: server.cut_reply("DELETE", "/files/"), id="cut"),
        pytest.param(lambda server: server.stall_call("DELETE", "/files/"), id="hangs"),
    ],
)
def test_a_delete_that_fails_changes_nothing(
    server: ProviderServer,
    spoil: Callable[[ProviderServer], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    be_patient(monkeypatch, tidying=0.5)
    spoil(server)
    heard: list[events.Event] = []
    for _ in range(2):
        with opened(on_event=heard.append):
            assert asked("a") == 200

    assert len(deletes(server)) == len(server.creates()) == len(server.billed()) == 1
    assert not [event for event in heard if isinstance(event, events.Delayed | events.Died)]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.thorough
def test_nobody_waits_for_a_delete_that_hangs(server: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    be_patient(monkeypatch, tidying=600.0)
    server.stall_call("DELETE", "/files/", times=2)
    with pytest.raises(LookupError), opened(cache=False):
        assert [asked("a"), asked("b")] == [200, 200]
        raise LookupError
    assert len(server.billed()) == 2


@pytest.mark.thorough
def test_without_a_cache_it_is_deleted_once_the_callers_have_their_answers(server: ProviderServer) -> None:
    heard: list[events.Event] = []
    seen: list[int] = []

    def listen(event: events.Event) -> None:
        heard.append(event)
        seen.append(len(deletes(server)))

    with opened(cache=False, on_event=listen):
        assert asked("a") == 200
    assert [type(event) for event in heard[-2:]] == [events.Ended, events.Answered]
    assert seen[: len(heard) - 2] == [0] * (len(heard) - 2)
    assert len(deletes(server)) == 1


@pytest.mark.thorough
def test_it_stays_where_others_ask_the_provider(server: ProviderServer) -> None:
    """Whoever comes to such a batch later has the disk's record alone, and downloads its results."""
    for _ in range(2):
        with opened(cache="no-results"):
            assert asked("a") == 200
    assert deletes(server) == []
    assert len(server.billed()) == 1


@pytest.mark.thorough
def test_it_stays_when_the_disk_did_not_take_the_answers(
    server: ProviderServer, batchling_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened():
        asked("before")
    assert len(deletes(server)) == 1
    with Refusal(monkeypatch, batchling_cache / "results", errno.ENOSPC), opened():
        assert asked("a") == 200
    assert len(deletes(server)) == 1
    assert len(inputs(server)) == 1


@pytest.mark.thorough
def test_it_stays_when_the_results_cannot_be_read(server: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    be_patient(monkeypatch, results=0.2)
    be_patient(monkeypatch, rows=0.1)
    server.change_reply("GET", "/content", lambda body: b"<html>", times=float("inf"))
    with opened():
        assert asked("a") == 424
    assert deletes(server) == []

    server.recover()
    with opened():
        assert asked("a") == 200
    assert len(deletes(server)) == len(server.creates()) == 1


def test_it_stays_at_gateways(provider_server: ProviderServer) -> None:
    with scope(provider_server, **together(2)):
        assert [each.status_code for each in ask_all(provider_server, ["a", "b"])] == [200, 200]
    assert provider_server.calls("DELETE") == []


@pytest.mark.thorough
def test_who_collects_deletes(server: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    server.hold()
    with pytest.raises(LookupError), opened(batch_window_seconds=0.02):
        threading.Thread(target=_quietly, daemon=True).start()
        wait_for_poll(server)
        raise LookupError
    assert [each.what for each in asyncio.run(jobs.collect(once=True))] == ["running"]
    assert deletes(server) == []

    server.release()
    assert [each.what for each in asyncio.run(jobs.collect(poll_interval=0.02))] == ["collected"]
    assert len(deletes(server)) == 1
    calls = len(server.calls())
    with opened():
        assert asked("left") == 200
    assert len(server.calls()) == calls


def _quietly() -> None:
    with pytest.raises(Detached):
        asked("left")


def test_what_is_asked_of_the_provider() -> None:
    job = Job("j", {"input_file_id": "file/1"})
    legacy = Target("azure", "https://r/openai", "/v1/responses", "m", "a", (("api-version", "2024-10-21"),))
    (call,) = play(AZURE.tidy(Site(legacy), job), answer({"deleted": True}))[0]
    assert (call.request.method, call.request.body) == ("DELETE", b"")
    assert call.request.url == "https://r/openai/files/file%2F1?api-version=2024-10-21"

    at = Site(Target("openai", "https://r/v1", "/v1/responses", "m", "a"))
    assert play(OPENAI.tidy(at, Job("j", {"input_file_id": ""})))[0] == []
    assert play(OPENAI.tidy(at, Job("j")))[0] == []
    assert play(OPENAI.tidy(Site(at.target, official=False), job))[0] == []
    assert {name for name, each in PROVIDERS.items() if getattr(each, "deletes", False)} == DELETING
