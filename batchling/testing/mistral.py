"""Mistral's API at the embedded server.

Shapes: recorded traffic of August 2026; inline jobs name a file, too.
"""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from batchling.core.fingerprint import digest
from batchling.providers.samples import mistral as samples
from batchling.testing.dialects import ServerDialect, in_detail
from batchling.testing.openai_files import OpenAIFiles, json_object, reply, worded
from batchling.testing.state import Refusal, Served, ServerState, encode, page_size
from batchling.testing.streams import mistral_stream

_ENDPOINTS = (
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/fim/completions",
    "/v1/moderations",
    "/v1/chat/moderations",
    "/v1/classifications",
    "/v1/chat/classifications",
    "/v1/conversations",
    "/v1/ocr",
)
_ORDER = frozenset({"endpoint", "model", "metadata", "timeout_hours", "requests", "input_files"})
_FILES = ServerDialect("mistral", "/v1", (), complaint=in_detail)
_WORDS = {"expired": "TIMEOUT_EXCEEDED", "cancelled": "CANCELLED", "failed": "FAILED", "": "SUCCESS"}


class MistralApi:
    """The handlers below the path where Mistral is mounted."""

    name = "mistral"

    def __init__(self, shared: ServerState) -> None:
        self._shared = shared
        self.jobs: dict[str, Served] = {}
        self._files = OpenAIFiles(shared, self.account, _FILES)

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """The routes of every call that this API answers."""
        jobs = prefix + "/v1/batch/jobs"
        files = self._files.routes(prefix + "/v1")
        return [
            *(web.post(prefix + endpoint, self._real_time) for endpoint in _ENDPOINTS),
            *(web.route(each.method, each.path, worded(_FILES, each.handler)) for each in files),
            web.post(jobs, self._create),
            web.get(jobs, self._list),
            web.get(jobs + "/{id}", self._get),
            web.post(jobs + "/{id}/cancel", self._cancel),
        ]

    def creates(self, method: str, path: str) -> bool:
        """Whether this call creates a job."""
        return method == "POST" and path.endswith("/batch/jobs")

    def account(self, request: web.Request) -> str:
        """A digest of the caller's credential. Raises a 401 for a missing or refused key."""
        credential = request.headers.get("authorization", "")
        if not credential.startswith("Bearer ") or credential.startswith("Bearer sk-bad"):
            raise Refusal(reply({"detail": "Unauthorized"}, 401))
        return digest(credential)

    async def _real_time(self, request: web.Request) -> web.StreamResponse:
        account = self.account(request)
        endpoint = request.path.removeprefix("/mistral")
        body = await json_object(request)
        status, answer = self._answer(endpoint, body)
        if status != 200:
            return reply(answer, status)
        self._shared.bill(self.name, endpoint, account, body, answer, None)
        return await mistral_stream(request, endpoint, answer) if body.get("stream") else reply(answer)

    def _answer(self, endpoint: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if (fault := self._shared.row_fault_for(body)) is not None:
            return fault.status, fault.error
        return 200, samples.answer(endpoint, body)

    async def _create(self, request: web.Request) -> web.Response:
        account = self.account(request)
        order = await json_object(request)
        if unknown := set(order) - _ORDER:
            raise _refusal(f"{min(unknown)}: Extra inputs are not permitted")
        if order.get("endpoint") not in _ENDPOINTS or not order.get("model"):
            raise _refusal("endpoint and model are required")
        if ("requests" in order) == ("input_files" in order) or not 1 <= order.get("timeout_hours", 24) < 168:
            raise _refusal("either requests or input_files is required, and timeout_hours below 168")
        if "requests" in order:
            asked = order["requests"]
            file_id = self._files.add(account, "inline.jsonl", "batch", encode(asked))["id"]
        else:
            (file_id,) = order["input_files"]
            content = self._files.content_of(file_id, account)
            if content is None:
                raise _refusal("no such input file")
            asked = [msgspec.json.decode(line) for line in content.split(b"\n") if line]
        if any(set(row) != {"custom_id", "body"} or {"model", "stream"} & set(row["body"]) for row in asked):
            raise _refusal("a row has custom_id and body; model and stream are not for its body")
        rows = [(row["custom_id"], {**row["body"], "model": order["model"]}) for row in asked]
        if objection := self._shared.objection(rows, *(("upload", "create") if "requests" in order else ("create",))):
            raise Refusal(reply({"detail": objection.message}, objection.status))
        job = Served(f"ca1cd668-{self._shared.number():08d}", account, order["endpoint"], rows, self._shared.now())
        job.words = {"model": order["model"], "metadata": order.get("metadata"), "inline": "requests" in order}
        job.words["input"] = file_id
        job.fault = self._shared.job_fault_for(rows, "job")
        self.jobs[job.id] = job
        return reply(self._shown(job))

    def _job(self, request: web.Request) -> Served:
        job = self.jobs.get(request.match_info["id"])
        if job is None or job.account != self.account(request):
            raise Refusal(reply({"detail": "Job not found"}, 404))
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
        size = page_size(request, "page_size")
        start = int(request.query.get("page", 0)) * size
        page, more = self._shared.listed(jobs, start, size)
        total = start + len(page) + more
        return reply({"object": "list", "data": list(map(self._shown, page)), "total": max(total, len(jobs) * more)})

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
        job.over = _WORDS[word]
        good: list[tuple[str, bytes]] = []
        bad: list[tuple[str, bytes]] = []
        for key, body in job.rows[:done]:
            status, answer = self._answer(job.endpoint, {**body, "seed": key} if self._shared.varied else body)
            line: dict[str, Any] = {"id": f"batch-{key}", "custom_id": key}
            if status == 200:
                line |= {"response": {"status_code": 200, "body": answer}, "error": None}
                good.append((key, encode(line)))
                self._shared.bill(self.name, job.endpoint, job.account, body, answer, (key, job.id))
            else:
                text = answer["error"]["message"]
                bad.append((key, encode({**line, "response": {"status_code": status, "body": None}, "error": text})))
        job.counts = {"succeeded_requests": len(good), "failed_requests": len(bad), "completed_requests": done}
        for kind, rows in (("_output", good), ("_error", bad)):
            lines = self._shared.written(job, rows)
            job.lines += lines
            if rows and not job.words["inline"]:
                content = b"".join(line + b"\n" for line in lines)
                job.words[f"{kind[1:]}_file"] = self._files.add(job.account, kind[1:], "batch", content, kind)["id"]

    def _shown(self, job: Served) -> dict[str, Any]:
        early = "CANCELLATION_REQUESTED" if job.cancelled else "RUNNING" if job.polls else "QUEUED"
        return {
            "id": job.id,
            "object": "batch",
            "input_files": [job.words["input"]],
            "metadata": job.words["metadata"],
            "endpoint": job.endpoint,
            "model": job.words["model"],
            "agent_id": None,
            "output_file": job.words.get("output_file"),
            "error_file": job.words.get("error_file"),
            "errors": [{"message": job.reason.message, "count": len(job.rows)}] if job.reason else [],
            "outputs": [msgspec.Raw(line) for line in job.lines] if job.over and job.words["inline"] else None,
            "status": self._shared.ended(job.over) if job.over == _WORDS[""] else job.over or early,
            "created_at": int(job.created_at),
            "total_requests": len(job.rows) if job.polls else 0,
            "completed_requests": 0,
            "succeeded_requests": 0,
            "failed_requests": 0,
            **job.counts,
        }


def _refusal(message: str) -> Refusal:
    detail = [{"loc": ["body"], "msg": message, "type": "value_error"}]
    return Refusal(reply({"detail": detail}, 422))
