"""A program that runs again is told when it buys the same again, and why; one that asks new things is left alone."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchling import events, jobs
from batchling.cache.footprints import Footprints
from batchling.testing import ProviderServer
from tests.engine.calls import chat, post, scope, together

Body = dict[str, Any]
Program = Callable[[int, int], Body]
"""The body of the n-th call of a run."""

SYSTEM = "You are a careful clerk.\nToday is %s.\nAnswer in one word."


def two(text: str, n: int, **more: object) -> Body:
    messages = [{"role": "system", "content": text}, {"role": "user", "content": f"Is question {n} a good one?"}]
    return {"model": "gpt-5-mini", "messages": messages, **more}


VOLATILE: dict[str, tuple[Program, str]] = {
    "a seed": (lambda run, n: chat(f"question {n}", seed=run), "`seed` differs"),
    "a seed of each call": (lambda run, n: chat(f"question {n}", seed=100 * run + n), "`seed` differs"),
    "a field nobody knows": (lambda run, n: chat(f"q {n}", x_run=f"{run}"), "`x_run` differs"),
    "a date": (lambda run, n: two(SYSTEM % f"2026-11-0{run}", n), "`messages[0].content` differs"),
    "a time": (lambda run, n: two(SYSTEM % f"2026-11-01 10:0{run}", n), "`messages[0].content` differs"),
    "a time of each call": (
        lambda run, n: two(f"It is {run}:{n}.\nBe brief.", n),
        "`messages[0].content` differs",
    ),
    "an id in the question": (
        lambda run, n: chat(f"[{uuid.uuid4()}] question {n}"),
        "`messages[0].content` differs",
    ),
    "an id in a part": (
        lambda run, n: {
            **chat(""),
            "messages": [{"role": "user", "content": [{"type": "text", "text": f"{uuid.uuid4()}\nquestion {n}"}]}],
        },
        "`messages[0].content[0].text` differs",
    ),
    "two fields": (
        lambda run, n: chat(f"question {n}", seed=run, x=f"{run}"),
        "`seed` and `x` differ",
    ),
    "samples of one prompt": (lambda run, n: chat("tell a joke", temperature=run / 2), "`temperature` differs"),
}


def run(server: ProviderServer, program: Program, number: int, calls: int = 12, **options: Any) -> None:
    bodies = [program(number, n) for n in range(calls)]
    random.Random(number).shuffle(bodies)
    with scope(server, **{**together(calls), **options}):
        assert {answer.status_code for answer in post(server, bodies)} == {200}


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text for record in caplog.records if "this program made before" in (text := record.getMessage())]


@pytest.mark.thorough
@pytest.mark.parametrize("name", VOLATILE)
def test_what_differs_is_named(provider_server: ProviderServer, caplog: pytest.LogCaptureFixture, name: str) -> None:
    program, expected = VOLATILE[name]
    run(provider_server, program, 1)
    assert told(caplog) == []
    run(provider_server, program, 2)

    (text,) = told(caplog)
    assert f"{expected} from the last run" in text
    assert "12 of 12 calls to openai /v1/chat/completions" in text


TITLES = ("billing", "shipping", "returns", "praise")

ASKS_NEW: dict[str, Program] = {
    "other questions": lambda run, n: chat(f"question {100 * run + n}"),
    "other questions with a system prompt": lambda run, n: two("Be brief.", 100 * run + n),
    "other documents": lambda run, n: chat(f"Summarise:\n{uuid.uuid4().hex * 9}"),
    "other documents of few kinds": lambda run, n: chat(f"Kind: {TITLES[n % 4]}\n{run}-{n} " + "lorem " * 30),
    "other words of few kinds": lambda run, n: chat(f"Kind: {TITLES[n % 4]}\nWord: {run}-{n}"),
    "other sections each day": lambda run, n: chat(f"Section {n}\n" + f"news {run} {n} " * 30),
    "another prompt": lambda run, n: chat(f"tell a joke about {['cats', 'dogs'][run - 1]}"),
    "a grid": lambda run, n: chat(f"What is {'abcd'[n % 4]} of {'uvwxyz'[n // 4 + 3 * (run - 1)]}?"),
    "longer conversations": lambda run, n: {
        **chat(""),
        "messages": [{"role": "user", "content": f"m{run}{n}{k}"} for k in range(1 + n)],
    },
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", ASKS_NEW)
def test_new_questions_are_no_news(
    provider_server: ProviderServer, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    for number in (1, 2):
        run(provider_server, ASKS_NEW[name], number)

    assert told(caplog) == []


def test_a_run_that_goes_on_is_no_news(provider_server: ProviderServer, caplog: pytest.LogCaptureFixture) -> None:
    program = VOLATILE["a seed"][0]
    run(provider_server, program, 1)
    with scope(provider_server, **together(12)):
        post(provider_server, [program(1, n) for n in range(12)] + [program(2, n) for n in range(12)])

    assert told(caplog) == []


@pytest.mark.thorough
def test_two_calls_are_no_news(provider_server: ProviderServer, caplog: pytest.LogCaptureFixture) -> None:
    for number in (1, 2):
        run(provider_server, VOLATILE["a seed"][0], number, calls=2)

    assert told(caplog) == []


@pytest.mark.thorough
def test_it_is_told_once_and_before_the_money_is_spent(
    provider_server: ProviderServer, caplog: pytest.LogCaptureFixture
) -> None:
    program = VOLATILE["a seed"][0]
    run(provider_server, program, 1)
    seen: list[events.Event] = []
    with scope(provider_server, **together(6), on_event=seen.append):
        post(provider_server, [program(2, n) for n in range(6)])
        post(provider_server, [program(2, n) for n in range(6, 12)])

    assert len(told(caplog)) == 1
    kinds = [type(event) for event in seen]
    assert kinds.count(events.PaidAgain) == 1
    assert kinds.index(events.PaidAgain) < kinds.index(events.Submitted)


def test_another_key_is_named(provider_server: ProviderServer, caplog: pytest.LogCaptureFixture) -> None:
    bodies = [chat(f"q{n}") for n in range(4)]
    for key in ("sk-1", "sk-2"):
        with scope(provider_server, **together(4)):
            post(provider_server, bodies, [{"x-api-key": key}] * 4)

    assert "the credential (or, at a gateway, a header) differs" in told(caplog)[0]


@pytest.mark.parametrize("cache", ["no-results", False])
def test_with_other_caches(
    provider_server: ProviderServer, caplog: pytest.LogCaptureFixture, cache: Any, batchling_cache: Path
) -> None:
    for number in (1, 2):
        run(provider_server, VOLATILE["a seed"][0], number, cache=cache)

    assert len(told(caplog)) == bool(cache)
    assert (batchling_cache / "programs").exists() == bool(cache)


def test_a_dry_run_writes_nothing(provider_server: ProviderServer, batchling_cache: Path) -> None:
    run(provider_server, VOLATILE["a seed"][0], 1, dry_run=True)
    assert not batchling_cache.exists()


@pytest.mark.thorough
def test_nothing_of_a_prompt_is_kept(provider_server: ProviderServer, batchling_cache: Path) -> None:
    with scope(provider_server):
        post(provider_server, [chat("an unmistakable secret", stop=["unspeakable"], logit_bias={"hush hush": 1})])
    (file,) = (batchling_cache / "programs").iterdir()
    text = file.read_text()

    assert "messages[0].content" in text
    for word in ("unmistakable", "secret", "unspeakable", "hush", "sk-1", provider_server.url):
        assert word not in text
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


DAMAGE = [
    b"",
    b"{",
    b"[]",
    b'{"version":2,"paths":[],"rows":[]}',
    b'{"version":1,"paths":["a"],"rows":[[1]]}',
    b"\xff" * 99,
]


@pytest.mark.thorough
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_passed_over(
    provider_server: ProviderServer, batchling_cache: Path, caplog: pytest.LogCaptureFixture, damage: bytes
) -> None:
    program = VOLATILE["a seed"][0]
    run(provider_server, program, 1)
    (file,) = (batchling_cache / "programs").iterdir()
    file.write_bytes(damage)
    run(provider_server, program, 2)
    assert told(caplog) == []
    run(provider_server, program, 3)
    assert len(told(caplog)) == 1


def test_a_folder_that_is_none_is_passed_over(provider_server: ProviderServer, batchling_cache: Path) -> None:
    batchling_cache.mkdir()
    (batchling_cache / "programs").write_text("")
    run(provider_server, VOLATILE["a seed"][0], 1)


@pytest.mark.thorough
def test_clearing_the_cache_clears_them_too(provider_server: ProviderServer, batchling_cache: Path) -> None:
    run(provider_server, VOLATILE["a seed"][0], 1)
    assert jobs.contents().bytes >= next((batchling_cache / "programs").iterdir()).stat().st_size
    jobs.prune(3_600)
    assert len(list((batchling_cache / "programs").iterdir())) == 1
    jobs.prune(0)
    assert list((batchling_cache / "programs").iterdir()) == []


def test_the_oldest_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchling.cache.footprints.MOST_FILES", 3)
    kept = Footprints(str(tmp_path), "p")
    for number in range(6):
        kept.write(("openai", "e", f"{number}"), [{"a": "1", "b": "2"}, {"b": "3"}])

    assert len(list((tmp_path / "programs").iterdir())) == 3
    assert kept.read(("openai", "e", "5")) == [{"a": "1", "b": "2"}, {"b": "3"}]
    assert Footprints(str(tmp_path), "q").read(("openai", "e", "5")) == []


SCRIPT = """
import sys, json, threading, httpx
from batchling import batchify
url, gateway, seed = sys.argv[1:]
with batchify(gateways={gateway: "openai"}, batch_size=4, batch_window_seconds=9, batch_poll_interval_seconds=0.02):
    def ask(n):
        body = {"model": "m", "seed": int(seed), "messages": [{"role": "user", "content": f"question {n}"}]}
        httpx.post(url, json=body, headers={"authorization": "Bearer sk-1"}, timeout=30)
    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
"""


@pytest.mark.thorough
def test_programs_are_told_apart(provider_server: ProviderServer, tmp_path: Path, batchling_cache: Path) -> None:
    said = []
    for name, seed in (("one.py", 1), ("two.py", 2), ("one.py", 3)):
        script = tmp_path / name
        script.write_text(SCRIPT)
        url = f"{provider_server.openai_url}/chat/completions"
        command = [sys.executable, str(script), url, provider_server.openai_url, f"{seed}"]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
        said.append("this program made before" in ran.stderr)

    assert said == [False, False, True]
    assert len(list((batchling_cache / "programs").iterdir())) == 2
    assert json.loads(next((batchling_cache / "programs").iterdir()).read_text())["version"] == 1
