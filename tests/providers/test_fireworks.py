"""What of Fireworks the contract does not tell."""

from __future__ import annotations

import pytest
from msgspec import structs

from batchling.core.model import Item, Job, Request, Site, State, Status, Target
from batchling.providers.base import Garbled
from batchling.providers.fireworks import FIREWORKS
from tests.providers.flows import answer, play

ROOT = "https://api.fireworks.ai"
AT = Site(Target("fireworks", f"{ROOT}/inference/v1", "/v1/chat/completions", "m", "a"), (("authorization", "k"),))
ITEMS = [Item("k-0", Request("POST", ROOT, (), b'{"model": "m", "messages": []}'))]
OUTPUT = "accounts/a/datasets/bt-out"


@pytest.mark.parametrize(
    ("word", "done", "outputs"),
    [("COMPLETED", None, (OUTPUT,)), ("COMPLETED", 1, (OUTPUT,)), ("EXPIRED", 1, (OUTPUT,)), ("EXPIRED", None, ())],
)
def test_a_completed_job_has_results_whatever_it_counts(word: str, done: int | None, outputs: tuple[str, ...]) -> None:
    """Not read, they would be bought again. What ended without a row has no dataset."""
    progress = {} if done is None else {"jobProgress": {"successfullyProcessedRequests": done}}
    said = {"name": "j", "state": f"JOB_STATE_{word}", "outputDatasetId": OUTPUT, **progress}
    status = play(FIREWORKS.poll(AT, Job("accounts/a/batchInferenceJobs/bt")), answer(said))[1]
    assert (status.state, status.outputs) == (State.ENDED, outputs)


def test_a_dataset_that_is_ready_is_not_uploaded_again() -> None:
    accounts, there = answer({"accounts": [{"name": "accounts/a"}]}), answer({"code": 6}, 409)
    ready, uploading, job = answer({"state": "READY"}), answer({"state": "UPLOADING"}), answer({"name": "j"})
    again, _ = play(FIREWORKS.submit(AT, ITEMS, "t"), accounts, there, ready, ready, job)
    first, _ = play(FIREWORKS.submit(AT, ITEMS, "t"), accounts, there, uploading, answer({}), ready, job)

    assert not any(call.request.url.endswith(":upload") for call in again)
    assert sum(call.request.url.endswith(":upload") for call in first) == 1


def test_signed_links_get_no_credential() -> None:
    link = "https://storage.example/x?signature=s"
    status = play(
        FIREWORKS.poll(AT, Job("j")), answer({"name": "j", "state": "JOB_STATE_COMPLETED", "outputDatasetId": OUTPUT})
    )[1]
    links = answer({"filenameToSignedUrls": {"BIJOutputSet.jsonl": link, "error-data": link}})
    calls, _ = play(FIREWORKS.fetch(AT, Job("j"), status), links, answer(b""), answer(b""))
    assert [call.request.headers for call in calls[1:]] == [(), ()]


@pytest.mark.parametrize(
    "link",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1:9/x",
        "http://storage.example/x?signature=s",
        "ftp://storage.example/x",
        "https://",
        "https://[::1/x",
        "https://h:99999/x",
        "https://h/x\n",
        "//h/x",
        "",
        7,
        None,
    ],
)
def test_a_link_goes_over_tls(link: object) -> None:
    links = answer({"filenameToSignedUrls": {"BIJOutputSet.jsonl": link}})
    status = Status(State.ENDED, "completed", outputs=(OUTPUT,))
    with pytest.raises(Garbled, match="not over TLS"):
        play(FIREWORKS.fetch(AT, Job("j"), status), links)


def test_a_link_of_this_machine_is_plain_where_the_api_is() -> None:
    here = Site(structs.replace(AT.target, base_url="http://127.0.0.1:8000/fireworks/inference/v1"))
    status = Status(State.ENDED, "completed", outputs=(OUTPUT,))
    for link, taken in (
        ("http://localhost:9/x", True),
        ("http://10.0.0.1/x", False),
        ("http://h.127.0.0.1.nip.io/", False),
    ):
        links = answer({"filenameToSignedUrls": {"BIJOutputSet.jsonl": link}})
        if taken:
            assert play(FIREWORKS.fetch(here, Job("j"), status), links, answer(b""))[0][1].request.url == link
        else:
            with pytest.raises(Garbled):
                play(FIREWORKS.fetch(here, Job("j"), status), links)
