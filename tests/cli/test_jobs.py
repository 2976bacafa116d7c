"""The commands about jobs, in processes of their own, on what real runs left."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from batchling.cache.files import FileStore
from batchling.core.cost import Cost
from batchling.core.lifecycle import Phase, Record
from batchling.core.model import Job, Target
from batchling.testing import ProviderServer
from tests.cache.ids import B0, B1, B2, B9
from tests.cli.commands import KEY, gateways, leave, records, run, running, start
from tests.engine.calls import ask, ask_all, scope
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def named_gateways(provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHLING_GATEWAYS", gateways(provider_server))


@pytest.mark.thorough
def test_a_killed_run_is_collected_and_then_answered_from_the_cache(provider_server: ProviderServer) -> None:
    left = leave(provider_server)
    assert left.phase is Phase.RUNNING

    once = run("collect", "--once", OPENAI_API_KEY=KEY)
    assert (once.returncode, once.stderr) == (3, "")
    assert "1 still running" in once.stdout

    provider_server.release()
    done = run("collect", OPENAI_API_KEY=KEY)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"batch {left.id} (openai gpt-5-mini): collected, 3 of 3 answered" in done.stdout
    assert run("collect").stdout == "batchling: nothing was left to collect\n"

    calls = len(provider_server.calls())
    program = start(provider_server, ["a", "b", "c"])
    said, errors = program.communicate(timeout=40)
    assert said == "[200, 200, 200]\n", errors
    assert "3 from cache" in errors
    assert len(provider_server.calls()) == calls
    assert len(provider_server.creates()) == 1


@pytest.mark.thorough
def test_once_says_what_is_in_the_way(provider_server: ProviderServer) -> None:
    left = leave(provider_server)
    provider_server.drop_call("GET", "/batches/", times=1_000)
    done = run("collect", "--once", OPENAI_API_KEY=KEY)

    assert done.returncode == 1
    assert "cannot poll" in done.stdout
    assert records()[0].phase is Phase.RUNNING
    assert left.id in done.stdout


@pytest.mark.thorough
def test_a_credential_is_used_for_its_own_account_alone(provider_server: ProviderServer) -> None:
    leave(provider_server)
    calls = len(provider_server.calls())
    missing, foreign = run("collect", "--once"), run("collect", "--once", OPENAI_API_KEY="sk-other-9999")

    assert (missing.returncode, foreign.returncode) == (1, 1)
    assert "set OPENAI_API_KEY" in missing.stdout
    assert "another account or organisation" in foreign.stdout
    assert len(provider_server.calls()) == calls
    assert "9999" not in foreign.stdout + foreign.stderr
    # The right key is found under whatever name.
    assert run("collect", "--once", OPENAI_API_KEY="sk-other-9999", MY_TEAMS_KEY=KEY).returncode == 3


@pytest.mark.thorough
def test_what_a_living_program_waits_for_is_left_to_it(provider_server: ProviderServer) -> None:
    with running(provider_server) as process:
        assert "left" not in run("jobs").stdout
        done = run("collect", OPENAI_API_KEY=KEY)
        assert (done.returncode, done.stdout.count("left to the program that waits for it")) == (0, 1)
        stopped = run("cancel", "--all", "--yes", OPENAI_API_KEY=KEY)
        assert (stopped.returncode, provider_server.calls("POST", "/cancel")) == (1, [])
        provider_server.release()
        assert process.communicate(timeout=30)[0] == "[200, 200, 200]\n"


@pytest.mark.thorough
def test_a_cancel_is_confirmed_by_the_provider(provider_server: ProviderServer) -> None:
    left = leave(provider_server)
    for words in (["cancel"], ["cancel", left.id, "--all"], ["cancel", "nobody"], ["cancel", left.id]):
        assert run(*words, OPENAI_API_KEY=KEY).returncode == 2
    assert provider_server.calls("POST", "/cancel") == []

    done = run("cancel", left.id[:10], "--yes", OPENAI_API_KEY=KEY)

    assert done.returncode == 0, done.stderr
    assert "cancelled and over, 0 of 3 answered" in done.stdout
    assert "cancelling: 1 of 1 job over" in done.stderr
    assert len(provider_server.calls("POST", "/cancel")) == provider_server.over() == 1
    assert records()[0].phase is Phase.ENDED
    assert run("cancel", "--all", "--yes").stdout == "batchling: nothing is under way\n"


def test_jobs_and_show(provider_server: ProviderServer) -> None:
    assert run("jobs").stdout == "No batches yet.\n"
    left = leave(provider_server)
    calls = len(provider_server.calls())
    listed = run("jobs", COLUMNS="80", OPENAI_API_KEY=KEY)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert f"{left.id[:10]}  left   openai    gpt-5-mini" in listed.stdout
    assert "1 batch is left over from programs that ended: run batchling collect" in listed.stdout
    assert max(map(len, listed.stdout.splitlines())) <= 80

    (facts,) = json.loads(run("jobs", "--json").stdout)
    assert left.job is not None
    assert (facts["id"], facts["state"], facts["requests"], facts["done"]) == (left.id, "left", 3, 0)
    assert (facts["job"], facts["cost"], facts["driven"]) == (left.job.id, None, False)
    shown = run("show", left.id[:10], OPENAI_API_KEY=KEY)
    assert run("show", left.job.id).stdout == shown.stdout
    told = dict(map(str.strip, line.split("  ", 1)) for line in shown.stdout.splitlines())
    assert told["job"] == left.job.id
    assert told["next"] == "run batchling collect, or the same program again"
    assert KEY not in listed.stdout + shown.stdout
    # Nothing of this has asked the provider.
    assert len(provider_server.calls()) == calls

    assert run("show", "zz").stderr == "batchling: no batch 'zz'; batchling jobs lists them\n"
    assert run("show").returncode == 2


@pytest.mark.thorough
def test_refresh_asks_the_provider_and_moves_nothing(provider_server: ProviderServer) -> None:
    leave(provider_server)
    for note in Path(os.environ["BATCHLING_CACHE_DIR"]).glob("notes/*.note"):
        note.unlink()
    assert "?/3" in run("jobs").stdout
    provider_server.release()
    assert "?/3" not in run("jobs", "--refresh", OPENAI_API_KEY=KEY).stdout
    assert records()[0].phase is Phase.RUNNING
    refused = run("jobs", "--refresh")
    assert (refused.returncode, "set OPENAI_API_KEY" in refused.stderr) == (1, True)


@pytest.mark.thorough
def test_watch_follows_what_other_processes_do(provider_server: ProviderServer) -> None:
    with running(provider_server) as process:
        watching = subprocess.Popen(
            [sys.executable, "-m", "batchling", "watch"], stdout=subprocess.PIPE, text=True, env=os.environ
        )
        assert watching.stdout is not None
        first = watching.stdout.readline()
        assert "openai gpt-5-mini: running, 0/3" in first
        provider_server.release()
        rest, _ = watching.communicate(timeout=30)
        process.communicate(timeout=30)
    assert "openai gpt-5-mini: ended, 3/3\nNo program is waiting for a batch.\n" in rest
    assert watching.returncode == 0


@pytest.mark.thorough
def test_watch_ends_with_ctrl_c_and_names_what_is_left(provider_server: ProviderServer) -> None:
    leave(provider_server)
    assert "1 batch is left over from programs that ended" in run("watch").stdout
    with running(provider_server, ["other"]):
        watching = subprocess.Popen(
            [sys.executable, "-m", "batchling", "watch"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert watching.stdout is not None
        watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        _, errors = watching.communicate(timeout=30)
    assert (watching.returncode, errors) == (130, "")


@pytest.mark.thorough
def test_costs_are_shown_as_far_as_they_are_known(batchling_cache: Path) -> None:
    store = FileStore(str(batchling_cache))
    target = Target("openai", "https://api.openai.com/v1", "/v1/chat/completions", "gpt-5-mini", "a" * 32)
    for number, cost in enumerate((Cost(2, paid=1.5, full=3.0), Cost(2, paid=None, full=None), None)):
        name = (B0, B1, B2)[number]
        store.save(Record(name, target, ("k1", "k2"), time.time() - number, Phase.ENDED, None, Job("j"), cost=cost))
    dead = Record(B9, target, ("k",), time.time() - 99, Phase.DEAD, reason="not submitted: HTTP 400")
    store.save(dead)

    lines = run("jobs", COLUMNS="80").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:5]] == [each[:10] for each in (B0, B1, B2, B9)]
    assert [line.split()[-1] for line in lines[1:3]] == ["$1.50", "unknown"]
    assert "\nreason" in (said := run("show", B9).stdout)
    assert "not submitted: HTTP 400" in said
    assert "is of 4 batches" not in said
    several = run("show", "b")
    assert (several.returncode, several.stderr.startswith("batchling: the ids of 4 batches begin with 'b'")) == (
        2,
        True,
    )


@pytest.mark.thorough
def test_prune_removes_what_is_over_and_old(provider_server: ProviderServer, batchling_cache: Path) -> None:
    left = leave(provider_server)
    provider_server.release()
    with scope(provider_server):
        ask_all(provider_server, ["old", "older"])
        ask(provider_server, "new")
    old = time.time() - 40 * 86_400
    ended = [record for record in records() if record.phase is Phase.ENDED]
    gone = next(record for record in ended if len(record.members) == 2)
    store = FileStore(str(batchling_cache))
    for record in (gone, left):
        store.save(replace(record, created_at=old))
    (batchling_cache / "batches" / f"{B9}.json.damaged").write_text("{")
    (batchling_cache / "results" / f"{gone.id}.jsonl.0123abcd.tmp").write_text("{")
    for path in batchling_cache.rglob("*"):
        if path.name.startswith((gone.id, left.id, B9)):
            os.utime(path, (old, old))

    for wrong in (["cache", "prune"], ["cache", "prune", "--older-than", "soon"], ["cache", "x"]):
        assert run(*wrong).returncode == 2
    told = run("cache").stdout
    assert str(batchling_cache) in told
    assert "1 running, 2 ended" in told
    removed = run("cache", "prune", "--older-than", "30d")

    assert removed.returncode == 0, removed.stderr
    assert "removed 1 record, 1 result file, 1 damaged file, 1 leftover" in removed.stdout
    assert {record.id for record in records()} == {record.id for record in ended} - {gone.id} | {left.id}
    assert not list(batchling_cache.rglob(f"{gone.id}*"))
    assert run("cache", "prune", "--older-than=30d").stdout.startswith("batchling: removed 0 records, 0 result files")


@pytest.mark.thorough
def test_prune_does_no_harm_to_an_open_scope(provider_server: ProviderServer, batchling_cache: Path) -> None:
    with scope(provider_server):
        assert ask(provider_server, "a").status_code == 200
        (first,) = records()
        removed = run("cache", "prune", "--older-than", "0m")
        assert "removed 1 record, 1 result file" in removed.stdout
        provider_server.hold()
        asked = threading.Thread(target=lambda: ask(provider_server, "b"))
        asked.start()
        wait_until(lambda: any(record.phase is Phase.RUNNING for record in records()), "a batch is running")
        assert "removed 0 records, 0 result files" in run("cache", "prune", "--older-than", "0m").stdout
        provider_server.release()
        asked.join()
    # What was removed is asked anew; what ran is answered from the cache.
    with scope(provider_server):
        assert ask(provider_server, "a").status_code == ask(provider_server, "b").status_code == 200
    assert len(provider_server.billed()) == 3
    assert first.id not in {record.id for record in records()}


@pytest.mark.thorough
def test_the_doctor_names_variables_and_no_secret(batchling_cache: Path, provider_server: ProviderServer) -> None:
    secret = "sk-very-secret-0987654321"
    environment = {
        "OPENAI_API_KEY": secret,
        "ANTHROPIC_API_KEY": secret,
        "BATCHLING_GATEWAYS": "http://localhost:4000=openai",
    }
    said = run("doctor", **environment)
    assert (said.returncode, said.stderr) == (0, "")
    for part in ("httpx 0.", "OPENAI_API_KEY (openai)", "http://localhost:4000 as openai", str(batchling_cache)):
        assert part in said.stdout
    openai = run("doctor", f"https://user:{secret}@api.openai.com/v1/chat/completions?key={secret}", **environment)
    known = run("doctor", "https://api.openai.com/v1/chat/completions", **environment)
    gateway = run("doctor", "http://localhost:4000/v1/chat/completions", **environment)
    assert "are batched by OpenAI\n" in known.stdout
    assert "are batched by OpenAI, as a gateway" in gateway.stdout
    assert "no batch form" in run("doctor", "https://api.openai.com/v1/audio/speech").stdout
    assert "pass untouched" in run("doctor", "https://example.com/v1/chat/completions").stdout
    vertex = "https://aiplatform.googleapis.com/v1/projects/p/locations/l/publishers/google/models/m:generateContent"
    assert "BATCHLING_GCS_PREFIX" in run("doctor", vertex).stdout
    assert run("doctor", "nonsense").returncode == 2
    for done in (said, openai, known, gateway):
        assert secret not in done.stdout + done.stderr
        assert max(map(len, done.stdout.splitlines())) <= 80 + len(str(batchling_cache))


@pytest.mark.thorough
def test_the_doctor_says_when_the_cache_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = run("doctor", BATCHLING_CACHE_DIR=str(tmp_path / "file"))
    assert (said.returncode, "cache folder" in said.stdout) == (1, True)


def on_a_terminal(words: Sequence[str], answer: bytes = b"", **environment: str) -> tuple[int, str]:
    """A command whose standard streams are a terminal: its exit status, and all that it showed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "batchling", *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", **environment},
    )
    os.close(theirs)
    os.write(ours, answer)
    shown = b""
    with contextlib.suppress(OSError):  # how a terminal says that nobody writes any more
        while piece := os.read(ours, 4096):
            shown += piece
    os.close(ours)
    return process.wait(30), shown.decode()


@pytest.mark.thorough
def test_a_cancel_asks_first(provider_server: ProviderServer) -> None:
    leave(provider_server)
    status, shown = on_a_terminal(["cancel", "--all"], b"n\n", OPENAI_API_KEY=KEY)
    assert (status, "Cancel 1 job with 3 requests? [y/N]" in shown) == (1, True)
    assert provider_server.calls("POST", "/cancel") == []
    status, shown = on_a_terminal(["cancel", "--all"], b"y\n", OPENAI_API_KEY=KEY)
    assert (status, "1 cancelled and over" in shown) == (0, True)


@pytest.mark.thorough
def test_watch_on_a_terminal_is_a_table_that_changes(provider_server: ProviderServer) -> None:
    with running(provider_server) as process:
        seen = len(provider_server.calls("GET", "/batches/"))
        release = threading.Thread(
            target=lambda: (
                wait_until(
                    lambda: len(provider_server.calls("GET", "/batches/")) > seen + 100,
                    "the job is polled a hundred times more",
                ),
                provider_server.release(),
            )
        )
        release.start()
        status, shown = on_a_terminal(["watch"])
        release.join()
        process.communicate(timeout=30)
    assert status == 0
    assert "gpt-5-mini" in shown
    assert shown.index("running") < shown.index("ended") < shown.index("No program is waiting for a batch.")


@pytest.mark.thorough
def test_what_never_left_is_freed_and_missing_results_are_downloaded(
    provider_server: ProviderServer, batchling_cache: Path
) -> None:
    with scope(provider_server):
        assert ask(provider_server, "a", key=KEY).status_code == 200
    (ended,) = records()
    (batchling_cache / "results" / f"{ended.id}.jsonl").unlink()
    planned = Record(B1, ended.target, ("k",), time.time())
    FileStore(str(batchling_cache)).save(planned)
    done = run("collect", OPENAI_API_KEY=KEY)

    assert done.returncode == 0, done.stderr
    assert f"batch {B1} (openai m): dead (never submitted" in done.stdout
    assert f"batch {ended.id} (openai m): collected, 1 of 1 answered" in done.stdout
    assert (batchling_cache / "results" / f"{ended.id}.jsonl").is_file()
    assert FileStore(str(batchling_cache)).load(B1).phase is Phase.DEAD
    assert len(provider_server.creates()) == 1
