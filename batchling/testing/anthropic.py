"""Anthropic's Messages and Message Batches APIs at the embedded server, as strict as the original.

Shapes: recorded traffic of 2025 and 2026. Only the envelope is checked when a batch is created; bad parameters result
in errored rows.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from batchling.core.fingerprint import digest
from batchling.providers.samples import anthropic as samples
from batchling.testing.hosts import outer_url
from batchling.testing.state import Refusal, Served, ServerState, encode, page_size, place_after
from batchling.testing.streams import claude_stream

_KEY = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MAX_ROWS = 100_000
_DAY = 86_400
_TYPES = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


class AnthropicApi:
    """The handlers below `/anthropic/v1`."""

    name = "anthropic"

    def __init__(self, shared: ServerState) -> None:
        self._shared = shared
        self.jobs: dict[str, Served] = {}

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """The routes of every call that this API answers."""
        root = prefix + "/v1/messages"
        return [
            web.post(root, self._real_time),
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
            raise _refusal(401, "invalid x-api-key")
        if not request.headers.get("anthropic-version"):
            raise _refusal(400, "anthropic-version: header is required")
        return digest(key or bearer, request.headers.get("anthropic-workspace-id", ""))

    def creates(self, method: str, path: str) -> bool:
        """Whether this call creates a job."""
        return method == "POST" and path.endswith("/batches")

    async def _real_time(self, request: web.Request) -> web.StreamResponse:
        account = self.account(request)
        body = await _json_object(request)
        status, answer = self._answer(body)
        if status != 200:
            return _json(answer, status)
        self._shared.bill("anthropic", "/v1/messages", account, body, answer, None)
        return await claude_stream(request, answer) if body.get("stream") else _json(answer)

    def _answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        fault = self._shared.row_fault_for(body)
        if fault is not None:
            return fault.status, fault.error
        if not body.get("messages"):
            return 400, _error(400, "messages: at least one message is required")
        if not isinstance(body.get("max_tokens"), int):
            return 400, _error(400, "max_tokens: Field required")
        if body["max_tokens"] > 300_000:
            return 400, _error(400, f"max_tokens: {body['max_tokens']} > 300000, which is the maximum allowed")
        return 200, samples.answer(body)

    async def _count(self, request: web.Request) -> web.Response:
        self.account(request)
        return _json({"input_tokens": samples.answer(await _json_object(request))["usage"]["input_tokens"]})

    async def _create(self, request: web.Request) -> web.Response:
        account = self.account(request)
        order = await _json_object(request)
        rows: list[tuple[str, dict[str, Any]]] = []
        keys: set[str] = set()
        for place, row in enumerate(order.get("requests") or []):
            if not isinstance(row, dict):
                raise _refusal(400, f"requests.{place}: Input should be an object")
            key, params = row.get("custom_id"), row.get("params")
            if not isinstance(key, str) or not _KEY.fullmatch(key):
                raise _refusal(
                    400, f"requests.{place}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'"
                )
            if not isinstance(params, dict):
                raise _refusal(400, f"requests.{place}.params: Field required")
            if key in keys:
                raise _refusal(400, f"requests: Duplicate custom_id '{key}'")
            keys.add(key)
            rows.append((key, params))
        if not rows or len(rows) > _MAX_ROWS:
            raise _refusal(400, f"requests: List should have between 1 and {_MAX_ROWS} items")
        if objection := self._shared.objection(rows, "upload", "create", "job"):
            raise _refusal(objection.status, objection.message)
        job = Served(f"msgbatch_{self._shared.number():024d}", account, "/v1/messages", rows, self._shared.now())
        self.jobs[job.id] = job
        return _json(self._shown(request, job))

    def _job(self, request: web.Request) -> Served:
        job = self.jobs.get(request.match_info["id"])
        if job is None or job.account != self.account(request):
            raise _refusal(404, f"Batch `{request.match_info['id']}` not found")
        return job

    async def _get(self, request: web.Request) -> web.Response:
        job = self._job(request)
        self._go_on(job)
        answer = _json(self._shown(request, job))
        if not job.over and self._shared.retry_after is not None:
            answer.headers["retry-after"] = self._shared.retry_after
        return answer

    async def _list(self, request: web.Request) -> web.Response:
        account = self.account(request)
        jobs = [job for job in reversed(self.jobs.values()) if job.account == account]
        for job in jobs:
            self._go_on(job)
        found, more = self._shared.listed(jobs, place_after(jobs, request.query.get("after_id")), page_size(request))
        page = [self._shown(request, job) for job in found]
        first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
        return _json({"data": page, "has_more": more, "first_id": first, "last_id": last})

    async def _results(self, request: web.Request) -> web.Response:
        job = self._job(request)
        if not job.over:
            raise _refusal(404, f"Batch `{job.id}` has no available results.")
        return web.Response(body=b"\n".join(job.lines) + b"\n", content_type="application/x-jsonl")

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self._job(request)
        if not job.over:
            job.cancelled = True
        return _json(self._shown(request, job))

    async def _delete(self, request: web.Request) -> web.Response:
        job = self._job(request)
        if not job.over:
            raise _refusal(400, "Batch cannot be deleted while it is processing. Cancel it first.")
        del self.jobs[job.id]
        return _json({"id": job.id, "type": "message_batch_deleted"})

    def _go_on(self, job: Served) -> None:
        """Advance the job; called whenever a client looks at it."""
        job.polls += 1
        if not job.over and self._shared.ready(job):
            self._finish(job)

    def _finish(self, job: Served) -> None:
        word, done = self._shared.ending(job)
        job.over = "ended"
        job.counts = dict.fromkeys(("succeeded", "errored", "canceled", "expired"), 0)
        lines: list[tuple[str, bytes]] = []
        for place, (key, params) in enumerate(job.rows):
            if place >= done:
                result: dict[str, Any] = {"type": "canceled" if word == "cancelled" else "expired"}
            elif params.get("stream"):
                result = {"type": "errored", "error": _error(400, "stream: not supported in a batch")}
            else:
                result = self._run(job, key, {**params, "user": key} if self._shared.varied else params)
            job.counts[result["type"]] += 1
            lines.append((key, encode({"custom_id": key, "result": result})))
        job.lines = self._shared.written(job, lines)

    def _run(self, job: Served, key: str, params: dict[str, Any]) -> dict[str, Any]:
        status, answer = self._answer(params)
        if status != 200:
            return {"type": "errored", "error": answer}
        message = {**answer, "usage": {**answer["usage"], "service_tier": "batch"}}
        self._shared.bill("anthropic", "/v1/messages", job.account, params, message, (key, job.id))
        return {"type": "succeeded", "message": message}

    def _shown(self, request: web.Request, job: Served) -> dict[str, Any]:
        counts = job.counts or dict.fromkeys(("succeeded", "errored", "canceled", "expired"), 0)
        url = outer_url(request, f"{request.path.split('/batches')[0]}/batches/{job.id}/results")
        return {
            "id": job.id,
            "type": "message_batch",
            "processing_status": self._shared.ended(job.over)
            if job.over
            else ("canceling" if job.cancelled else "in_progress"),
            "request_counts": {"processing": 0 if job.over else len(job.rows), **counts},
            "ended_at": _time(self._shared.now()) if job.over else None,
            "created_at": _time(job.created_at),
            "expires_at": _time(job.created_at + _DAY),
            "archived_at": None,
            "cancel_initiated_at": _time(self._shared.now()) if job.cancelled else None,
            "results_url": url if job.over else None,
        }


async def _json_object(request: web.Request) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(await request.read())
    except msgspec.MsgspecError:
        body = None
    if not isinstance(body, dict):
        raise _refusal(400, "The request body is not valid JSON")
    return body


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _error(status: int, message: str) -> dict[str, Any]:
    error = {"type": _TYPES.get(status, "api_error"), "message": message, "details": None}
    return {"type": "error", "error": error, "request_id": None}


def _refusal(status: int, message: str) -> Refusal:
    body = {**_error(status, message), "request_id": f"req_{digest(message)[:24]}"}
    return Refusal(_json(body, status))


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=encode(value), status=status, content_type="application/json")
