"""One contract for all providers: what holds for one holds for each, or its provider_case says why it cannot."""

from __future__ import annotations

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from batchling import Detached
from batchling.cache.files import FileStore
from batchling.core.model import Job, Response, Site, State, Target
from batchling.environment import registry
from batchling.providers import PROVIDERS
from batchling.providers.base import Limits
from batchling.testing import ProviderServer
from tests.engine.open_scope import batcher
from tests.patience import be_patient
from tests.providers import contract_table
from tests.providers.calls import ask, ask_real_time, scope, texts
from tests.providers.contract_table import CASES
from tests.providers.flows import play
from tests.providers.provider_cases import BY_NAME, PROVIDER_CASES, ProviderCase, as_bytes
from tests.waiting import wait_until

HARD = "text 01"
"""The text that rows are picked by."""


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    be_patient(monkeypatch, listing=0.2)


@pytest.fixture(params=PROVIDER_CASES, ids=str)
def provider_case(request: pytest.FixtureRequest) -> ProviderCase:
    case = request.function.__name__.removeprefix("test_")
    found: ProviderCase = request.param
    if case in found.refuses:
        pytest.skip(f"refused: {found.refuses[case]}")
    return found


def is_hard(body: dict[str, Any]) -> bool:
    return HARD in json.dumps(body)


def only_in_batches(server: ProviderServer, rows: int) -> bool:
    return len(server.billed(batch=True)) == rows and server.billed(batch=False) == []


def test_every_provider_and_every_endpoint_is_here() -> None:
    assert set(BY_NAME) == set(PROVIDERS)
    for name, provider_case in BY_NAME.items():
        for endpoint in PROVIDERS[name].endpoints:
            assert any(fnmatch(path, "*" + endpoint) for path in provider_case.paths), f"{name}: nobody asks {endpoint}"
        assert set(provider_case.refuses) <= set(CASES), name
        assert all(provider_case.refuses.values()), name


def test_the_table_in_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "contract.md").read_text()
    made = re.search(r"<!-- made by: [^\n]* -->\n(.*?)<!-- end -->", page, re.DOTALL)
    assert made is not None
    assert made[1] == contract_table.markdown() + "\n"
    assert len(CASES) == sum(
        name.startswith("test_") and "provider_case" in of.__annotations__ for name, of in globals().items()
    )


@pytest.mark.quick_for_each
@pytest.mark.thorough
def test_every_endpoint(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    """What a batch answers is what real time answers."""
    for path in provider_case.paths:
        batched = ask(provider_server, provider_case, texts(provider_case), path)
        assert only_in_batches(provider_server, provider_case.texts), path
        plain = ask_real_time(provider_server, provider_case, texts(provider_case), path)
        assert [answer.status_code for answer in batched] == [200] * provider_case.texts, (path, batched[0].text)
        assert [without_batch(answer.json()) for answer in batched] == [answer.json() for answer in plain]
        provider_server.forget_bills()
    assert len(provider_server.creates()) == len(provider_case.paths)


def test_success(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    """All in one batch, and each gets its own answer."""
    batched = ask(provider_server, provider_case, texts(provider_case))
    plain = ask_real_time(provider_server, provider_case, texts(provider_case))

    assert [without_batch(answer.json()) for answer in batched] == [answer.json() for answer in plain]
    assert len({answer.text for answer in plain}) == provider_case.texts
    assert list(provider_server.jobs().values()) == [provider_case.texts]


@pytest.mark.quick_for_each
def test_dry_run(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    """Every endpoint has a synthetic answer, and nothing leaves."""
    for path in provider_case.paths:
        answers = ask(provider_server, provider_case, texts(provider_case), path, dry_run=True)
        assert [answer.status_code for answer in answers] == [200] * provider_case.texts, path
        assert {answer.headers["x-batchling-dry-run"] for answer in answers} == {"1"}
    assert provider_server.calls() == []


def test_our_own_calls_are_no_bypasses(
    provider_server: ProviderServer, provider_case: ProviderCase, capsys: Any
) -> None:
    ask(provider_server, provider_case, texts(provider_case))

    assert "0 went real time" in capsys.readouterr().err


def without_batch(answer: dict[str, Any]) -> dict[str, Any]:
    """Without what tells that a batch made it."""
    if answer.get("usage", {}).get("service_tier") == "batch":
        return {**answer, "usage": {**answer["usage"], "service_tier": "standard"}}
    return answer


@pytest.mark.quick_for_own_code
def test_row_failure(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    provider_server.fail_rows(is_hard, 400, provider_case.error("messages must be shorter"))
    answers = ask(provider_server, provider_case, texts(provider_case))

    assert [answer.status_code for answer in answers] == [200, 400] + [200] * (provider_case.texts - 2)
    assert "messages must be shorter" in answers[1].text
    assert answers[1].headers["x-should-retry"] == "false"
    assert only_in_batches(provider_server, provider_case.texts - 1)


def test_all_rows_failed(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    provider_server.fail_rows(lambda body: True, 400, provider_case.error("invalid messages"))
    answers = ask(provider_server, provider_case, texts(provider_case))

    assert [answer.status_code for answer in answers] == [400] * provider_case.texts
    assert all("invalid messages" in answer.text for answer in answers)
    assert len(provider_server.creates()) == 1


@pytest.mark.quick_for_own_code
@pytest.mark.thorough
def test_partial_expiry(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    """Finished rows are answered, the others are asked again, and nothing is billed twice."""
    provider_server.expire_job(0.5)
    answer_in_two(provider_server, provider_case)


@pytest.mark.quick_for_own_code
@pytest.mark.thorough
def test_cancelled(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    """The same, when the job's owner cancels it at the provider's site."""
    provider_server.cancel_job(0.5)
    answer_in_two(provider_server, provider_case)


def answer_in_two(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    answers = ask(provider_server, provider_case, texts(provider_case), batch_window_seconds=0.6)

    assert [answer.status_code for answer in answers] == [200] * provider_case.texts
    if provider_case.name == "cerebras":  # too few are left for a batch
        assert (
            len(provider_server.billed(batch=True))
            == len(provider_server.billed(batch=False))
            == provider_case.texts / 2
        )
    else:
        assert only_in_batches(provider_server, provider_case.texts)
        assert len(provider_server.creates()) == 2


def test_validation(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    """The job fails as a whole, and nobody is named: nothing ran and nothing is billed, so it is submitted again."""
    provider_server.fail_job("invalid_request", "the file is not to our taste")
    answers = ask(provider_server, provider_case, texts(provider_case))

    assert {answer.status_code for answer in answers} == {200}
    assert len(provider_server.creates()) <= 3
    assert len(provider_server.billed()) == len(answers)


def test_limits(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    """More than a job may hold: several jobs."""
    provider: Any = registry.providers(provider_case.providers(provider_server))[provider_case.name]
    limits: Limits = provider.limits
    count = 2 * max(3, limits.least)
    small = replace(provider, limits=replace(limits, rows=count // 2))
    asked = [f"text {number:02}" for number in range(count)]
    answers = ask(provider_server, provider_case, asked, providers=[small], batch_size=None)

    assert [answer.status_code for answer in answers] == [200] * count
    assert sorted(provider_server.jobs().values()) == [count // 2] * 2


@pytest.mark.quick_for_own_code
@pytest.mark.parametrize("status", [0, 502])
def test_find(provider_server: ProviderServer, provider_case: ProviderCase, status: int) -> None:
    """The reply of the create call is lost: the job is found again, and not bought again."""
    provider_server.lose_created(status)
    answers = ask(provider_server, provider_case, texts(provider_case))

    assert [answer.status_code for answer in answers] == [200] * provider_case.texts
    assert only_in_batches(provider_server, provider_case.texts)
    assert len(provider_server.jobs()) == 1


def test_find_nothing(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    """The create call never arrived: after looking for its job it is made again."""
    provider_server.lose_created(502, acts=False)
    answers = ask(provider_server, provider_case, texts(provider_case))

    assert [answer.status_code for answer in answers] == [200] * provider_case.texts
    assert only_in_batches(provider_server, provider_case.texts)
    assert len(provider_server.creates()) == 2


def test_paging(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    """The lost job is not on the first page of the list, nor are all its results on the first page of results."""
    provider_server.show_per_page(1)
    provider_server.lose_created(0)
    provider_server.fail_call("GET", "atch", 503, times=1_000_000)  # nobody lists and polls until we say so
    with scope(provider_server, provider_case, provider_case.texts), ThreadPoolExecutor(3) as threads:
        programs = [threads.submit(ask_real_time, provider_server, provider_case, texts(provider_case))]
        wait_for_jobs(provider_server, 1)
        for name in ("second", "third"):
            asked = [f"{name} {number}" for number in range(provider_case.texts)]
            programs.append(threads.submit(ask_real_time, provider_server, provider_case, asked))
            wait_for_jobs(provider_server, len(programs))
        provider_server.recover()
        answers = [answer for program in programs for answer in program.result()]

    assert [answer.status_code for answer in answers] == [200] * 3 * provider_case.texts
    assert only_in_batches(provider_server, 3 * provider_case.texts)
    assert len(provider_server.creates()) == 3


def wait_for_jobs(server: ProviderServer, count: int) -> None:
    wait_until(lambda: len(server.jobs()) >= count, f"the number of jobs becomes {count}")


def test_cancel(provider_server: ProviderServer, provider_case: ProviderCase, batchling_cache: Path) -> None:
    """Asked to, the job is stopped at the provider, and that is waited for."""
    provider_server.hold()
    opened = scope(provider_server, provider_case, provider_case.texts)
    left: list[Detached] = []

    def program() -> None:
        try:
            ask_real_time(provider_server, provider_case, texts(provider_case))
        except Detached as gone:
            left.append(gone)

    with opened:
        caller = threading.Thread(target=program)
        caller.start()
        wait_until(lambda: FileStore(str(batchling_cache)).jobs(), "the cache knows of the job")
        engine = batcher()
        engine.detach().result(5)
        engine.cancel().result(10)
        caller.join()

    assert left
    assert provider_server.over() == 1
    assert provider_server.billed() == []


def test_credentials(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    """Two keys never share a job; a refused key is refused natively."""
    asked = texts(provider_case) * 2
    answers = ask(provider_server, provider_case, asked, keys=("sk-1", "sk-2"))
    assert [answer.status_code for answer in answers] == [200] * len(asked)
    accounts = {bill.job: bill.account for bill in provider_server.billed()}
    assert len(accounts) == len(set(accounts.values())) == 2

    refused = ask(provider_server, provider_case, texts(provider_case), keys=("sk-bad",))
    plain = ask_real_time(provider_server, provider_case, texts(provider_case)[:1], keys=("sk-bad",))[0]
    assert {answer.status_code for answer in refused} == {plain.status_code}
    assert refused[0].content == plain.content


def test_body_is_passed_whole(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    ask(provider_server, provider_case, texts(provider_case))
    ask_real_time(provider_server, provider_case, texts(provider_case))
    in_batches = sorted(bill.body for bill in provider_server.billed(batch=True))
    in_real_time = sorted(bill.body for bill in provider_server.billed(batch=False))

    assert in_batches == in_real_time
    assert len(set(in_batches)) == provider_case.texts


@pytest.mark.quick_for_own_code
def test_line_separators(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    """U+2028 and its like are no ends of lines."""
    provider_server.fail_rows(is_hard, 400, provider_case.error("invalid \u2028 and \u0085 and \x1c here"))
    answers = ask(provider_server, provider_case, texts(provider_case))

    assert [answer.status_code for answer in answers] == [200, 400] + [200] * (provider_case.texts - 2)
    assert "invalid \u2028 and \u0085" in json.dumps(answers[1].json(), ensure_ascii=False)


def test_line_separators_in_answers(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    asked = [f"{text} \u2028 and \u0085" for text in texts(provider_case)]
    batched = ask(provider_server, provider_case, asked)
    plain = ask_real_time(provider_server, provider_case, asked)

    assert [without_batch(answer.json()) for answer in batched] == [answer.json() for answer in plain]
    assert all("\u2028\u0085" in json.dumps(answer.json(), ensure_ascii=False) for answer in batched)
    assert len(provider_server.billed(batch=True)) == provider_case.texts


@pytest.mark.quick_for_each
def test_unknown_status(provider_case: ProviderCase) -> None:
    """A word that nobody knows is no end."""
    provider: Any = registry.providers()[provider_case.name]
    site = Site(Target(provider_case.name, "https://host/v1", "/v1/chat/completions", "m", "a"))
    status = play(provider.poll(site, Job("j")), Response(200, (), as_bytes(provider_case.word)))[1]

    assert status.state is State.RUNNING
    assert not status.known


@pytest.mark.slow
def test_big_files(provider_server: ProviderServer, provider_case: ProviderCase) -> None:
    asked = [f"text {number} {'x' * 1_000}" for number in range(1_500)]
    answers = ask(provider_server, provider_case, asked)

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == len(asked)
    assert only_in_batches(provider_server, len(asked))
