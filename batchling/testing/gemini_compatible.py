"""Gemini's OpenAI-compatible calls at the embedded server, over the same jobs and files as its own API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from batchling.providers.samples import openai
from batchling.testing.dialects import ServerDialect
from batchling.testing.gemini_errors import refused
from batchling.testing.openai_files import json_object, reply
from batchling.testing.openai_rows import BadLine, read_rows
from batchling.testing.state import Served, ServerState
from batchling.testing.streams import openai_stream

if TYPE_CHECKING:
    from batchling.testing.gemini import GeminiApi

_COMPATIBLE = ServerDialect("gemini-openai", "/v1beta/openai", ("/chat/completions", "/embeddings"))


class Compatible:
    """Handlers in addition to those of a `GeminiApi`."""

    def __init__(self, api: GeminiApi, shared: ServerState) -> None:
        self._api = api
        self._shared = shared

    def routes(self, root: str) -> list[web.RouteDef]:
        """Every call below `/v1beta/openai`."""
        return [
            web.post(root + "/chat/completions", self._call),
            web.post(root + "/embeddings", self._call),
            web.post(root + "/batches", self._create),
            web.get(root + "/batches", self._list),
            web.get(root + "/batches/{id}", self._get),
            web.post(root + "/batches/{id}/cancel", self._cancel),
        ]

    async def _call(self, request: web.Request) -> web.StreamResponse:
        account = self._api.account(request)
        endpoint = "/v1" + request.path.partition("/openai")[2]
        body = await json_object(request)
        status, found = answer(self._shared, endpoint, body)
        if status != 200:
            return reply(found, status)
        self._shared.bill(self._api.name, endpoint, account, body, found, None)
        return await openai_stream(request, endpoint, body, found) if body.get("stream") else reply(found)

    async def _create(self, request: web.Request) -> web.Response:
        account = self._api.account(request)
        order = await json_object(request)
        name = str(order.get("input_file_id"))
        if set(order) != {"input_file_id", "endpoint", "completion_window"} or name not in self._api.contents:
            raise refused(400, "input_file_id, endpoint and completion_window are required, and nothing else")
        self._api.check(self._api.contents[name], "create")
        job = self._api.new_job(account, order["endpoint"], [])
        job.words = {"input_file_id": name}
        job.fault = self._shared.job_fault_for(self._api.contents[name], "job")
        try:
            if job.fault is None or job.fault.done:
                job.rows = read_rows(_COMPATIBLE, job.endpoint, self._api.contents[name], {})
        except BadLine as bad:
            job.fault = bad.fault
        return reply(self._as_openai(job))

    async def _get(self, request: web.Request) -> web.Response:
        job = self._api.find_job(request)
        self._api.go_on(job)
        return reply(self._as_openai(job))

    async def _list(self, request: web.Request) -> web.Response:
        jobs = self._api.jobs_of(self._api.account(request))
        found, more = self._shared.listed(jobs, 0, len(jobs))
        return reply({"object": "list", "data": [self._as_openai(job) for job in found], "has_more": more})

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self._api.find_job(request)
        job.cancelled = True
        return reply(self._as_openai(job))

    def _as_openai(self, job: Served) -> dict[str, Any]:
        over = "completed" if self._api.over(job) == "succeeded" else self._api.over(job)
        return {
            "id": f"batches/{job.id}",
            "object": "batch",
            "endpoint": job.endpoint,
            "input_file_id": job.words["input_file_id"],
            "status": over or ("in_progress" if job.polls else "validating"),
            "output_file_id": job.words.get("responsesFile"),
            "errors": {"object": "list", "data": [job.reason.words()]} if job.reason else None,
            "created_at": int(job.created_at),
            "request_counts": {
                "total": len(job.rows),
                "completed": job.counts.get("successfulRequestCount", 0),
                "failed": job.counts.get("failedRequestCount", 0),
            },
        }


def answer(shared: ServerState, endpoint: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """The answer to a compatible call, in real time and in a batch."""
    if (fault := shared.row_fault_for(body)) is not None:
        return fault.status, fault.error
    return 200, openai.answer(endpoint, body)
