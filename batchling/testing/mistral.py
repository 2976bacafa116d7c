"""Mistral's API at the embedded server.

Shapes: recorded traffic of August 2026; inline jobs name a file, too.
"""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from batchling.providers.samples import mistral as samples
from batchling.testing.dialect import ServerDialect
from batchling.testing.faults import Body
from batchling.testing.openai_files import OpenAIFiles, worded
from batchling.testing.replies import Refusal, encode, jsonl, reply
from batchling.testing.served import ServedApi
from batchling.testing.state import Line, Served, ServerState
from batchling.testing.streams import mistral_stream
from batchling.testing.wordings import in_detail

_CLASSIFIED = ("moderations", "classifications", "chat/moderations", "chat/classifications")
_PATHS = ("chat/completions", "embeddings", "fim/completions", "conversations", "ocr", *_CLASSIFIED)
_ENDPOINTS = tuple(f"/v1/{path}" for path in _PATHS)
_ORDER = frozenset({"endpoint", "model", "metadata", "timeout_hours", "requests", "input_files"})
_FILES = ServerDialect("mistral", "/v1", (), complaint=in_detail)
_WORDS = {"expired": "TIMEOUT_EXCEEDED", "cancelled": "CANCELLED", "failed": "FAILED", "": "SUCCESS"}


class MistralApi(ServedApi):
    """The handlers below the path where Mistral is mounted."""

    name = "mistral"
    creating: tuple[str, ...] = ("/batch/jobs",)
    no_key: tuple[int, str] = (401, "Unauthorized")
    no_job: str = "Job not found"

    def __init__(self, shared: ServerState) -> None:
        super().__init__(shared)
        self._files = OpenAIFiles(shared, self.account, _FILES)

    def routes(self, prefix: str) -> list[web.RouteDef]:
        jobs = prefix + "/v1/batch/jobs"
        return [
            *(web.post(prefix + endpoint, self.real_time) for endpoint in _ENDPOINTS),
            *worded(_FILES, self._files.routes(prefix + "/v1")),
            web.post(jobs, self._create),
            web.get(jobs, self._list),
            web.get(jobs + "/{id}", self._get),
            web.post(jobs + "/{id}/cancel", self._cancel),
        ]

    def refusal(self, status: int, message: str, param: str | None = None, code: str | None = None) -> Refusal:
        return Refusal(reply({"detail": message}, status))

    async def _stream(self, request: web.Request, endpoint: str, body: Body, answer: Body) -> web.StreamResponse:
        return await mistral_stream(request, endpoint, answer)

    def _sample(self, endpoint: str, body: Body) -> tuple[int, Body]:
        return 200, samples.answer(endpoint, body)

    async def _create(self, request: web.Request) -> web.Response:
        account = self.account(request)
        order = await self.body_of(request)
        _check_order(order)
        inline = "requests" in order
        if inline:
            asked = order["requests"]
            file_id = self._files.add(account, "inline.jsonl", "batch", encode(asked))["id"]
        else:
            (file_id,) = order["input_files"]
            content = self._files.content_of(file_id, account)
            if content is None:
                raise _invalid("no such input file")
            asked = [msgspec.json.decode(line) for line in content.split(b"\n") if line]
        if any(set(row) != {"custom_id", "body"} or {"model", "stream"} & set(row["body"]) for row in asked):
            raise _invalid("a row has custom_id and body; model and stream are not for its body")
        model, metadata = order["model"], order.get("metadata")
        rows = [(row["custom_id"], {**row["body"], "model": model}) for row in asked]
        self.check(rows, *(("upload", "create") if inline else ("create",)))
        job_id = f"ca1cd668-{self._shared.number():08d}"
        words = {"model": model, "metadata": metadata, "inline": inline, "input": file_id}
        job = self.new_job(job_id, account, order["endpoint"], rows, **words)
        job.fault = self._shared.job_fault_for(rows, "job")
        return reply(self._shown(job))

    async def _list(self, request: web.Request) -> web.Response:
        words = request.query.getall("status", [])
        jobs = [job for job in self.jobs_of(self.account(request)) if not words or self._word(job) in words]
        size = self._shared.page_size(request.query.get("page_size", ""))
        start = int(request.query.get("page", 0)) * size
        page, more = self.page(jobs, start, size)
        total = start + len(page) + bool(more)
        return reply({"object": "list", "data": page, "total": max(total, len(jobs) * bool(more))})

    def _finish(self, job: Served, ending: str, done: int) -> None:
        job.over = _WORDS[ending]
        good: list[Line] = []
        bad: list[Line] = []
        for key, status, answer in self._run(job, done):
            line: dict[str, Any] = {"id": f"batch-{key}", "custom_id": key}
            if status == 200:
                line |= {"response": {"status_code": 200, "body": answer}, "error": None}
                good.append((key, encode(line)))
            else:
                text = answer["error"]["message"]
                bad.append((key, encode({**line, "response": {"status_code": status, "body": None}, "error": text})))
        job.counts = {"succeeded_requests": len(good), "failed_requests": len(bad), "completed_requests": done}
        for kind, rows in (("_output", good), ("_error", bad)):
            lines = self._shared.written(job, rows)
            job.lines += lines
            if rows and not job.words["inline"]:
                file = self._files.add(job.account, kind[1:], "batch", jsonl(lines), kind)
                job.words[f"{kind[1:]}_file"] = file["id"]

    def _word(self, job: Served) -> str:
        early = "CANCELLATION_REQUESTED" if job.cancelled else "RUNNING" if job.polls else "QUEUED"
        return self._shared.ended(job.over, _WORDS[""]) or early

    def _shown(self, job: Served) -> Body:
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
            "status": self._word(job),
            "created_at": int(job.created_at),
            "total_requests": len(job.rows) if job.polls else 0,
            "completed_requests": 0,
            "succeeded_requests": 0,
            "failed_requests": 0,
            **job.counts,
        }


def _check_order(order: Body) -> None:
    if unknown := set(order) - _ORDER:
        raise _invalid(f"{min(unknown)}: Extra inputs are not permitted")
    if order.get("endpoint") not in _ENDPOINTS or not order.get("model"):
        raise _invalid("endpoint and model are required")
    if ("requests" in order) == ("input_files" in order) or not 1 <= order.get("timeout_hours", 24) < 168:
        raise _invalid("either requests or input_files is required, and timeout_hours below 168")


def _invalid(message: str) -> Refusal:
    detail = [{"loc": ["body"], "msg": message, "type": "value_error"}]
    return Refusal(reply({"detail": detail}, 422))
