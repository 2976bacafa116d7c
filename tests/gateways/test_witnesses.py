"""Batch APIs that others wrote, run on loopback: a second and a third opinion beside the embedded server.

AIBrix (Python, Apache 2.0) is a real batch service; its rows run at the embedded server, in real time. aimock
(JavaScript, MIT) is a mock of OpenAI that knows nothing of us; all its answers are the same. Each stands behind a relay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from batchling import batchify
from batchling.core.model import State
from batchling.testing import ProviderServer
from tests.engine.calls import TLS, chat
from tests.gateways.conftest import PATIENCE, Start
from tests.gateways.relay import Relay
from tests.patience import be_patient
from tests.providers.provider_cases import BY_NAME
from tests.testing.program import Program

pytestmark = pytest.mark.timeout(PATIENCE + 120)

TEXTS = [f"text {number}" for number in range(6)]
KEY = {"authorization": "Bearer sk-1"}
Witness = Callable[[str], Relay]


@pytest.fixture
def witness(provider_server: ProviderServer, start: Start, tmp_path: Path) -> Iterator[Witness]:
    """Starts a witness, and the relay in front of it."""
    with ExitStack() as stack:

        def begin(name: str, engine: bool = True) -> Relay:
            if name == "aimock":
                (tmp_path / "fixtures").mkdir()
                url = start("llmock", "--host", "127.0.0.1", health="/health")
            else:
                dry = ("--dry-run", "--host", "127.0.0.1")
                first = (provider_server.openai_url,) if engine else ()
                script = Path(__file__).with_name("run_aibrix.py") if engine else None
                url = start("aibrix_metadata", *first, *dry, health="/healthz", script=script)
            return stack.enter_context(Relay(url, "/openai"))

        yield begin


def ask(relay: Relay, texts: list[str] = TEXTS, **options: Any) -> list[httpx.Response]:
    def one(text: str) -> httpx.Response:
        url = f"{relay.url}/openai/v1/chat/completions"
        return httpx.post(url, json=chat(text), headers=KEY, verify=TLS, timeout=60)

    quick = {"batch_size": len(texts), "batch_poll_interval_seconds": 0.2}
    with batchify(gateways=relay.gateways, **{**quick, **options}), ThreadPoolExecutor(len(texts)) as pool:
        return list(pool.map(one, texts))


def listed(relay: Relay) -> list[dict[str, Any]]:
    """The jobs that the witness knows of."""
    page = httpx.get(f"{relay.url}/openai/v1/batches?limit=100", headers=KEY, verify=TLS).json()
    return list(page["data"])


def contents(answers: list[httpx.Response]) -> list[str]:
    assert [answer.status_code for answer in answers] == [200] * len(answers), answers[0].text
    return [answer.json()["choices"][0]["message"]["content"] for answer in answers]


both = pytest.mark.parametrize("name", ["aimock", "aibrix"])


@both
def test_answers(
    provider_server: ProviderServer, witness: Witness, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    relay = witness(name)
    answered = contents(ask(relay))

    assert f"{len(TEXTS)} calls batched in 1 batch, 0 from cache, 0 went real time" in capsys.readouterr().err
    assert len(relay.calls("POST /v1/batches")) == len(listed(relay)) == 1
    if name == "aibrix":
        url = f"{provider_server.openai_url}/chat/completions"
        plain = [httpx.post(url, json=chat(text), headers=KEY, verify=TLS) for text in TEXTS]
        assert answered == contents(plain)
    assert contents(ask(relay)) == answered
    assert len(listed(relay)) == 1


@both
@pytest.mark.parametrize("lost", ["lose_there", "lose_back"])
def test_a_lost_create_call(witness: Witness, monkeypatch: pytest.MonkeyPatch, name: str, lost: str) -> None:
    """Bought once, whether it has arrived or not."""
    be_patient(monkeypatch, listing=2.0)
    relay = witness(name)
    setattr(relay, lost, "POST /v1/batches")
    contents(ask(relay))

    assert relay.calls("GET /v1/batches?")
    assert len(listed(relay)) == 1


@both
def test_cancelled(witness: Witness, name: str) -> None:
    program = Program(witness(name), BY_NAME["openai"])
    job = program.submit(TEXTS)
    program.cancel(job)
    status = program.watch(job, patience=20)

    assert status.word in ("cancelled", "completed")  # AIBrix may have run them by then
    assert status.state is State.ENDED


@both
def test_the_flow_of_a_job(witness: Witness, name: str) -> None:
    """Each call of a flow alone, without the engine."""
    program = Program(witness(name), BY_NAME["openai"])
    job = program.submit(TEXTS)
    found = program.find()
    status = program.watch(job, patience=20)

    assert found is not None
    assert found.id == job.id
    assert (status.state, status.done, status.total) == (State.ENDED, len(TEXTS), len(TEXTS))
    assert program.read(job, status) == {f"key-{number:04}" for number in range(len(TEXTS))}


def test_rows_that_fail_at_aibrix(provider_server: ProviderServer, witness: Witness) -> None:
    error = {"error": {"message": "too hot", "type": "invalid_request_error", "code": None, "param": "temperature"}}
    provider_server.fail_rows(lambda body: body["messages"][0]["content"] == TEXTS[1], 400, error)
    relay = witness("aibrix")
    answers = ask(relay)

    assert [answer.status_code for answer in answers] == [200, 400, 200, 200, 200, 200]
    assert len(listed(relay)) == 1


def test_an_echo_at_aibrix_is_no_answer(witness: Callable[..., Relay]) -> None:
    """AIBrix without an engine says 200 and returns each request as its answer (its issues 1802, 1645)."""
    relay = witness("aibrix", engine=False)
    answers = ask(relay, max_resubmissions=0)

    assert {answer.status_code for answer in answers} & set(range(200, 300)) == set(), answers[0].text
    ask(relay, max_resubmissions=0)
    assert len(listed(relay)) == 2


@pytest.mark.parametrize(("outcome", "status"), [("failed", 500), ("expired", 424), ("cancelled", 424)])
def test_jobs_that_end_badly_at_aimock(witness: Witness, outcome: str, status: int) -> None:
    relay = witness("aimock")
    relay.headers["x-aimock-batch-outcome"] = outcome
    answers = ask(relay, max_resubmissions=1)
    assert [answer.status_code for answer in answers] == [status] * len(TEXTS), answers[0].text
    assert len(listed(relay)) == 2
    del relay.headers["x-aimock-batch-outcome"]
    contents(ask(relay))
