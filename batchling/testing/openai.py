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
from batchling.providers.samples import voyage
from batchling.testing.dialects import ServerDialect
from batchling.testing.openai_files import DAY, OpenAIFiles, error, json_object, refusal, reply, worded
from batchling.testing.openai_rows import BadLine, read_rows, urls_of
from batchling.testing.state import Served, ServerState, encode, page_size, place_after
from batchling.testing.streams import openai_stream

_NEEDS = {"/v1/chat/completions": "messages", "/v1/embeddings": "input", "/v1/moderations": "input"}


OPENAI = ServerDialect(
    "openai",
    "/v1",
    (
        "/chat/completions",
        "/responses",
        "/embeddings",
        "/completions",
        "/moderations",
        "/images/generations",
        "/images/edits",
        "/videos",
    ),
    order=frozenset({"input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after"}),
)


class OpenAIApi:
    """The handlers below the path where one provider is mounted."""

    def __init__(self, shared: ServerState, dialect: ServerDialect = OPENAI) -> None:
        self.name: str = dialect.name
        self._shared = shared
        self._dialect = dialect
        self.jobs: dict[str, Served] = {}
        self._files = OpenAIFiles(shared, self.account, dialect)

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """The routes of every call that this API answers."""
        root = prefix + self._dialect.base
        found = [web.post(root + path, self._real_time) for path in self._dialect.endpoints]
        found += [web.get(root + "/models", self._models)]
        for other in self._dialect.other_bases:
            found += [web.post(prefix + other + path, self._real_time) for path in self._dialect.endpoints]
        found += [*self._files.routes(root), *self._job_routes(root)]
        if self.name == "azure":
            legacy = prefix + "/openai"
            found += [web.post(legacy + "/deployments/{model}/chat/completions", self._real_time)]
            found += [web.post(legacy + "/responses", self._real_time)]
            found += [*self._files.routes(legacy), *self._job_routes(legacy)]
        return [web.route(each.method, each.path, worded(self._dialect, each.handler)) for each in found]

    def _job_routes(self, root: str) -> list[web.RouteDef]:
        own = root + "/batches/{id}"
        found = [web.post(root + "/batches", self._create), web.get(root + "/batches", self._list)]
        if self._dialect.results:
            return [
                *found,
                web.get(own, self._get),
                web.get(own + "/results", self._results),
                web.delete(own, self._cancel),
            ]
        return [*found, web.get(own, self._get), web.post(own + "/cancel", self._cancel)]

    def creates(self, method: str, path: str) -> bool:
        """Whether this call creates a job."""
        return method == "POST" and path.endswith("/batches")

    def account(self, request: web.Request) -> str:
        """A digest of the caller's credential. Raises a 401 for a missing or refused key."""
        credential = request.headers.get("authorization", "")
        if self.name == "azure" and "/openai/v1/" not in request.path and "api-version" not in request.query:
            raise refusal(404, "Resource not found", code="404")
        if self.name == "azure" and "api-key" in request.headers:
            credential = f"Bearer {request.headers['api-key']}"
        revoked = credential.removeprefix("Bearer ") in self._shared.revoked
        if not credential.startswith("Bearer ") or credential.startswith("Bearer sk-bad") or revoked:
            shown = credential[7:13] + "***" if credential else ""
            raise refusal(401, f"Incorrect API key provided: {shown}.", code="invalid_api_key")
        if self.name == "azure" and credential.startswith("Bearer ey"):
            credential = "a tenant"  # Entra tokens change, but their holder stays the same
        scope = [request.headers.get(name, "") for name in ("openai-organization", "openai-project")]
        return digest(credential, *scope)

    async def _models(self, request: web.Request) -> web.Response:
        self.account(request)
        model = {"id": "m", "object": "model", "created": samples.CREATED, "owned_by": "batchling"}
        return reply({"object": "list", "data": [model]})

    async def _real_time(self, request: web.Request) -> web.StreamResponse:
        account = self.account(request)
        path = next(path for path in self._dialect.endpoints if request.path.endswith(path))
        endpoint = self._dialect.prefix + path
        body = await json_object(request)
        if "model" in request.match_info:
            body = {**body, "model": request.match_info["model"]}
        status, answer = self._answer(endpoint, body)
        if status != 200:
            return reply(answer, status)
        self._shared.bill(self.name, endpoint, account, body, answer, None)
        return await openai_stream(request, endpoint, body, answer) if body.get("stream") else reply(answer)

    def _answer(self, endpoint: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        fault = self._shared.row_fault_for(body)
        if fault is not None:
            return fault.status, fault.error
        endpoint = "/v1" + endpoint.removeprefix(self._dialect.prefix)
        body = {**body, "model": str(body.get("model")).removesuffix("-batch")}
        if body["model"] == "no-such-model":
            return 404, error("The model 'no-such-model' does not exist.", "model", "model_not_found")
        if self.name == "voyage":
            return 200, voyage.answer(endpoint, body)
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
        order = await json_object(request)
        file_id = str(order.get("input_file_id"))
        if (again := self._made_before(request, account)) is not None:
            return reply(self._shown(again))
        content = self._files.content_of(file_id, account)
        if content is None and not self._dialect.trusting:
            raise refusal(400, f"Cannot find file {order.get('input_file_id')}", param="file_id")
        if self._files.is_pending(file_id):
            raise refusal(400, "The input file is not processed yet.", code="invalid_request")
        dialect = self._dialect
        if order.get("endpoint") not in {dialect.prefix + path for path in dialect.endpoints}:
            raise refusal(400, f"Invalid value: '{order.get('endpoint')}'.", param="endpoint", code="invalid_value")
        if order.get("completion_window") not in dialect.windows:
            raise refusal(400, "Invalid value for 'completion_window'.", param="completion_window")
        if unknown := set(order) - dialect.order:
            raise refusal(400, f"Unknown parameter: '{min(unknown)}'.", param=min(unknown), code="unknown_parameter")
        content = content if content is not None else b"no such file"
        if objection := self._shared.objection(content, "create"):
            raise refusal(objection.status, objection.message, objection.param, objection.code)
        metadata = order.get("metadata")
        job = Served(f"batch_{self._shared.number():032d}", account, order["endpoint"], [], self._shared.now())
        job.words = {"input_file_id": file_id, "metadata": metadata, "model": None, "urls": {}}
        job.words["once"] = request.headers.get(dialect.once) if dialect.once else None
        self.jobs[job.id] = job
        self._validate(job, content, order.get("request_params") or {})
        return reply(
            dialect.created_job(_plain(self._shared, job)) if dialect.bare else self._shown(job), dialect.created
        )

    def _made_before(self, request: web.Request, account: str) -> Served | None:
        """The job created by an earlier call with the same idempotency key."""
        key = request.headers.get(self._dialect.once) if self._dialect.once else None
        mine = [job for job in self.jobs.values() if job.account == account and key is not None]
        return next((job for job in mine if job.words["once"] == key), None)

    def _validate(self, job: Served, content: bytes, shared: dict[str, Any]) -> None:
        """Read the file as OpenAI does, after the create call: the first bad line fails the whole job."""
        job.fault = self._shared.job_fault_for(content, "job")
        if job.fault is not None and not job.fault.done:
            return
        try:
            job.rows = read_rows(self._dialect, job.endpoint, content, shared)
            job.words["urls"] = urls_of(content) if self._dialect.mixed else {}
            self._count_enqueued(job)
        except BadLine as bad:
            job.fault = bad.fault
            job.rows = []

    def _count_enqueued(self, job: Served) -> None:
        """Refuse a job that would bring the rows in progress of its model above the limit."""
        model = job.rows[0][1]["model"]
        running = [other for other in self.jobs.values() if not other.over and other.account == job.account]
        enqueued = sum(len(other.rows) for other in running if other.rows and other.rows[0][1]["model"] == model)
        if enqueued > self._shared.most_rows_enqueued:
            text = f"Enqueued token limit reached for {model}. Please try again once some batches have been completed."
            raise BadLine("token_limit_exceeded", text, None, None)

    def _job(self, request: web.Request) -> Served:
        job = self.jobs.get(request.match_info["id"])
        if job is None or job.account != self.account(request):
            raise refusal(404, f"No batch found with id '{request.match_info['id']}'.")
        return job

    async def _get(self, request: web.Request) -> web.Response:
        job = self._job(request)
        self._go_on(job)
        return reply(self._shown(job))

    def _go_on(self, job: Served) -> None:
        """Advance the job; called whenever a client looks at it."""
        job.polls += 1
        if not job.over and self._shared.ready(job):
            self._finish(job)

    async def _list(self, request: web.Request) -> web.Response:
        account = self.account(request)
        jobs = [job for job in reversed(self.jobs.values()) if job.account == account]
        for job in jobs:
            self._go_on(job)
        jobs = [job for job in jobs if _searched(request, job)]
        start = place_after(jobs, request.query.get("cursor" if self._dialect.cursors else "after"))
        found, more = self._shared.listed(jobs, start, len(jobs) if self._dialect.bare else page_size(request))
        page = [self._shown(job) for job in found]
        first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
        if self._dialect.bare:
            return reply(page)
        if self._dialect.cursors:
            return reply({"object": "list", "data": page, "paging": {"next_cursor": last if more else None}})
        return reply({"object": "list", "data": page, "first_id": first, "last_id": last, "has_more": more})

    async def _results(self, request: web.Request) -> web.Response:
        job = self._job(request)
        if not job.over:
            raise refusal(404, "The batch has no results yet.")
        return web.Response(body=b"\n".join(job.lines) + b"\n", content_type="application/jsonl")

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self._job(request)
        if job.over:
            raise refusal(409, f"Cannot cancel a batch with status '{job.over}'.")
        job.cancelled = True
        return reply(self._shown(job))

    def _finish(self, job: Served) -> None:
        """Run the rows and end the job: completed, failed, expired or cancelled, with the resulting files."""
        ending, done = self._shared.ending(job)
        job.over = ending or "completed"
        row: dict[str, Any]
        good: list[tuple[str, bytes]] = []
        bad: list[tuple[str, bytes]] = []
        for key, body in job.rows[:done]:
            endpoint = job.words["urls"].get(key, job.endpoint)
            status, answer = self._answer(endpoint, {**body, "seed": key} if self._shared.varied else body)
            said = {"status_code": status, "request_id": f"req_{digest(job.id, key)}", "body": answer}
            row = {"id": f"batch_req_{digest(key)}", "custom_id": key, "response": said, "error": None}
            (good if status == 200 else bad).append((key, encode(self._dialect.line(row))))
            if status == 200:
                real_time = {**body, "model": body["model"].removesuffix("-batch")}
                self._shared.bill(self.name, endpoint, job.account, real_time, answer, (key, job.id))
        word = f"batch_{job.over}"
        for key, _ in job.rows[done:] if ending != "failed" else ():
            error: Any = {"code": word, "message": "This request could not be executed."}
            row = {"id": f"batch_req_{digest(key)}", "custom_id": key, "response": None, "error": error}
            bad.append((key, encode(self._dialect.line(row))))
        job.counts = {"completed": len(good), "failed": len(bad) if ending == "" else 0}
        if ending == "failed":
            job.counts["failed"] = len(job.rows) - len(good)
        for kind, rows in (("_output", good), ("_error", bad)):
            if rows:
                lines = self._shared.written(job, rows)
                job.lines += lines
                content = b"".join(line + b"\n" for line in lines)
                file = self._files.add(job.account, f"{job.id}{kind}.jsonl", "batch_output", content, kind)
                job.words[f"{kind[1:]}_file_id"] = file["id"]
        job.words["model"] = job.rows[0][1].get("model") if job.rows else None

    def _shown(self, job: Served) -> dict[str, Any]:
        return self._dialect.job(_plain(self._shared, job))


def _searched(request: web.Request, job: Served) -> bool:
    """Whether a job matches the search of a list call, at providers that offer one."""
    wanted = request.query.get("search") or request.query.get("ds_name")
    return not wanted or wanted in (job.words["metadata"] or {}).values()


def _plain(shared: ServerState, job: Served) -> dict[str, Any]:
    created = int(job.created_at)
    early = "validating" if job.polls < 1 else "in_progress" if job.polls < shared.polls_to_finish else "finalizing"
    ended = {f"{job.over}_at": int(shared.now())} if job.over else {}
    names = (
        "in_progress_at",
        "finalizing_at",
        "completed_at",
        "failed_at",
        "expired_at",
        "cancelling_at",
        "cancelled_at",
    )
    total = len(job.rows) if job.polls else 0
    return {
        "id": job.id,
        "object": "batch",
        "endpoint": job.endpoint,
        "model": job.words["model"],
        "errors": {"object": "list", "data": [job.reason.words()]} if job.reason else None,
        "input_file_id": job.words["input_file_id"],
        "completion_window": "24h",
        "status": shared.ended(job.over)
        if job.over == "completed"
        else job.over or ("cancelling" if job.cancelled else early),
        "output_file_id": job.words.get("output_file_id"),
        "error_file_id": job.words.get("error_file_id"),
        "created_at": created,
        "expires_at": created + DAY,
        **dict.fromkeys(names),
        **ended,
        "request_counts": {"total": total, "completed": 0, "failed": 0, **job.counts},
        "metadata": job.words["metadata"],
    }
