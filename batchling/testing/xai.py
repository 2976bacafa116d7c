"""xAI's API at the embedded server: no status, only dates; pages of results.

Shapes: recorded traffic of August 2026.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec
from aiohttp import web

from batchling.core.fingerprint import digest
from batchling.providers.samples import openai as samples
from batchling.testing.dialects import ServerDialect
from batchling.testing.openai_files import OpenAIFiles, json_object, reply, worded
from batchling.testing.openai_rows import BadLine, read_rows
from batchling.testing.state import Body, Refusal, Served, ServerState, encode, page_size
from batchling.testing.streams import openai_stream


def _in_words(status: int, said: Body) -> Body:
    error = said["error"]  # already in xAI's own wording, where its API refuses a key
    return said if isinstance(error, str) else {"code": "Some error", "error": error["message"]}


_ACCENT = ServerDialect("xai", "/v1", ("/chat/completions",), complaint=_in_words)


class XaiApi:
    """The handlers below the path where xAI is mounted."""

    name = "xai"

    def __init__(self, shared: ServerState) -> None:
        self._shared = shared
        self.jobs: dict[str, Served] = {}
        self._files = OpenAIFiles(shared, self.account, _ACCENT)

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """The routes of every call that this API answers."""
        jobs = prefix + "/v1/batches"
        files = self._files.routes(prefix + "/v1")
        return [
            web.post(prefix + "/v1/chat/completions", self._real_time),
            *(web.route(each.method, each.path, worded(_ACCENT, each.handler)) for each in files),
            web.post(jobs, self._create),
            web.get(jobs, self._list),
            web.get(jobs + "/{id}", self._get),
            web.get(jobs + "/{id}/results", self._results),
            web.post(jobs + "/{id}:cancel", self._cancel),
        ]

    def creates(self, method: str, path: str) -> bool:
        """Whether this call creates a job."""
        return method == "POST" and path.endswith("/batches")

    def account(self, request: web.Request) -> str:
        """A digest of the caller's credential. Raises a 400 for a missing or refused key."""
        credential = request.headers.get("authorization", "")
        if not credential.startswith("Bearer ") or credential.startswith("Bearer sk-bad"):
            raise _refusal(400, "Incorrect API key provided")
        return digest(credential)

    async def _real_time(self, request: web.Request) -> web.StreamResponse:
        account = self.account(request)
        body = await json_object(request)
        status, answer = self._answer(body)
        if status != 200:
            return reply(answer, status)
        self._shared.bill(self.name, "/v1/chat/completions", account, body, answer, None)
        return (
            await openai_stream(request, "/v1/chat/completions", body, answer) if body.get("stream") else reply(answer)
        )

    def _answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if (fault := self._shared.row_fault_for(body)) is not None:
            return fault.status, fault.error
        return 200, samples.answer("/v1/chat/completions", body)

    async def _create(self, request: web.Request) -> web.Response:
        account = self.account(request)
        order = await json_object(request)
        if set(order) != {"name", "input_file_id"}:
            raise _refusal(400, "name and input_file_id are required, and nothing else")
        content = self._files.content_of(order["input_file_id"], account)
        if content is None:
            raise _refusal(404, "no such file")
        if objection := self._shared.objection(content, "create"):
            raise _refusal(objection.status, objection.message)
        job = Served(f"batch_{self._shared.number():08d}", account, "/v1/chat/completions", [], self._shared.now())
        job.words = {"name": order["name"], "input_file_id": order["input_file_id"]}
        job.fault = self._shared.job_fault_for(content, "job")
        try:
            if job.fault is None or job.fault.done:
                job.rows = read_rows(_ACCENT, job.endpoint, content, {})
        except BadLine as bad:
            job.fault = bad.fault
        self.jobs[job.id] = job
        return reply(self._shown(job))

    def _job(self, request: web.Request) -> Served:
        job = self.jobs.get(request.match_info["id"])
        if job is None or job.account != self.account(request):
            raise _refusal(404, "Batch not found")
        return job

    async def _get(self, request: web.Request) -> web.Response:
        job = self._job(request)
        self._go_on(job)
        return reply(self._shown(job))

    async def _list(self, request: web.Request) -> web.Response:
        account = self.account(request)
        jobs = [job for job in reversed(self.jobs.values()) if job.account == account]
        for job in jobs:
            self._go_on(job)
        start, size = int(request.query.get("pagination_token") or 0), page_size(request)
        page, more = self._shared.listed(jobs, start, size)
        return reply({"batches": list(map(self._shown, page)), "pagination_token": str(start + size) if more else None})

    async def _results(self, request: web.Request) -> web.Response:
        job = self._job(request)
        if not job.words.get("looked"):  # its store shows the results a little later
            job.words["looked"] = True
            return reply({"results": [], "pagination_token": None})
        page, token = _page(request, job.lines)
        return reply({"results": [msgspec.Raw(line) for line in page], "pagination_token": token})

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self._job(request)
        job.cancelled = not job.over
        return reply(self._shown(job))

    def _go_on(self, job: Served) -> None:
        """Advance the job; called whenever a client looks at it."""
        job.polls += 1
        if not job.over and self._shared.ready(job):
            self._finish(job)

    def _finish(self, job: Served) -> None:
        word, done = self._shared.ending(job)
        job.over = word or "done"
        lines: list[tuple[str, bytes]] = []
        good = 0
        for place, (key, body) in enumerate(job.rows):
            status = 0
            answer: dict[str, Any] = {}
            if place >= done and word == "failed":
                break
            if place < done:
                status, answer = self._answer({**body, "seed": key} if self._shared.varied else body)
            result: dict[str, Any] = {"response": {"chat_get_completion": answer}}
            if status == 200:
                good += 1
                self._shared.bill(self.name, job.endpoint, job.account, body, answer, (key, job.id))
            else:
                result = {"error": answer["error"]["message"] if status else "Request was cancelled"}
            lines.append((key, encode({"batch_request_id": key, "batch_result": result})))
        job.counts = {"num_success": good, "num_error": done - good, "num_cancelled": len(job.rows) - done}
        job.lines = self._shared.written(job, lines)

    def _shown(self, job: Served) -> dict[str, Any]:
        known = len(job.rows) if job.polls else 0
        counts = {"num_requests": known, "num_pending": known, "num_success": 0, "num_error": 0, "num_cancelled": 0}
        if job.over:
            counts |= {"num_pending": 0, **job.counts}
        if job.counts.get("num_cancelled") and not job.words.get("counted"):  # the counters change later
            job.words["counted"] = True
            counts |= {"num_success": 0, "num_cancelled": 0}
        day = time.strftime("%Y-%m-%d", time.gmtime(job.created_at))
        return {
            "batch_id": job.id,
            "name": job.words["name"],
            "create_time": day,
            "expire_time": day,
            "create_api_key_id": "k",
            "cancel_time": day if job.over in ("cancelled", "expired") or job.cancelled else None,
            "cancel_by_xai_message": job.reason.message if job.reason else None,
            "state": counts,
            "input_file_id": job.words["input_file_id"],
        }


def _page(request: web.Request, items: list[Any]) -> tuple[list[Any], str | None]:
    start = int(request.query.get("pagination_token") or 0)
    end = start + page_size(request)
    return items[start:end], str(end) if end < len(items) else None


def _refusal(status: int, message: str) -> Refusal:
    return Refusal(reply({"code": "Some error", "error": message}, status))
