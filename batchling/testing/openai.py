"""OpenAI's real-time and batch APIs at the embedded server, as strict as the original; and the APIs of the providers
that speak variants of its dialect.

Shapes: recorded traffic of 2025 and 2026; absent ids are null, and a job that failed validation has run no rows.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from batchling.core.fingerprint import digest
from batchling.providers.samples import anthropic as claude
from batchling.providers.samples import openai as samples
from batchling.testing.dialect import OPENAI, ServerDialect
from batchling.testing.faults import Body, JobFault
from batchling.testing.openai_files import DAY, OpenAIFiles, worded
from batchling.testing.openai_rows import load_rows, urls_of
from batchling.testing.replies import encode, error, jsonl, refusal, reply
from batchling.testing.served import ServedApi
from batchling.testing.state import Line, Served, ServerState, place_after

_NEEDS = {"/v1/chat/completions": "messages", "/v1/embeddings": "input", "/v1/moderations": "input"}
_PHASES = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")


class OpenAIApi(ServedApi):
    """The handlers below the path where one provider is mounted."""

    no_job: str = "No batch found with id '{id}'."

    def __init__(self, shared: ServerState, dialect: ServerDialect = OPENAI) -> None:
        super().__init__(shared)
        self.name: str = dialect.name
        self._dialect = dialect
        self._files = OpenAIFiles(shared, self.account, dialect)

    def routes(self, prefix: str) -> list[web.RouteDef]:
        root = prefix + self._dialect.base
        found = [web.post(root + path, self.real_time) for path in self._dialect.endpoints]
        found += [web.get(root + "/models", self._models)]
        for other in self._dialect.other_bases:
            found += [web.post(prefix + other + path, self.real_time) for path in self._dialect.endpoints]
        found += [*self._files.routes(root), *self._job_routes(root)]
        if self._dialect.versioned_base:
            versioned = prefix + self._dialect.versioned_base
            found += [web.post(versioned + "/deployments/{model}/chat/completions", self.real_time)]
            found += [web.post(versioned + "/responses", self.real_time)]
            found += [*self._files.routes(versioned), *self._job_routes(versioned)]
        return worded(self._dialect, found)

    def _job_routes(self, root: str) -> list[web.RouteDef]:
        own = root + "/batches/{id}"
        found = [web.post(root + "/batches", self._create), web.get(root + "/batches", self._list)]
        found += [web.get(own, self._get)]
        if self._dialect.results:
            return [*found, web.get(own + "/results", self._results), web.delete(own, self._cancel)]
        return [*found, web.post(own + "/cancel", self._cancel)]

    def account(self, request: web.Request) -> str:
        """A digest of the caller's credential. Raises a 401 for a missing or refused key."""
        dialect = self._dialect
        credential = request.headers.get("authorization", "")
        if dialect.versioned_base and f"{dialect.base}/" not in request.path and "api-version" not in request.query:
            raise refusal(404, "Resource not found", code="404")
        if dialect.key_header and dialect.key_header in request.headers:
            credential = f"Bearer {request.headers[dialect.key_header]}"
        revoked = credential.removeprefix("Bearer ") in self._shared.revoked
        if not credential.startswith("Bearer ") or credential.startswith("Bearer sk-bad") or revoked:
            shown = credential[7:13] + "***" if credential else ""
            raise refusal(401, f"Incorrect API key provided: {shown}.", code="invalid_api_key")
        if dialect.renews_tokens and credential.startswith("Bearer ey"):
            credential = "a tenant"
        scope = [request.headers.get(name, "") for name in ("openai-organization", "openai-project")]
        return digest(credential, *scope)

    async def _models(self, request: web.Request) -> web.Response:
        self.account(request)
        model = {"id": "m", "object": "model", "created": samples.CREATED, "owned_by": "batchling"}
        return reply({"object": "list", "data": [model]})

    def _endpoint_of(self, request: web.Request) -> str:
        path = next(path for path in self._dialect.endpoints if request.path.endswith(path))
        return self._dialect.prefix + path

    async def body_of(self, request: web.Request) -> Body:
        """The JSON object in a call's body, with the model that its path may name."""
        body = await super().body_of(request)
        return {**body, "model": request.match_info["model"]} if "model" in request.match_info else body

    def _sample(self, endpoint: str, body: Body) -> tuple[int, Body]:
        endpoint = "/v1" + endpoint.removeprefix(self._dialect.prefix)
        body = {**body, "model": str(body.get("model")).removesuffix("-batch")}
        if body["model"] == "no-such-model":
            return 404, error("The model 'no-such-model' does not exist.", "model", "model_not_found")
        if self._dialect.answer is not None:
            return 200, self._dialect.answer(endpoint, body)
        if endpoint == "/v1/messages":
            return 200, claude.answer(body)
        needed = _NEEDS.get(endpoint)
        if needed and not body.get(needed):
            return 400, error(f"Missing required parameter: '{needed}'.", needed, "missing_required_parameter")
        if isinstance(body.get("temperature"), int | float) and not 0 <= body["temperature"] <= 2:
            text = "Invalid 'temperature': expected a value between 0 and 2."
            return 400, error(text, "temperature", "invalid_value")
        return 200, samples.answer(endpoint, body)

    async def _create(self, request: web.Request) -> web.Response:
        account = self.account(request)
        order = await self.body_of(request)
        once = request.headers.get(self._dialect.once) if self._dialect.once else None
        if (again := self._made_before(account, once)) is not None:
            return reply(self._shown(again))
        file_id = str(order.get("input_file_id"))
        content = self._files.content_of(file_id, account)
        if content is None and not self._dialect.trusting:
            raise refusal(400, f"Cannot find file {order.get('input_file_id')}", param="file_id")
        if self._files.is_pending(file_id):
            raise refusal(400, "The input file is not processed yet.", code="invalid_request")
        self._check_order(order)
        content = content if content is not None else b"no such file"
        self.check(content, "create")
        words = {"input_file_id": file_id, "metadata": order.get("metadata"), "model": None, "once": once}
        job = self.new_job(f"batch_{self._shared.number():032d}", account, order["endpoint"], [], **words)
        self._validate(job, content, order.get("request_params") or {})
        shown = self._dialect.created_job(self._plain(job)) if self._dialect.bare else self._shown(job)
        return reply(shown, self._dialect.created)

    def _check_order(self, order: Body) -> None:
        dialect = self._dialect
        if order.get("endpoint") not in {dialect.prefix + path for path in dialect.endpoints}:
            raise refusal(400, f"Invalid value: '{order.get('endpoint')}'.", param="endpoint", code="invalid_value")
        if order.get("completion_window") not in dialect.windows:
            raise refusal(400, "Invalid value for 'completion_window'.", param="completion_window")
        if unknown := set(order) - dialect.order:
            raise refusal(400, f"Unknown parameter: '{min(unknown)}'.", param=min(unknown), code="unknown_parameter")

    def _made_before(self, account: str, once: str | None) -> Served | None:
        """The job created by an earlier call with the same idempotency key."""
        mine = [job for job in self.jobs.values() if job.account == account and once is not None]
        return next((job for job in mine if job.words["once"] == once), None)

    def _validate(self, job: Served, content: bytes, shared: Body) -> None:
        """Read the file as OpenAI does, after the create call: the first bad line fails the whole job."""
        load_rows(self._shared, self._dialect, job, content, shared)
        job.words["urls"] = urls_of(content) if job.rows and self._dialect.mixed else {}
        if job.rows and (fault := self._over_limit(job)) is not None:
            job.fault, job.rows = fault, []

    def _over_limit(self, job: Served) -> JobFault | None:
        """Why a job fails that brings the rows in progress of its model above the limit; None for other jobs."""
        model = job.rows[0][1]["model"]
        running = [other for other in self.jobs.values() if not other.over and other.account == job.account]
        enqueued = sum(len(other.rows) for other in running if other.rows and other.rows[0][1]["model"] == model)
        if enqueued <= self._shared.most_rows_enqueued:
            return None
        text = f"Enqueued token limit reached for {model}. Please try again once some batches have been completed."
        return JobFault("token_limit_exceeded", text)

    async def _list(self, request: web.Request) -> web.Response:
        jobs = [job for job in self.jobs_of(self.account(request)) if _searched(request, job)]
        start = place_after(jobs, request.query.get("cursor" if self._dialect.cursors else "after"))
        size = len(jobs) if self._dialect.bare else self._shared.page_size(request.query.get("limit", ""))
        page, more = self.page(jobs, start, size)
        first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
        if self._dialect.bare:
            return reply(page)
        if self._dialect.cursors:
            return reply({"object": "list", "data": page, "paging": {"next_cursor": last if more else None}})
        return reply({"object": "list", "data": page, "first_id": first, "last_id": last, "has_more": bool(more)})

    async def _results(self, request: web.Request) -> web.Response:
        job = self.find_job(request)
        if not job.over:
            raise refusal(404, "The batch has no results yet.")
        return web.Response(body=b"\n".join(job.lines) + b"\n", content_type="application/jsonl")

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self.find_job(request)
        if job.over:
            raise refusal(409, f"Cannot cancel a batch with status '{job.over}'.")
        return await super()._cancel(request)

    def _answer_row(self, job: Served, key: str, body: Body) -> tuple[int, Body]:
        return self._answer(job.words["urls"].get(key, job.endpoint), body)

    def _charged(self, job: Served, key: str, body: Body) -> tuple[str, Body]:
        return job.words["urls"].get(key, job.endpoint), {**body, "model": body["model"].removesuffix("-batch")}

    def _finish(self, job: Served, ending: str, done: int) -> None:
        job.over = ending or "completed"
        good: list[Line] = []
        bad: list[Line] = []
        for key, status, answer in self._run(job, done):
            payload = {"status_code": status, "request_id": f"req_{digest(job.id, key)}", "body": answer}
            (good if status == 200 else bad).append((key, self._line(key, payload)))
        for key, _ in job.rows[done:] if ending != "failed" else ():
            failure = {"code": f"batch_{job.over}", "message": "This request could not be executed."}
            bad.append((key, self._line(key, None, failure)))
        job.counts = {"completed": len(good), "failed": len(bad) if ending == "" else 0}
        if ending == "failed":
            job.counts["failed"] = len(job.rows) - len(good)
        for kind, rows in (("_output", good), ("_error", bad)):
            if rows:
                lines = self._shared.written(job, rows)
                job.lines += lines
                file = self._files.add(job.account, f"{job.id}{kind}.jsonl", "batch_output", jsonl(lines), kind)
                job.words[f"{kind[1:]}_file_id"] = file["id"]
        job.words["model"] = job.rows[0][1].get("model") if job.rows else None

    def _line(self, key: str, response: Any, failure: Any = None) -> bytes:
        """A line of a result file."""
        row = {"id": f"batch_req_{digest(key)}", "custom_id": key, "response": response, "error": failure}
        return encode(self._dialect.line(row))

    def _shown(self, job: Served) -> Body:
        return self._dialect.job(self._plain(job))

    def _plain(self, job: Served) -> Body:
        """The job as OpenAI describes it."""
        created, now = int(job.created_at), int(self._shared.now())
        finishing = job.polls >= self._shared.polls_to_finish
        early = "validating" if job.polls < 1 else "finalizing" if finishing else "in_progress"
        return {
            "id": job.id,
            "object": "batch",
            "endpoint": job.endpoint,
            "model": job.words["model"],
            "errors": {"object": "list", "data": [job.reason.words()]} if job.reason else None,
            "input_file_id": job.words["input_file_id"],
            "completion_window": "24h",
            "status": self._shared.ended(job.over, "completed") or ("cancelling" if job.cancelled else early),
            "output_file_id": job.words.get("output_file_id"),
            "error_file_id": job.words.get("error_file_id"),
            "created_at": created,
            "expires_at": created + DAY,
            **{f"{phase}_at": now if phase == job.over else None for phase in _PHASES},
            "request_counts": {"total": len(job.rows) if job.polls else 0, "completed": 0, "failed": 0, **job.counts},
            "metadata": job.words["metadata"],
        }


def _searched(request: web.Request, job: Served) -> bool:
    """Whether a job matches the search of a list call, at providers that offer one."""
    wanted = request.query.get("search") or request.query.get("ds_name")
    return not wanted or wanted in (job.words["metadata"] or {}).values()
