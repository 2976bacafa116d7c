"""Gemini's OpenAI-compatible calls at the embedded server, over the same jobs and files as its own API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from batchling.testing.dialect import ServerDialect
from batchling.testing.faults import Body
from batchling.testing.google_wordings import refused
from batchling.testing.openai_rows import load_rows
from batchling.testing.replies import reply
from batchling.testing.state import Served, ServerState

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
            web.post(root + "/chat/completions", self._api.real_time),
            web.post(root + "/embeddings", self._api.real_time),
            web.post(root + "/batches", self._create),
            web.get(root + "/batches", self._list),
            web.get(root + "/batches/{id}", self._get),
            web.post(root + "/batches/{id}/cancel", self._cancel),
        ]

    async def _create(self, request: web.Request) -> web.Response:
        account = self._api.account(request)
        order = await self._api.body_of(request)
        name, contents = str(order.get("input_file_id")), self._api.files.contents
        if set(order) != {"input_file_id", "endpoint", "completion_window"} or name not in contents:
            raise refused(400, "input_file_id, endpoint and completion_window are required, and nothing else")
        self._api.check(contents[name], "create")
        job = self._api.new_job(self._api.new_id(), account, order["endpoint"], [], input_file_id=name)
        load_rows(self._shared, _COMPATIBLE, job, contents[name])
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

    def _as_openai(self, job: Served) -> Body:
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
