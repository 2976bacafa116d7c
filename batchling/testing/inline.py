"""OpenRouter's and Sference's APIs at the embedded server, with rows in the create call and results in the job."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import Any

import msgspec
from aiohttp import web

from batchling.core.fingerprint import digest
from batchling.providers.samples import anthropic as claude
from batchling.providers.samples import openai as samples
from batchling.testing.faults import Body, Row
from batchling.testing.openai_files import DAY
from batchling.testing.replies import encode, error, refusal, reply
from batchling.testing.served import ServedApi
from batchling.testing.state import Served, place_after

_MAX_ROWS = 5_000


class InlineApi(ServedApi):
    """What the two have in common."""

    root: str
    paths: tuple[str, ...] = ("/chat/completions",)
    created: int = 200
    """The status of a successful create call."""

    def routes(self, prefix: str) -> list[web.RouteDef]:
        jobs = prefix + self.root + "/batches"
        return [
            *(web.post(prefix + self.root + path, self.real_time) for path in self.paths),
            web.post(jobs, self._create),
            web.get(jobs, self._list),
            web.get(jobs + "/{id}", self._get),
        ]

    def _sample(self, endpoint: str, body: Body) -> tuple[int, Body]:
        body = {name: value for name, value in body.items() if name != "provider"}
        if endpoint == "/v1/messages":
            return 200, claude.answer(body)
        if endpoint == "/v1/chat/completions" and not body.get("messages"):
            return 400, error("Missing required parameter: 'messages'.", "messages")
        return 200, samples.answer(endpoint, body)

    async def _create(self, request: web.Request) -> web.Response:
        account = self.account(request)
        order = await self.body_of(request)
        self._check_order(order)
        rows = self._rows(order)
        self.check(rows, "upload", "create")
        job_id, endpoint = f"batch-{self._shared.number():08d}", order.get("endpoint", "/v1/chat/completions")
        fault = self._shared.job_fault_for(rows, "job")
        if fault is not None and not fault.done:
            self._check_fault(fault.message)
        job = self.new_job(job_id, account, endpoint, rows, model=order.get("model"))
        job.fault = fault
        return reply(self._shown(job), self.created)

    def _rows(self, order: Body) -> list[Row]:
        """The rows of a create call. Raises a 400 for those that are not as they should be."""
        rows: dict[str, Body] = {}
        for place, row in enumerate(order.get("requests") or []):
            if set(row) != {"custom_id", "body"} or not isinstance(row["body"], dict) or row["custom_id"] in rows:
                raise refusal(400, f"requests[{place}]: custom_id (unique) and body are required, and nothing else")
            self._check_row(place, row)
            if row["body"].get("model") not in (None, order.get("model", row["body"].get("model"))):
                raise refusal(400, f"requests[{place}]: another model than the batch's")
            rows[row["custom_id"]] = {**({"model": order["model"]} if "model" in order else {}), **row["body"]}
        if not rows or len(rows) > _MAX_ROWS:
            raise refusal(400, f"requests: between 1 and {_MAX_ROWS} are allowed")
        return list(rows.items())

    @abstractmethod
    async def _list(self, request: web.Request) -> web.Response:
        """Answer a call that lists jobs."""

    @abstractmethod
    def _check_order(self, order: Body) -> None:
        """Refuse a create call in which something other than a row is wrong."""

    def _check_row(self, place: int, row: Body) -> None:
        """Refuse a row."""

    def _check_fault(self, message: str) -> None:
        """Refuse a job that would fail before any row has run, where the provider checks all rows at once."""

    def _finish(self, job: Served, ending: str, done: int) -> None:
        job.over = ending or "completed"
        good, lines = self._lines(job, done, self._line)
        if ending != "failed":
            lines += [(key, encode(self._never_ran(key, ending))) for key, _ in job.rows[done:]]
        job.counts = {"completed": good, "failed": len(job.rows) - good}
        job.lines = self._shared.written(job, lines)

    @abstractmethod
    def _line(self, key: str, status: int, answer: Body) -> Body:
        """The result of a row that has run."""

    @abstractmethod
    def _never_ran(self, key: str, ending: str) -> Body:
        """The result of a row that has not run by the end of its job."""


class OpenRouterApi(InlineApi):
    """The handlers below the path where OpenRouter is mounted."""

    name = "openrouter"
    root = "/api/v1"
    paths: tuple[str, ...] = ("/chat/completions", "/embeddings", "/responses", "/messages")
    created = 202

    def _check_order(self, order: Body) -> None:
        """OpenRouter reads the call as it comes in, so the order of keys matters."""
        allowed = ["endpoint", "model", "callback_url", "completion_window", "provider", "requests"]
        if set(order) - set(allowed) or list(order)[-1:] != ["requests"]:
            raise refusal(400, "endpoint, model and callback_url must come before requests")
        if order.get("endpoint") not in {"/v1" + path for path in self.paths}:
            raise refusal(400, "endpoint is not supported")
        formats = [encode(row["body"].get("response_format")) for row in order["requests"] or () if row.get("body")]
        if str(order.get("model")).startswith("google/") and len(set(formats)) > 1:
            raise refusal(400, "Google models take one response_format a batch")
        if not order.get("model") or order.get("completion_window") not in (None, "24h"):
            raise refusal(400, "model is required, and completion_window must be 24h")

    async def _get(self, request: web.Request) -> web.Response:
        job = self.find_job(request)
        self.go_on(job)
        rows = [msgspec.Raw(line) for line in job.lines] if job.lines else None
        return reply({**self._shown(job), "results": rows})

    async def _list(self, request: web.Request) -> web.Response:
        jobs = self.jobs_of(self.account(request))
        size = self._shared.page_size(request.query.get("limit", ""))
        page, more = self.page(jobs, place_after(jobs, request.query.get("after")), size)
        ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {}
        return reply({"data": page, **ends, "has_more": bool(more)})

    def _line(self, key: str, status: int, answer: Body) -> Body:
        payload = {"status_code": status, "request_id": f"req_{digest(key)}", "body": answer}
        return {"id": f"r-{digest(key)}", "custom_id": key, "response": payload, "error": None}

    def _never_ran(self, key: str, ending: str) -> Body:
        failure = {"code": f"batch_{ending}", "message": "not run", "type": "batch_error", "param": None}
        return {"id": f"r-{digest(key)}", "custom_id": key, "response": None, "error": failure}

    def _shown(self, job: Served) -> Body:
        return {
            "id": job.id,
            "object": "batch",
            "endpoint": job.endpoint,
            "model": job.words["model"],
            "status": self._shared.ended(job.over, "completed") or ("in_progress" if job.polls else "validating"),
            "completion_window": "24h",
            "created_at": int(job.created_at),
            "expires_at": int(job.created_at) + DAY,
            "request_counts": {"total": len(job.rows), "completed": 0, "failed": 0, **job.counts},
            "results": None,
            "error": job.reason.words() if job.reason else None,
        }


class SferenceApi(InlineApi):
    """The handlers below the path where Sference is mounted."""

    name = "sference"
    root = "/v1"

    def routes(self, prefix: str) -> list[web.RouteDef]:
        own = prefix + self.root + "/batches/{id}"
        more = [web.get(own + "/results", self._results), web.post(own + "/cancel", self._cancel)]
        return [*super().routes(prefix), *more]

    def _check_order(self, order: Body) -> None:
        if set(order) != {"window", "requests"} or order["window"] != "24h":
            raise refusal(400, "window must be 24h")

    def _check_row(self, place: int, row: Body) -> None:
        if not row["body"].get("model"):
            raise refusal(400, f"requests[{place}]: {row['custom_id']}: model is required")

    def _check_fault(self, message: str) -> None:
        raise refusal(400, message)

    async def _list(self, request: web.Request) -> web.Response:
        jobs = self.jobs_of(self.account(request))
        return reply({"items": self.page(jobs, 0, len(jobs))[0]})

    async def _results(self, request: web.Request) -> web.Response:
        job = self.find_job(request)
        if not job.over:
            raise refusal(404, "The batch has no results yet")
        rows = [msgspec.Raw(line) for line in job.lines]
        return reply({"batch_id": job.id, "status": job.over, "output_url": None, "results": rows})

    def _line(self, key: str, status: int, answer: Body) -> Body:
        if status == 200:
            return {"custom_id": key, "status": "completed", "result_json": answer, "error_json": None}
        failure: Any = {"message": answer.get("error", {}).get("message"), "status_code": status}
        return {"custom_id": key, "status": "failed", "result_json": None, "error_json": failure}

    def _never_ran(self, key: str, ending: str) -> Body:
        return {"custom_id": key, "status": ending, "result_json": None, "error_json": None}

    def _shown(self, job: Served) -> Body:
        word = self._shared.ended(job.over, "completed").replace("expired", "completed")
        return {
            "id": job.id,
            "status": word or ("running" if job.polls else "pending"),
            "window": "24h",
            "request_count": len(job.rows),
            "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(job.created_at)),
            "total_tokens": 0,
        }
