"""Our own words quote nothing that may be a credential, whatever was given where."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from batchling import batchify, jobs
from batchling.environment import registry
from batchling.errors import OptionError

SECRET = "sk-SECRET-0123456789abcdef"
SHORT = "SECRETpw"
GATEWAYS = [
    f"http://h/v1?key={SHORT}",
    f"http://user:pw={SHORT}@h",
    f"http://user:{SHORT}@h=openai",
    f"http://h/v1?key={SHORT}=openai",
    f"http://h/v1#{SHORT}=openai",
    f"{SHORT}",
    f"{SHORT}=openai",
    f"http://h={SHORT}",
    f"http://[{SHORT}=openai",
    f"http://h:{SHORT}=openai",
    f"http://h:99999/{SHORT}=openai",
    f"http://\x1b[31m{SHORT}=openai",
]


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "batchling", *words]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize("entry", GATEWAYS)
def test_a_gateway_that_cannot_be_one(entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHLING_GATEWAYS", f"http://fine=openai,{entry}")
    with pytest.raises(OptionError, match="BATCHLING_GATEWAYS: entry 2 must look like") as caught:
        batchify()
    assert SHORT not in repr(caught.value) + str(caught.value)
    monkeypatch.delenv("BATCHLING_GATEWAYS")
    base, _, name = entry.rpartition("=")
    with pytest.raises(OptionError, match="gateways: entry 1 must look like") as caught:
        batchify(gateways={base: name})
    assert SHORT not in repr(caught.value) + str(caught.value)


def test_a_name_that_is_nearly_right_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHLING_GATEWAYS", "http://h=openia")
    with pytest.raises(OptionError, match="did you mean openai"):
        batchify()


@pytest.mark.parametrize(
    "options",
    [
        {"gateways": SECRET},
        {"gateways": [f"http://h?key={SECRET}"]},
        {"gateways": {SECRET: SECRET}},
        {"providers": {"openai": SECRET}},
        {"providers": [SECRET]},
        {"providers": SECRET},
        {"on_event": SECRET},
        {"on_event": [SECRET]},
        {"cache": SECRET},
        {"duplicates": SECRET},
        {"display": SECRET},
        {"dry_run": SECRET},
        {"batch_size": SECRET},
        {"batch_window_seconds": SECRET},
        {"batch_poll_interval_seconds": {"key": SECRET}},
        {"budget_usd": SECRET},
        {"max_resubmissions": SECRET},
        {"max_batches_in_flight": SECRET},
        {"max_batches_per_hour": [SECRET]},
        {"max_waiting": SECRET},
    ],
    ids=lambda options: next(iter(options)),
)
def test_an_option_that_cannot_work(options: dict[str, object]) -> None:
    with pytest.raises(OptionError) as caught:
        batchify(**options)  # type: ignore[arg-type]
    assert SECRET not in repr(caught.value) + str(caught.value)


def test_options_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in registry.setting_variables():
        monkeypatch.setenv(name, SECRET)
        with pytest.raises(OptionError) as caught:
            batchify()
        assert SECRET not in repr(caught.value)
        monkeypatch.delenv(name)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "words",
    [
        ["doctor", f"http://[{SECRET}"],
        ["doctor", f"http://h:99999/{SECRET}"],
        ["doctor", f"http://h:{SECRET}/"],
        ["doctor", f"https://user:{SECRET}@api.openai.com/v1/chat/completions?key={SECRET}"],
        ["show", SECRET],
        ["cancel", SECRET],
        ["cache", SECRET],
        ["cache", "prune", "--older-than", SECRET],
        ["jobs", f"--key={SECRET}"],
        ["collect", SECRET],
        ["providers", SECRET],
        ["demo", "--rows", SECRET],
        [f"{SECRET}.py", SECRET],
        ["x.py:f", f"--{SECRET}={SECRET}"],
        ["x.py:f", "--batch-size", SECRET],
    ],
    ids=" ".join,
)
def test_words_of_the_command_line(words: list[str]) -> None:
    done = run(*words)
    assert "Traceback" not in done.stderr
    told = (done.stdout + done.stderr).replace(f"{SECRET}.py", "")
    assert SECRET not in told
    assert told


@pytest.mark.thorough
def test_defaults_of_a_function(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text("import os\ndef main(n, key=os.environ['THE_KEY'], *, more=1): ...\n")
    done = run(f"{script}:main", THE_KEY=SECRET)
    assert done.returncode == 2
    assert "main(n, key=..., *, more=...): missing a required argument: 'n'" in done.stderr
    assert SECRET not in done.stderr


def test_gateways_of_whoever_looks_after_jobs() -> None:
    import asyncio

    with pytest.raises(OptionError) as caught:
        asyncio.run(jobs.collect(gateways={f"http://user:{SECRET}@h": "openai"}))
    assert SECRET not in repr(caught.value)
