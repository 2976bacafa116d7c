"""OpenRouter's and Sference's APIs at the embedded server, with rows in the create call and results in the job."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from aiohttp import web

from batchling.core.fingerprint import digest
from batchling.providers.samples import anthropic as claude
from batchling.providers.samples import openai as samples
from batchling.testing.openai_files import DAY, error, json_object, refusal, reply
from batchling.testing.state import Served, ServerState, encode, page_size, place_after
from batchling.testing.streams import openai_stream

_PATHS = {
    "openrouter": ("/chat/completions", "/embeddings", "/responses", "/messages"),
    "sference": ("/chat/completions",),
}
_MAX_ROWS = 5_000


class InlineApi:
    """The handlers below the path of one of the two; `name` says which."""

    def __init__(self, shared: ServerState, name: str) -> None:
        self.name = name
        self._shared = shared
        self.jobs: dict[str, Served] = {}

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """The routes of every call that this API answers."""
        root = prefix + ("/api/v1" if self.name == "openrouter" else "/v1")
        own = root + "/batches/{id}"
        found = [web.post(root + path, self._real_time) for path in _PATHS[self.name]]
        found += [web.post(root + "/batches", self._create), web.get(root + "/batches", self._list)]
        found += [web.get(own, self._get)]
        if self.name == "sference":
            found += [web.get(own + "/results", self._results), web.post(own + "/cancel", self._cancel)]
        return found

    def creates(self, method: str, path: str) -> bool:
        """Whether this call creates a job."""
        return method == "POST" and path.endswith("/batches")

    def account(self, request: web.Request) -> str:
        """A digest of the caller's credential. Raises a 401 for a missing or refused key."""
        credential = request.headers.get("authorization", "")
        if not credential.startswith("Bearer ") or credential.startswith("Bearer sk-bad"):
            raise refusal(401, "No auth credentials found")
        return digest(credential)

    async def _real_time(self, request: web.Request) -> web.StreamResponse:
        account = self.account(request)
        endpoint = "/v1/" + request.path.partition("/v1/")[2]
        body = await json_object(request)
        status, answer = self._answer(endpoint, body)
        if status != 200:
            return reply(answer, status)
        self._shared.bill(self.name, endpoint, account, body, answer, None)
        return await openai_stream(request, endpoint, body, answer) if body.get("stream") else reply(answer)

    def _answer(self, endpoint: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if (fault := self._shared.row_fault_for(body)) is not None:
            return fault.status, fault.error
        body = {name: value for name, value in body.items() if name != "provider"}
        if endpoint == "/v1/messages":
            return 200, claude.answer(body)
        if endpoint == "/v1/chat/completions" and not body.get("messages"):
            return 400, error("Missing required parameter: 'messages'.", "messages")
        return 200, samples.answer(endpoint, body)

    async def _create(self, request: web.Request) -> web.Response:
        account = self.account(request)
        order = await json_object(request)
        if self.name == "openrouter":
            self._check_order(order)
        elif set(order) != {"window", "requests"} or order["window"] != "24h":
            raise refusal(400, "window must be 24h")
        rows: dict[str, dict[str, Any]] = {}
        for place, row in enumerate(order.get("requests") or []):
            if set(row) != {"custom_id", "body"} or not isinstance(row["body"], dict) or row["custom_id"] in rows:
                raise refusal(400, f"requests[{place}]: custom_id (unique) and body are required, and nothing else")
            if self.name == "sference" and not row["body"].get("model"):
                raise refusal(400, f"requests[{place}]: {row['custom_id']}: model is required")
            if row["body"].get("model") not in (None, order.get("model", row["body"].get("model"))):
                raise refusal(400, f"requests[{place}]: another model than the batch's")
            rows[row["custom_id"]] = {**({"model": order["model"]} if "model" in order else {}), **row["body"]}
        if not rows or len(rows) > _MAX_ROWS:
            raise refusal(400, f"requests: between 1 and {_MAX_ROWS} are allowed")
        if objection := self._shared.objection(list(rows.items()), "upload", "create"):
            raise refusal(objection.status, objection.message, objection.param, objection.code)
        endpoint = order.get("endpoint", "/v1/chat/completions")
        job = Served(f"batch-{self._shared.number():08d}", account, endpoint, list(rows.items()), self._shared.now())
        job.words = {"model": order.get("model")}
        job.fault = self._shared.job_fault_for(job.rows, "job")
        if job.fault is not None and not job.fault.done and self.name == "sference":  # it checks all rows at once
            raise refusal(400, job.fault.message)
        self.jobs[job.id] = job
        return reply(self._shown(job), 202 if self.name == "openrouter" else 200)

    def _check_order(self, order: dict[str, Any]) -> None:
        """Refuse a wrong order of keys: OpenRouter reads the call as it comes in, so the order matters."""
        allowed = ["endpoint", "model", "callback_url", "completion_window", "provider", "requests"]
        if set(order) - set(allowed) or list(order)[-1:] != ["requests"]:
            raise refusal(400, "endpoint, model and callback_url must come before requests")
        if order.get("endpoint") not in {"/v1" + path for path in _PATHS["openrouter"]}:
            raise refusal(400, "endpoint is not supported")
        formats = [encode(row["body"].get("response_format")) for row in order["requests"] or () if row.get("body")]
        if str(order.get("model")).startswith("google/") and len(set(formats)) > 1:
            raise refusal(400, "Google models take one response_format a batch")
        if not order.get("model") or order.get("completion_window") not in (None, "24h"):
            raise refusal(400, "model is required, and completion_window must be 24h")

    def _job(self, request: web.Request) -> Served:
        job = self.jobs.get(request.match_info["id"])
        if job is None or job.account != self.account(request):
            raise refusal(404, "Batch not found")
        return job

    async def _get(self, request: web.Request) -> web.Response:
        job = self._job(request)
        self._go_on(job)
        rows = {"results": [msgspec.Raw(line) for line in job.lines] if job.lines else None}
        return reply({**self._shown(job), **(rows if self.name == "openrouter" else {})})

    async def _results(self, request: web.Request) -> web.Response:
        job = self._job(request)
        if not job.over:
            raise refusal(404, "The batch has no results yet")
        rows = [msgspec.Raw(line) for line in job.lines]
        return reply({"batch_id": job.id, "status": job.over, "output_url": None, "results": rows})

    async def _list(self, request: web.Request) -> web.Response:
        account = self.account(request)
        jobs = [job for job in reversed(self.jobs.values()) if job.account == account]
        for job in jobs:
            self._go_on(job)
        if self.name == "sference":
            return reply({"items": [self._shown(job) for job in self._shared.listed(jobs, 0, len(jobs))[0]]})
        found, more = self._shared.listed(jobs, place_after(jobs, request.query.get("after")), page_size(request))
        page = [self._shown(job) for job in found]
        ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {}
        return reply({"data": page, **ends, "has_more": more})

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
        job.over = word or "completed"
        lines: list[tuple[str, bytes]] = []
        good = 0
        for place, (key, body) in enumerate(job.rows):
            if place >= done and word == "failed":
                break
            if place >= done:
                lines.append((key, encode(self._never_ran(key, word))))
                continue
            status, answer = self._answer(job.endpoint, {**body, "seed": key} if self._shared.varied else body)
            good += status == 200
            lines.append((key, encode(self._line(key, status, answer))))
            if status == 200:
                self._shared.bill(self.name, job.endpoint, job.account, body, answer, (key, job.id))
        job.counts = {"completed": good, "failed": len(job.rows) - good}
        job.lines = self._shared.written(job, lines)

    def _line(self, key: str, status: int, answer: dict[str, Any]) -> dict[str, Any]:
        if self.name == "openrouter":
            said = {"status_code": status, "request_id": f"req_{digest(key)}", "body": answer}
            return {"id": f"r-{digest(key)}", "custom_id": key, "response": said, "error": None}
        if status == 200:
            return {"custom_id": key, "status": "completed", "result_json": answer, "error_json": None}
        text = answer.get("error", {}).get("message")
        failed = {"message": text, "status_code": status}
        return {"custom_id": key, "status": "failed", "result_json": None, "error_json": failed}

    def _never_ran(self, key: str, word: str) -> dict[str, Any]:
        if self.name == "openrouter":
            failed = {"code": f"batch_{word}", "message": "not run", "type": "batch_error", "param": None}
            return {"id": f"r-{digest(key)}", "custom_id": key, "response": None, "error": failed}
        return {"custom_id": key, "status": word, "result_json": None, "error_json": None}

    def _shown(self, job: Served) -> dict[str, Any]:
        if self.name == "sference":
            word = self._over(job).replace("expired", "completed") or ("running" if job.polls else "pending")
            created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(job.created_at))
            return {
                "id": job.id,
                "status": word,
                "window": "24h",
                "request_count": len(job.rows),
                "created_at": created,
                "total_tokens": 0,
            }
        return {
            "id": job.id,
            "object": "batch",
            "endpoint": job.endpoint,
            "model": job.words["model"],
            "status": self._over(job) or ("in_progress" if job.polls else "validating"),
            "completion_window": "24h",
            "created_at": int(job.created_at),
            "expires_at": int(job.created_at) + DAY,
            "request_counts": {"total": len(job.rows), "completed": 0, "failed": 0, **job.counts},
            "results": None,
            "error": job.reason.words() if job.reason else None,
        }

    def _over(self, job: Served) -> str:
        return self._shared.ended(job.over) if job.over == "completed" else job.over
