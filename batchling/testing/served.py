"""What the embedded server's APIs share: how a call is read, and how jobs are found, listed, advanced and run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from aiohttp import web

from batchling.core.fingerprint import digest
from batchling.testing.faults import Body, Row, Stage
from batchling.testing.replies import Refusal, encode, refusal, reply
from batchling.testing.state import Line, Served, ServerState
from batchling.testing.streams import openai_stream


class ServedApi(ABC):
    """One provider's API. Handlers run on the server's loop; where a subclass does not say otherwise, errors, real-time
    calls and rows are as at OpenAI."""

    name: str
    creating: tuple[str, ...] = ("/batches",)
    """How the paths of the calls that create a job end."""
    no_key: tuple[int, str] = (401, "No auth credentials found")
    """Status and message for a missing or refused key."""
    no_job: str = "Batch not found"
    """The message for a job that the account does not have."""

    def __init__(self, shared: ServerState) -> None:
        self._shared = shared
        self.jobs: dict[str, Served] = {}

    @abstractmethod
    def routes(self, prefix: str) -> list[web.RouteDef]:
        """All routes of this API, below `prefix`."""

    def creates(self, method: str, path: str) -> bool:
        """Whether this call creates a job."""
        return method == "POST" and path.endswith(self.creating)

    # Calls.

    def account(self, request: web.Request) -> str:
        """A digest of the caller's credential. Raises `Refusal` for a missing or refused key."""
        credential = request.headers.get("authorization", "")
        if not credential.startswith("Bearer ") or credential.startswith("Bearer sk-bad"):
            raise self._refused_key()
        return digest(credential)

    def _refused_key(self) -> Refusal:
        return self.refusal(*self.no_key)

    def refusal(self, status: int, message: str, param: str | None = None, code: str | None = None) -> Refusal:
        """A refusal in the provider's wording, for a handler to raise."""
        return refusal(status, message, param, code)

    def _not_json(self) -> Refusal:
        return refusal(400, "We could not parse the JSON body of your request.")

    async def body_of(self, request: web.Request) -> Body:
        """The JSON object in a call's body. Raises `Refusal` if there is none."""
        try:
            body = msgspec.json.decode(await request.read())
        except msgspec.MsgspecError:
            body = None
        if not isinstance(body, dict):
            raise self._not_json()
        return body

    def check(self, rows: bytes | Sequence[Row], *stages: Stage) -> None:
        """Refuse rows, or an input file, to which the provider objects at one of these stages."""
        if objection := self._shared.objection(rows, *stages):
            raise self.refusal(objection.status, objection.message, objection.param, objection.code)

    # Answers, in real time and in a batch.

    async def real_time(self, request: web.Request) -> web.StreamResponse:
        """Answer a call in real time, as a stream if it requests one."""
        account, endpoint = self.account(request), self._endpoint_of(request)
        body = await self.body_of(request)
        status, answer = self._answer(endpoint, body)
        if status != 200:
            return reply(answer, status)
        self._shared.bill(self.name, endpoint, account, body, answer, None)
        return await self._stream(request, endpoint, body, answer) if body.get("stream") else reply(answer)

    def _endpoint_of(self, request: web.Request) -> str:
        return "/v1/" + request.path.partition("/v1/")[2]

    async def _stream(self, request: web.Request, endpoint: str, body: Body, answer: Body) -> web.StreamResponse:
        return await openai_stream(request, endpoint, body, answer)

    def _answer(self, endpoint: str, body: Body) -> tuple[int, Body]:
        """Status and body of the answer to a request."""
        if (fault := self._shared.row_fault_for(body)) is not None:
            return fault.status, fault.error
        return self._sample(endpoint, body)

    @abstractmethod
    def _sample(self, endpoint: str, body: Body) -> tuple[int, Body]:
        """The same, for a request that no fault concerns."""

    def _run(self, job: Served, done: int) -> Iterator[tuple[str, int, Body]]:
        """Key, status and answer of the first `done` rows of a job; those that succeed are billed."""
        for key, body in job.rows[:done]:
            status, answer = self._answer_row(job, key, self._varied(job, key, body) if self._shared.varied else body)
            if status == 200:
                endpoint, charged = self._charged(job, key, body)
                self._shared.bill(self.name, endpoint, job.account, charged, answer, (key, job.id))
            yield key, status, answer

    def _lines(self, job: Served, done: int, line: Callable[[str, int, Body], Body]) -> tuple[int, list[Line]]:
        """Run the first `done` rows: how many succeed, and what `line` makes of key, status and answer of each."""
        ran = list(self._run(job, done))
        lines = [(key, encode(line(key, status, answer))) for key, status, answer in ran]
        return sum(status == 200 for _, status, _ in ran), lines

    def _answer_row(self, job: Served, key: str, body: Body) -> tuple[int, Body]:
        return self._answer(job.endpoint, body)

    def _varied(self, job: Served, key: str, body: Body) -> Body:
        """A row with what makes its answer differ from that of an equal row."""
        return {**body, "seed": key}

    def _charged(self, job: Served, key: str, body: Body) -> tuple[str, Body]:
        """The endpoint and the body with which a row is billed."""
        return job.endpoint, body

    # Jobs.

    def new_job(self, job_id: str, account: str, endpoint: str, rows: list[Row], **words: Any) -> Served:
        """A job that has just been created."""
        job = Served(job_id, account, endpoint, rows, self._shared.now(), words)
        self.jobs[job.id] = job
        return job

    def find_job(self, request: web.Request) -> Served:
        """The job that a call is about. Raises `Refusal` if the account has none with this id."""
        job = self.jobs.get(request.match_info["id"])
        if job is None or job.account != self.account(request):
            raise self.refusal(404, self.no_job.format(id=request.match_info["id"]))
        return job

    def jobs_of(self, account: str, **words: Any) -> list[Served]:
        """The jobs of an account which have these words, the newest first, each advanced."""
        jobs = [job for job in reversed(self.jobs.values()) if job.account == account]
        jobs = [job for job in jobs if words.items() <= job.words.items()]
        for job in jobs:
            self.go_on(job)
        return jobs

    def page(self, jobs: list[Served], start: int, size: int) -> tuple[list[Body], str]:
        """A page of a list of jobs, and the position at which the next page begins; "" for the last page."""
        found, more = self._shared.listed(jobs, start, size)
        return [self._shown(job) for job in found], str(start + size) if more else ""

    def go_on(self, job: Served) -> None:
        """Advance the job; called whenever a client looks at it."""
        job.polls += 1
        if not job.over and self._shared.ready(job):
            self._finish(job, *self._shared.ending(job))

    @abstractmethod
    def _finish(self, job: Served, ending: str, done: int) -> None:
        """Run the first `done` rows and end the job; `ending` is how it ends, "" for success."""

    @abstractmethod
    def _shown(self, job: Served) -> Body:
        """The job as the API describes it."""

    async def _get(self, request: web.Request) -> web.Response:
        job = self.find_job(request)
        self.go_on(job)
        return reply(self._shown(job))

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self.find_job(request)
        job.cancelled = not job.over
        return reply(self._shown(job))
