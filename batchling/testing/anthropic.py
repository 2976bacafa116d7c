"""Anthropic's Messages and Message Batches APIs at the embedded server, as strict as the original.

Shapes: recorded traffic of 2025 and 2026. Only the envelope is checked when a batch is created; bad parameters result
in errored rows.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from aiohttp import web

from batchling.core.fingerprint import digest
from batchling.providers.samples import anthropic as samples
from batchling.testing.faults import Body, Row
from batchling.testing.hosts import outer_url
from batchling.testing.replies import Refusal, encode, reply
from batchling.testing.served import ServedApi
from batchling.testing.state import Served, place_after

_KEY = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MAX_ROWS = 100_000
_DAY = 86_400
_RESULTS = ("succeeded", "errored", "canceled", "expired")
_TYPES = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


class AnthropicApi(ServedApi):
    """The handlers below `/anthropic/v1`."""

    name = "anthropic"
    no_job: str = "Batch `{id}` not found"

    def routes(self, prefix: str) -> list[web.RouteDef]:
        root = prefix + "/v1/messages"
        return [
            web.post(root, self.real_time),
            web.post(root + "/count_tokens", self._count),
            web.post(root + "/batches", self._create),
            web.get(root + "/batches", self._list),
            web.get(root + "/batches/{id}", self._get),
            web.delete(root + "/batches/{id}", self._delete),
            web.get(root + "/batches/{id}/results", self._results),
            web.post(root + "/batches/{id}/cancel", self._cancel),
        ]

    def account(self, request: web.Request) -> str:
        """A digest of the caller's credential. Raises a 401 for a missing, doubled or refused key, and a 400 for a
        missing version."""
        key = request.headers.get("x-api-key", "")
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        if bool(key) == bool(bearer) or (key or bearer).startswith("sk-bad"):
            raise self.refusal(401, "invalid x-api-key")
        if not request.headers.get("anthropic-version"):
            raise self.refusal(400, "anthropic-version: header is required")
        return digest(key or bearer, request.headers.get("anthropic-workspace-id", ""))

    def refusal(self, status: int, message: str, param: str | None = None, code: str | None = None) -> Refusal:
        body = {**_error(status, message), "request_id": f"req_{digest(message)[:24]}"}
        return Refusal(reply(body, status))

    def _not_json(self) -> Refusal:
        return self.refusal(400, "The request body is not valid JSON")

    def _sample(self, endpoint: str, body: Body) -> tuple[int, Body]:
        if not body.get("messages"):
            return 400, _error(400, "messages: at least one message is required")
        if not isinstance(body.get("max_tokens"), int):
            return 400, _error(400, "max_tokens: Field required")
        if body["max_tokens"] > 300_000:
            return 400, _error(400, f"max_tokens: {body['max_tokens']} > 300000, which is the maximum allowed")
        return 200, samples.answer(body)

    async def _count(self, request: web.Request) -> web.Response:
        self.account(request)
        return reply({"input_tokens": samples.answer(await self.body_of(request))["usage"]["input_tokens"]})

    async def _create(self, request: web.Request) -> web.Response:
        account = self.account(request)
        rows = self._rows(await self.body_of(request))
        self.check(rows, "upload", "create", "job")
        job = self.new_job(f"msgbatch_{self._shared.number():024d}", account, "/v1/messages", rows)
        return reply(_placed(request, self._shown(job)))

    def _rows(self, order: Body) -> list[Row]:
        """The rows of a create call. Raises a 400 for those that are not as they should be."""
        rows: list[Row] = []
        keys: set[str] = set()
        for place, row in enumerate(order.get("requests") or []):
            if not isinstance(row, dict):
                raise self.refusal(400, f"requests.{place}: Input should be an object")
            key, params = row.get("custom_id"), row.get("params")
            if not isinstance(key, str) or not _KEY.fullmatch(key):
                raise self.refusal(400, f"requests.{place}.custom_id: String should match pattern '^{_KEY.pattern}$'")
            if not isinstance(params, dict):
                raise self.refusal(400, f"requests.{place}.params: Field required")
            if key in keys:
                raise self.refusal(400, f"requests: Duplicate custom_id '{key}'")
            keys.add(key)
            rows.append((key, params))
        if not rows or len(rows) > _MAX_ROWS:
            raise self.refusal(400, f"requests: List should have between 1 and {_MAX_ROWS} items")
        return rows

    async def _get(self, request: web.Request) -> web.Response:
        job = self.find_job(request)
        self.go_on(job)
        answer = reply(_placed(request, self._shown(job)))
        if not job.over and self._shared.retry_after is not None:
            answer.headers["retry-after"] = self._shared.retry_after
        return answer

    async def _list(self, request: web.Request) -> web.Response:
        jobs = self.jobs_of(self.account(request))
        size = self._shared.page_size(request.query.get("limit", ""))
        found, more = self.page(jobs, place_after(jobs, request.query.get("after_id")), size)
        page = [_placed(request, shown) for shown in found]
        first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
        return reply({"data": page, "has_more": bool(more), "first_id": first, "last_id": last})

    async def _results(self, request: web.Request) -> web.Response:
        job = self.find_job(request)
        if not job.over:
            raise self.refusal(404, f"Batch `{job.id}` has no available results.")
        return web.Response(body=b"\n".join(job.lines) + b"\n", content_type="application/x-jsonl")

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self.find_job(request)
        if not job.over:
            job.cancelled = True
        return reply(_placed(request, self._shown(job)))

    async def _delete(self, request: web.Request) -> web.Response:
        job = self.find_job(request)
        if not job.over:
            raise self.refusal(400, "Batch cannot be deleted while it is processing. Cancel it first.")
        del self.jobs[job.id]
        return reply({"id": job.id, "type": "message_batch_deleted"})

    def _finish(self, job: Served, ending: str, done: int) -> None:
        job.over = "ended"
        good, lines = self._lines(job, done, _line)
        unrun = "canceled" if ending == "cancelled" else "expired"
        lines += [(key, encode({"custom_id": key, "result": {"type": unrun}})) for key, _ in job.rows[done:]]
        counts = {"succeeded": good, "errored": done - good, unrun: len(job.rows) - done}
        job.counts = {name: counts.get(name, 0) for name in _RESULTS}
        job.lines = self._shared.written(job, lines)

    def _answer_row(self, job: Served, key: str, body: Body) -> tuple[int, Body]:
        if body.get("stream"):
            return 400, _error(400, "stream: not supported in a batch")
        return super()._answer_row(job, key, body)

    def _varied(self, job: Served, key: str, body: Body) -> Body:
        return {**body, "user": key}

    def _charged(self, job: Served, key: str, body: Body) -> tuple[str, Body]:
        return job.endpoint, self._varied(job, key, body) if self._shared.varied else body

    def _shown(self, job: Served) -> Body:
        early = "canceling" if job.cancelled else "in_progress"
        counts = job.counts or dict.fromkeys(_RESULTS, 0)
        return {
            "id": job.id,
            "type": "message_batch",
            "processing_status": self._shared.ended(job.over, "ended") or early,
            "request_counts": {"processing": 0 if job.over else len(job.rows), **counts},
            "ended_at": _time(self._shared.now()) if job.over else None,
            "created_at": _time(job.created_at),
            "expires_at": _time(job.created_at + _DAY),
            "archived_at": None,
            "cancel_initiated_at": _time(self._shared.now()) if job.cancelled else None,
            "results_url": None,
        }


def _placed(request: web.Request, shown: Body) -> Body:
    """A job with the address of its results, once it has ended."""
    url = outer_url(request, f"{request.path.split('/batches')[0]}/batches/{shown['id']}/results")
    return {**shown, "results_url": url if shown["ended_at"] else None}


def _line(key: str, status: int, answer: Body) -> Body:
    if status != 200:
        return {"custom_id": key, "result": {"type": "errored", "error": answer}}
    message = {**answer, "usage": {**answer["usage"], "service_tier": "batch"}}
    return {"custom_id": key, "result": {"type": "succeeded", "message": message}}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _error(status: int, message: str) -> Body:
    error = {"type": _TYPES.get(status, "api_error"), "message": message, "details": None}
    return {"type": "error", "error": error, "request_id": None}
