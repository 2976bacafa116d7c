"""What a second run and a second process find: every request is billed once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batchling import OptionError, batchify
from batchling.cache.files import FileStore
from batchling.core.lifecycle import Phase
from batchling.testing import ProviderServer
from tests.engine.calls import ask, ask_all, ask_claude, said, scope, together
from tests.engine.programs import start_program
from tests.waiting import wait_until


@pytest.mark.thorough
def test_a_second_run_makes_no_call_at_all(provider_server: ProviderServer, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [f"{n % 7}" for n in range(20)]
    with scope(provider_server):
        first = [r.json() for r in ask_all(provider_server, texts)]
    calls = len(provider_server.calls())
    capsys.readouterr()
    with scope(provider_server):
        second = [r.json() for r in ask_all(provider_server, texts)]

    assert second == first
    assert len(provider_server.calls()) == calls
    assert "0 calls batched, 20 from cache, 0 went real time" in capsys.readouterr().err


@pytest.mark.thorough
def test_ten_samples_are_the_same_ten_again(provider_server: ProviderServer) -> None:
    # Each row is answered with its own key, as a provider that samples would answer each differently.
    provider_server.vary()
    with scope(provider_server):
        first = [said(r) for r in ask_all(provider_server, ["same"] * 10)]
    with scope(provider_server):
        second = [said(r) for r in ask_all(provider_server, ["same"] * 10)]

    assert len(set(first)) == 10
    assert second == first
    assert len(provider_server.billed()) == 10


@pytest.mark.thorough
def test_more_samples_buy_only_the_new_ones(provider_server: ProviderServer) -> None:
    with scope(provider_server, **together(3)):
        ask_all(provider_server, ["same"] * 3)
    with scope(provider_server, **together(2)):
        ask_all(provider_server, ["same"] * 5)

    assert len(provider_server.billed()) == 5
    assert sorted(provider_server.jobs().values()) == [2, 3]


@pytest.mark.thorough
def test_without_a_cache_nothing_touches_the_disk(provider_server: ProviderServer, batchling_cache: Path) -> None:
    for _ in range(2):
        with scope(provider_server, cache=False):
            ask_all(provider_server, ["a", "b"])

    assert len(provider_server.billed()) == 4
    assert not batchling_cache.exists()


@pytest.mark.thorough
def test_failures_are_not_kept(provider_server: ProviderServer) -> None:
    error = {"error": {"message": "no", "type": "invalid_request_error", "param": None, "code": None}}
    provider_server.fail_rows(lambda body: "bad" in str(body), 400, error, times=1)
    with scope(provider_server):
        assert [r.status_code for r in ask_all(provider_server, ["good", "bad"])] == [200, 400]
    with scope(provider_server):
        assert [r.status_code for r in ask_all(provider_server, ["good", "bad"])] == [200, 200]

    assert len(provider_server.billed()) == 2


@pytest.mark.thorough
def test_a_run_attaches_to_what_a_detached_run_left(provider_server: ProviderServer) -> None:
    provider_server.hold()
    with pytest.raises(LookupError), scope(provider_server, batch_window_seconds=0.05):
        try:
            _leave_while_running(provider_server)
        finally:
            provider_server.release()

    with scope(provider_server):
        assert ask(provider_server, "left").status_code == 200
        assert ask_claude(provider_server, "left").status_code == 200
    assert len(provider_server.billed()) == len(provider_server.creates()) == 2


def _leave_while_running(server: ProviderServer) -> None:
    import threading

    for call in (ask, ask_claude):
        # Daemons: they end with `Detached` when the scope is left.
        threading.Thread(target=_quietly, args=(call, server), daemon=True).start()
    wait_until(lambda: len(server.creates()) >= 2, "both jobs are created")
    raise LookupError


def _quietly(call: object, server: ProviderServer) -> None:
    from batchling import Detached

    with pytest.raises(Detached):
        call(server, "left")  # type: ignore[operator]


@pytest.mark.thorough
def test_a_record_is_on_disk_before_the_create_call(provider_server: ProviderServer, batchling_cache: Path) -> None:
    """A create call that is answered with 400 shows what had been written when it left."""
    provider_server.fail_call("POST", "/batches", 400, b'{"error": {"message": "no"}}')
    with scope(provider_server):
        assert ask(provider_server, "x").status_code == 400

    (path,) = (batchling_cache / "batches").glob("*.json")
    record = FileStore(str(batchling_cache)).load(path.stem)
    assert record is not None
    assert record.phase is Phase.DEAD
    assert record.holds == ()


PROGRAM = """
import asyncio, json, os, sys
sys.path.insert(0, os.getcwd())
from tests.engine.calls import gather
from batchling import batchify
from types import SimpleNamespace
server = SimpleNamespace(openai_url=sys.argv[1] + "/openai/v1")
print("ready", flush=True)
sys.stdin.readline()
with batchify(gateways={sys.argv[1]: "openai"}, batch_window_seconds=0.3, batch_poll_interval_seconds=0.05):
    answers = asyncio.run(gather(server, [str(n) for n in range(50)]))
print(json.dumps([a.json()["choices"][0]["message"]["content"] for a in answers]))
"""


def test_processes_that_run_the_same_program_at_once_pay_once(
    provider_server: ProviderServer, batchling_cache: Path
) -> None:
    processes = [start_program(provider_server, batchling_cache, PROGRAM) for _ in range(3)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=40) for process in processes]

    answers = [json.loads(out) for out, _ in outputs]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert answers[0] == answers[1] == answers[2]
    assert len(answers[0]) == 50
    assert len(provider_server.billed()) == 50


def test_an_unusable_cache_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from batchling import CacheError

    file = tmp_path / "file"
    file.write_text("not a folder")
    monkeypatch.setenv("BATCHLING_CACHE_DIR", str(file))
    with pytest.raises(CacheError, match="BATCHLING_CACHE_DIR"):
        batchify()
    assert not isinstance(CacheError("a", "b"), OptionError)
