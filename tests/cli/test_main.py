"""The command line in processes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from batchling import __version__
from batchling.testing import ProviderServer
from tests.waiting import wait_for_poll

SCRIPT = """
import sys
import beside
async def double(x: float): return x * 2
def nothing(): return None
def name(): return __name__, sys.argv
def boom(): beside.boom()
def leave(): sys.exit(7)
def ask(url, text):
    import httpx
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    return httpx.post(url + "/chat/completions", json=body, headers={"authorization": "Bearer k"}).status_code
number = 3
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "my_script.py"
    path.write_text(SCRIPT)
    (tmp_path / "beside.py").write_text("def boom(): raise LookupError('no')\n")
    (tmp_path / "broken.py").write_text("import beside\nbeside.boom()\n")
    return path


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "batchling", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=40, env={**os.environ, **environment})


@pytest.mark.thorough
def test_results_are_printed(script: Path) -> None:
    done = run(f"{script}:double", "1.5")
    assert (done.returncode, done.stdout) == (0, "3.0\n")
    assert done.stderr.startswith("batchling: no call was intercepted in this scope.")
    assert done.stderr.count("\n") == 1
    done = run(f"{script}:nothing")
    assert (done.returncode, done.stdout) == (0, "")
    done = run(f"{script}:name")
    assert done.stdout == f"('batchling.runtime', [{str(script)!r}])\n"


def test_calls_are_batched(script: Path, provider_server: ProviderServer) -> None:
    gateways = ",".join(f"{base}={name}" for base, name in provider_server.gateways.items())
    options = ["--batch-window-seconds", "0.1", "--batch-poll-interval-seconds=0.05"]
    done = run(f"{script}:ask", provider_server.openai_url, *options, "hi", BATCHLING_GATEWAYS=gateways)

    assert (done.returncode, done.stdout) == (0, "200\n"), done.stderr
    assert "1 call batched in 1 batch" in done.stderr
    assert len(provider_server.billed(batch=True)) == 1

    done = run(f"{script}:ask", provider_server.openai_url, "other", "--dry-run", BATCHLING_GATEWAYS=gateways)
    assert "nothing was sent" in done.stderr
    assert len(provider_server.billed()) == 1


@pytest.mark.thorough
def test_wrong_usage_is_one_line_and_2(script: Path) -> None:
    for words, part in (
        ([f"{script}:nobody"], "has no function 'nobody'"),
        ([f"{script}:number"], "not callable"),
        ([f"{script}:double"], "missing a required argument: 'x'"),
        (["nowhere.py:foo"], "no such file: nowhere.py"),
        ([f"{script}:double", "1", "--batch-size", "0"], "batch_size"),
    ):
        done = run(*words)
        assert done.returncode == 2
        assert part in done.stderr
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("batchling: ")


@pytest.mark.thorough
def test_exceptions_show_the_programs_own_frames(script: Path) -> None:
    done = run(f"{script}:boom")
    assert done.returncode == 1
    assert done.stderr.startswith(f'Traceback (most recent call last):\n  File "{script}", line')
    assert done.stderr.endswith("LookupError: no\n")
    assert "batchling/" not in done.stderr

    done = run(f"{script.parent / 'broken.py'}:foo")
    assert (done.returncode, done.stderr.count("runpy")) == (1, 0)
    assert run(f"{script}:leave").returncode == 7


@pytest.mark.thorough
def test_help_and_version() -> None:
    assert run("--version").stdout == f"batchling {__version__}\n"
    shown = run("--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "--batch-window-seconds" in shown.stdout
    assert max(map(len, shown.stdout.split("\n"))) <= 80
    assert run().returncode == 2


@pytest.mark.thorough
def test_ctrl_c_ends_with_130(script: Path, provider_server: ProviderServer) -> None:
    provider_server.hold()
    gateways = ",".join(f"{base}={name}" for base, name in provider_server.gateways.items())
    command = [sys.executable, "-m", "batchling", f"{script}:ask", provider_server.openai_url, "hi"]
    command += ["--batch-window-seconds=0.1", "--batch-poll-interval-seconds=0.05"]
    environment = {**os.environ, "BATCHLING_GATEWAYS": gateways}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    wait_for_poll(provider_server)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)

    assert process.returncode == 130
    assert errors.split("\n")[-2].startswith("batchling: left early. 1 job keeps running at the provider")
    assert "Traceback" not in errors


@pytest.mark.thorough
def test_the_demo() -> None:
    done = run("demo", "--rows", "20", NO_COLOR="1", COLUMNS="80")

    assert done.returncode == 0, done.stderr
    assert "Both runs printed the same answers; the second was free." in done.stdout
    assert max(len(line) for line in done.stdout.split("\n")) <= 80
    assert "20 calls batched in 1 batch, 0 from cache, 0 went real time" in done.stderr
    assert "0 calls batched, 20 from cache" in done.stderr
    assert run("demo", "--rows", "x").returncode == 2


@pytest.mark.thorough
def test_the_table_of_providers() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "batchling", "providers"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "120"},
    ).stdout

    assert "Mistral (mistral)" in said
    assert "Cohere: batches take their own models" in said
    assert max(map(len, said.splitlines())) <= 160
    wrong = subprocess.run([sys.executable, "-m", "batchling", "providers", "x"], capture_output=True, text=True)
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "batchling: batchling providers takes --markdown, --summary or nothing; not 'x'\n",
    )


@pytest.mark.thorough
def test_receipt_is_written_and_checked_first(script: Path, provider_server: ProviderServer, tmp_path: Path) -> None:
    target = tmp_path / "receipt.json"
    gateways = ",".join(f"{base}={name}" for base, name in provider_server.gateways.items())
    call = (f"{script}:ask", provider_server.openai_url, "a", "--batch-window-seconds", "0.05")
    quick = ("--batch-poll-interval-seconds", "0.05")
    done = run(*call, *quick, "--receipt", str(target), BATCHLING_GATEWAYS=gateways)

    assert (done.returncode, done.stdout) == (0, "200\n"), done.stderr
    receipt = json.loads(target.read_text())
    assert (receipt["answered"], receipt["cost"]["answers"]) == (1, 1)
    assert receipt["unpriced"] == ["m"]

    calls = len(provider_server.calls())
    refused = run(*call, *quick, "--receipt", str(tmp_path / "no" / "receipt.json"), BATCHLING_GATEWAYS=gateways)
    assert refused.returncode == 2
    assert "cannot be written" in refused.stderr
    assert len(provider_server.calls()) == calls
