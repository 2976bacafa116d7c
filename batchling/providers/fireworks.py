"""Fireworks' batch inference: a dataset of rows, a job over it, a dataset of results behind signed links.

Facts: fireworks-ai 1.2 and Fireworks' API reference. We choose the ids of the dataset and the job, so a lost job is
looked up by its name. UNSURE: the shape of lines in `error-data` (OpenAI's is assumed), whether counters are always
present, which of a key's accounts applies (the first is assumed), and whether a dataset accepts a second upload (one
that is ready gets none).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from batchling.core.model import JSON, Call, Flow, Item, Job, Pieces, Request, Response, Site, State, Status
from batchling.core.neutral import Neutral
from batchling.providers import pages
from batchling.providers.asking import JSON_TYPE, edited_rows, every, read_rows, segment
from batchling.providers.base import Facts, Garbled, Limits, Refused
from batchling.providers.files import FileDialect
from batchling.providers.neutral import OPENAI_DIALECT, OPENAI_LABELS
from batchling.providers.reading import (
    read_count,
    read_id,
    read_json,
    read_link,
    read_moment,
    read_object,
    read_objects,
    read_text,
)
from batchling.providers.refusals import job_fault

_LOOKS = 300
"""How many times a new dataset is checked before giving up on its becoming usable."""

_ENDED = frozenset({"completed", "cancelled", "expired", "early_stopped"})
_FAILED = frozenset({"failed", "deleted", "archived"})
_RUNNING = frozenset(
    {
        "unspecified",
        "validating",
        "pending",
        "creating",
        "creating_input_dataset",
        "running",
        "writing_results",
        "re_queueing",
        "idle",
        "paused",
        "cancelling",
        "deleting",
        "deleting_cleaning_up",
    }
)


class Fireworks(FileDialect):
    """OpenAI's real-time API, with Fireworks' own control plane."""

    def rows(self, at: Site, items: Sequence[Item]) -> Pieces:
        return edited_rows(items, lambda name: name != "model")

    def submit(self, at: Site, items: Sequence[Item], tag: str) -> Flow[Job]:
        account = yield from _account(at)
        dataset = f"b{tag}-in"
        made = {"datasetId": dataset, "dataset": {"userUploaded": {}, "exampleCount": str(len(items))}}
        created: Response = yield Call(_request("POST", at, f"{account}/datasets", made))
        if not created.ok and created.status != 409:  # 409: it exists already
            raise Refused(created)
        known = Call(_request("GET", at, f"{account}/datasets/{dataset}"))
        if created.ok or read_json((yield known)).get("state") != "READY":
            form = self.form(at, self.rows(at, items), tag)
            upload = Request("POST", f"{_plane(at)}/{account}/datasets/{dataset}:upload", form.request.headers)
            uploaded: Response = yield Call(upload, form.chunks)
            if not uploaded.ok:
                raise Refused(uploaded)
        for number in range(_LOOKS):
            if read_json((yield replace(known, pause=2.0 if number else 0.0))).get("state") == "READY":
                break
        else:
            raise Garbled("a dataset that never becomes ready")
        order = {
            "model": at.target.model,
            "inputDatasetId": f"{account}/datasets/{dataset}",
            "outputDatasetId": f"{account}/datasets/b{tag}-out",
            "displayName": f"batchling-{tag}",
        }
        path = f"{account}/batchInferenceJobs?batchInferenceJobId=b{tag}"
        job = read_json((yield Call(_request("POST", at, path, order), repeatable=False)))
        return Job(read_id(job, "name"))

    def poll(self, at: Site, job: Job) -> Flow[Status]:
        return _status(read_json((yield Call(_request("GET", at, _named(job))))))

    def poll_all(self, at: Site, jobs: Sequence[Job]) -> Flow[Mapping[str, Status]]:
        path = f"{_named(jobs[0]).rpartition('/')[0]}?pageSize={pages.page_size(jobs, 200)}"
        return pages.named_statuses(
            jobs, lambda place: _request("GET", at, path + place), "batchInferenceJobs", lambda job, _: _status(job)
        )

    def fetch(self, at: Site, job: Job, status: Status) -> Flow[None]:
        for output in status.outputs:
            path = "/".join(map(segment, output.split("/")))
            links = read_json((yield Call(_request("GET", at, f"{path}:getDownloadEndpoint"))))
            found = read_object(links.get("filenameToSignedUrls"))
            # The link is signed: it needs no credential, and must not receive one.
            calls = {name: Request("GET", read_link(link, at)) for name, link in found.items()}
            yield from every((read_rows(call), "error" not in name.lower()) for name, call in calls.items())

    def find(self, at: Site, tag: str, keys: Sequence[str], since: float, taken: frozenset[str]) -> Flow[Job | None]:
        account = yield from _account(at)
        response: Response = yield Call(_request("GET", at, f"{account}/batchInferenceJobs/b{tag}"))
        return None if response.status == 404 else Job(read_id(read_json(response), "name"))

    def cancel(self, at: Site, job: Job) -> Flow[None]:
        read_json((yield Call(_request("DELETE", at, _named(job)))))


def _plane(at: Site) -> str:
    """The root of the control plane, next to that of inference."""
    return at.target.base_url.removesuffix("/inference/v1") + "/v1"


def _request(method: str, at: Site, path: str, body: JSON = None) -> Request:
    if body is None:
        return Request(method, f"{_plane(at)}/{path}", at.headers)
    return Request(method, f"{_plane(at)}/{path}", (*at.headers, JSON_TYPE), msgspec.json.encode(body))


def _account(at: Site) -> Flow[str]:
    """The resource name of the key's account (`accounts/...`)."""
    accounts = read_objects(read_json((yield Call(_request("GET", at, "accounts")))).get("accounts"))
    name = read_text(accounts[0].get("name")) if accounts else None
    if name is None:
        raise Garbled("a key without an account")
    return f"accounts/{segment(name.removeprefix('accounts/'))}"


def _named(job: Job) -> str:
    return "/".join(map(segment, job.id.split("/")))


def _status(job: dict[str, JSON]) -> Status:
    word = str(job.get("state") or "").removeprefix("JOB_STATE_").lower()
    state = State.ENDED if word in _ENDED else State.FAILED if word in _FAILED else State.RUNNING
    progress = read_object(job.get("jobProgress"))
    output = read_text(job.get("outputDatasetId"))
    done = read_count(progress.get("successfullyProcessedRequests")) + read_count(progress.get("failedRequests"))
    message = read_text(read_object(job.get("status")).get("message"))
    return Status(
        state,
        word,
        done=done,
        total=read_count(progress.get("totalInputRequests")),
        # A job that finished no row has no output; a completed one has, whether or not it counts its rows.
        outputs=(output,) if output and state is not State.RUNNING and (done or word == "completed") else (),
        errors=(job_fault(message or "the job failed"),) if state is State.FAILED else (),
        expires_at=read_moment(job.get("expireTime")) or None,
        complete=word == "completed",
        known=state is not State.RUNNING or word in _RUNNING,
    )


FIREWORKS = Fireworks(
    name="fireworks",
    roots=("https://api.fireworks.ai/inference/v1",),
    endpoints=("/chat/completions",),
    limits=Limits(rows=50_000, bytes=149_000_000),
    facts=Facts(
        "Fireworks AI",
        "24 h",
        "the job's id, which is ours",
        "unknown",
        ("FIREWORKS_API_KEY",),
        cancel="yes, by deleting the job: finished rows are lost",
        prices="fireworks",
        # Separates cache entries (fireworks-ai 1.2).
        neutral=Neutral((*OPENAI_LABELS, "prompt_cache_isolation_key"), OPENAI_DIALECT.ids),
    ),
)
