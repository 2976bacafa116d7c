"""Gemini's APIs at the embedded server, both its own and the OpenAI-compatible one, as strict as the originals.

Shapes: recorded traffic of 2025 and 2026: states are BATCH_STATE_*, counters are texts and left out when they are zero,
`done` is absent until the end, and an empty list is `{}`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from batchling.core.fingerprint import digest
from batchling.providers.samples import gemini as samples
from batchling.testing.gemini_compatible import Compatible
from batchling.testing.gemini_compatible import answer as compatible_answer
from batchling.testing.gemini_errors import failure, refused
from batchling.testing.hosts import outer_url
from batchling.testing.openai_files import json_object, reply
from batchling.testing.state import Row, Served, ServerState, Stage, encode, grpc_code, page_size, rows_of
from batchling.testing.streams import gemini_stream

_MAX_INLINE = 20 * 1024 * 1024
_BODY = frozenset(
    {
        "contents",
        "systemInstruction",
        "tools",
        "toolConfig",
        "safetySettings",
        "generationConfig",
        "cachedContent",
        "model",
    }
)
_EMBED_BODY = frozenset({"content", "taskType", "title", "outputDimensionality", "model"})
_KINDS = {"batchGenerateContent": "generateContent", "asyncBatchEmbedContent": "embedContent"}


class GeminiApi:
    """The handlers below one of the two paths where Gemini is mounted; `name` says which, and both serve everything."""

    def __init__(self, shared: ServerState, name: str) -> None:
        self.name = name
        self._shared = shared
        self.jobs: dict[str, Served] = {}
        self._files: dict[str, dict[str, Any]] = {}
        self.contents: dict[str, bytes] = {}

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """The routes of every call that this API answers."""
        native, compatible = prefix + "/v1beta", prefix + "/v1beta/openai"
        return [
            web.post(prefix + "/{version:v1|v1beta|v1alpha}/models/{model}:{method}", self._call),
            web.post(prefix + "/upload/v1beta/files", self._upload),
            web.get(native + "/files", self._list_files),
            web.get(prefix + "/download/v1beta/files/{id}:download", self._download),
            web.get(native + "/batches", self._list),
            web.get(native + "/batches/{id}", self._get),
            web.post(native + "/batches/{id}:cancel", self._cancel),
            *Compatible(self, self._shared).routes(compatible),
        ]

    def creates(self, method: str, path: str) -> bool:
        """Whether this call creates a job."""
        return method == "POST" and path.endswith(("/openai/batches", *(":" + kind for kind in _KINDS)))

    def account(self, request: web.Request) -> str:
        """A digest of the caller's credential. Raises a 400 for a missing or refused key."""
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        key = request.headers.get("x-goog-api-key") or request.query.get("key") or bearer
        if not key or key.startswith("sk-bad"):
            raise refused(400, "API key not valid. Please pass a valid API key.", "API_KEY_INVALID")
        return digest(key)

    async def _call(self, request: web.Request) -> web.StreamResponse:
        method, model = request.match_info["method"], request.match_info["model"]
        account = self.account(request)
        if method in _KINDS:
            return await self._create(request, account, model, _KINDS[method])
        if method not in ("generateContent", "streamGenerateContent", "embedContent", "batchEmbedContents"):
            raise refused(404, f"{method} is not found")
        body = await json_object(request)
        status, answer = self._answer(method.replace("streamG", "g"), model, body)
        if status == 200:
            for each in body["requests"] if method == "batchEmbedContents" else [body]:
                self._shared.bill(self.name, f":{method}", account, {**each, "model": model}, answer, None)
        if status == 200 and method == "streamGenerateContent":
            return await gemini_stream(request, answer)
        return reply(answer, status)

    def _answer(self, method: str, model: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if (fault := self._shared.row_fault_for(body)) is not None:
            return fault.status, fault.error
        if model == "no-such-model":
            return 404, failure(404, "models/no-such-model is not found")
        body = samples.lower_camel(body)
        known = _BODY if method == "generateContent" else _EMBED_BODY
        if method != "batchEmbedContents" and (unknown := set(body) - known):
            return 400, failure(400, f'Invalid JSON payload received. Unknown name "{min(unknown)}"')
        if method == "generateContent" and not body.get("contents"):
            return 400, failure(400, "* GenerateContentRequest.contents: contents is not specified")
        if method == "generateContent" and (reason := _unanswered(body["contents"])):
            return 400, failure(400, reason)
        return 200, samples.answer(method, model, body)

    async def _create(self, request: web.Request, account: str, model: str, method: str) -> web.Response:
        raw = await request.read()
        batch = (await json_object(request)).get("batch")
        batch = samples.lower_camel(batch, deep=False) if isinstance(batch, dict) else {}
        if not batch.get("displayName"):
            raise refused(400, "batch.display_name is required")
        source = samples.lower_camel(batch.get("inputConfig") or {}, deep=False)
        rows: list[tuple[str, dict[str, Any]]]
        if name := source.get("fileName"):
            content = self.contents.get(name)
            if content is None or self._files[name]["account"] != account:
                raise refused(404, f"File {name} not found")
            named = rows = rows_of(content)
        else:
            if len(raw) > _MAX_INLINE:
                raise refused(400, "Request payload size exceeds the limit: 20971520 bytes.")
            asked = source["requests"]["requests"]
            echoes = {f"{each['metadata']['key']}~{number}": each["metadata"] for number, each in enumerate(asked)}
            rows = list(zip(echoes, (each["request"] for each in asked), strict=True))
            named = [(each["metadata"]["key"], each["request"]) for each in asked]
            self.check(named, "upload")
        if model == "no-such-model":
            raise refused(404, "models/no-such-model is not found")
        self.check(named, "create")
        job = self.new_job(account, f":{method}", rows)
        job.fault = self._shared.job_fault_for(named, "job")
        job.words = {"displayName": batch["displayName"], "model": f"models/{model}", "inline": not name}
        if not name:
            job.words["echoes"] = echoes
        return reply(self._shown(job))

    def check(self, rows: bytes | list[Row], stage: Stage) -> None:
        """Refuse rows that the API objects to."""
        if objection := self._shared.objection(rows, stage):
            raise refused(objection.status, objection.message)

    def new_job(self, account: str, endpoint: str, rows: list[tuple[str, dict[str, Any]]]) -> Served:
        """A job that has just been created."""
        job = Served(f"job{self._shared.number():08d}", account, endpoint, rows, self._shared.now())
        self.jobs[job.id] = job
        return job

    async def _upload(self, request: web.Request) -> web.Response:
        account = self.account(request)
        command = request.headers.get("x-goog-upload-command", "")
        if command == "start" and request.headers.get("x-goog-upload-protocol") == "resumable":
            named = samples.lower_camel((await json_object(request)).get("file") or {})
            place = f"{outer_url(request, request.path)}?upload_id={named.get('displayName')}"
            return web.Response(headers={"x-goog-upload-url": place, "x-goog-upload-status": "active"})
        if command != "upload, finalize" or request.headers.get("x-goog-upload-offset") != "0":
            raise refused(400, "unknown upload command")
        content = await request.read()
        self.check(content, "upload")
        return reply({"file": self._add(account, request.query["upload_id"], content)})

    def _add(self, account: str, display_name: str, content: bytes, kind: str = "") -> dict[str, Any]:
        name = f"files/{kind}{self._shared.number():012d}"
        file = {"name": name, "displayName": display_name, "sizeBytes": str(len(content)), "state": "ACTIVE"}
        self._files[name] = {**file, "account": account}
        self.contents[name] = content
        return file

    async def _list_files(self, request: web.Request) -> web.Response:
        account = self.account(request)
        files = [file for file in self._files.values() if file["account"] == account]
        return reply({"files": [{name: file[name] for name in file if name != "account"} for file in files]})

    async def _download(self, request: web.Request) -> web.Response:
        name = f"files/{request.match_info['id']}"
        if name not in self.contents or self._files[name]["account"] != self.account(request):
            raise refused(404, f"File {name} not found")
        return web.Response(body=self.contents[name], content_type="application/octet-stream")

    def find_job(self, request: web.Request) -> Served:
        """The job that a call is about."""
        job = self.jobs.get(request.match_info["id"])
        if job is None or job.account != self.account(request):
            raise refused(404, "Requested entity was not found.")
        return job

    async def _get(self, request: web.Request) -> web.Response:
        job = self.find_job(request)
        self.go_on(job)
        return reply(self._shown(job, with_rows=True))

    async def _list(self, request: web.Request) -> web.Response:
        jobs = self.jobs_of(self.account(request))
        start = int(request.query.get("pageToken") or 0)
        size = page_size(request, "pageSize")
        found, more = self._shared.listed(jobs, start, size)
        page = [self._shown(job) for job in found]
        token = {"nextPageToken": str(start + size)} if more else {}
        return reply({**({"operations": page} if page else {}), **token})

    def jobs_of(self, account: str) -> list[Served]:
        """The jobs of an account, the newest first."""
        jobs = [job for job in reversed(self.jobs.values()) if job.account == account]
        for job in jobs:
            self.go_on(job)
        return jobs

    async def _cancel(self, request: web.Request) -> web.Response:
        self.find_job(request).cancelled = True
        return reply({})

    def go_on(self, job: Served) -> None:
        """Advance the job; called whenever a client looks at it."""
        job.polls += 1
        if not job.over and self._shared.ready(job):
            self._finish(job)

    def _finish(self, job: Served) -> None:
        word, done = self._shared.ending(job)
        job.over = word or "succeeded"
        compatible = job.endpoint.startswith("/")
        model = str(job.words.get("model")).removeprefix("models/")
        lines: list[tuple[str, bytes]] = []
        good = 0
        for key, body in job.rows[:done]:
            status, answer = self._run(job, model, {**body, "x": key} if self._shared.varied else body)
            good += status == 200
            lines.append((key, encode(_row(key, status, answer, compatible, job.words.get("echoes")))))
            if status == 200:
                known = body if compatible else {**body, "model": model}
                self._shared.bill(self.name, job.endpoint, job.account, known, answer, (key, job.id))
        job.counts = {"successfulRequestCount": good, "failedRequestCount": done - good}
        job.lines = self._shared.written(job, lines)
        if lines and not job.words.get("inline"):
            content = b"".join(line + b"\n" for line in job.lines)
            job.words["responsesFile"] = self._add(job.account, "", content, "batch-")["name"]

    def _run(self, job: Served, model: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if job.endpoint.startswith("/"):
            return compatible_answer(self._shared, job.endpoint, body)
        return self._answer(job.endpoint.removeprefix(":"), model, {k: v for k, v in body.items() if k != "x"})

    def _shown(self, job: Served, *, with_rows: bool = False) -> dict[str, Any]:
        early = "running" if job.polls else "pending"
        stats = {"requestCount": len(job.rows), **job.counts}
        if not job.over:
            stats["pendingRequestCount"] = len(job.rows)
        detail: dict[str, Any] = {
            "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
            "model": job.words["model"],
            "displayName": job.words["displayName"],
            "createTime": _time(job.created_at),
            "updateTime": _time(self._shared.now()),
            "batchStats": {name: str(count) for name, count in stats.items() if count},
            "state": f"BATCH_STATE_{(self.over(job) or early).upper()}",
            "name": f"batches/{job.id}",
        }
        shown: dict[str, Any] = {"name": f"batches/{job.id}", "metadata": detail}
        if not job.over:
            return shown
        if job.reason is not None:
            shown["error"] = {"code": grpc_code(job.reason.code), "message": job.reason.message}
        if job.over == "failed" and not job.lines:
            return {**shown, "done": True}
        output: Any = {}
        if file := job.words.get("responsesFile"):
            output = {"responsesFile": file}
        elif job.words.get("inline") and with_rows:
            output = {"inlinedResponses": {"inlinedResponses": [msgspec.Raw(line) for line in job.lines]}}
        detail["output"] = output
        return {**shown, "done": True, "response": output}

    def over(self, job: Served) -> str:
        """How a job ended, in Gemini's words."""
        return self._shared.ended(job.over) if job.over == "succeeded" else job.over


def _unanswered(contents: list[Any]) -> str:
    """Why the function responses of a conversation do not match the calls before them; empty when they do."""
    counts = [
        [sum(name in part for part in content.get("parts") or []) for name in ("functionCall", "functionResponse")]
        for content in contents
        if isinstance(content, dict)
    ]
    called = [0, *(calls for calls, _ in counts)]
    if any(answers and answers != before for before, (_, answers) in zip(called, counts, strict=False)):
        return (
            "Please ensure that the number of function response parts is equal to the number of function call parts of "
            "the function call turn."
        )
    return ""


def _row(key: str, status: int, answer: dict[str, Any], compatible: bool, echoes: Any) -> dict[str, Any]:
    if compatible:
        return {"id": f"r-{key}", "custom_id": key, "response": {"status_code": status, "body": answer}, "error": None}
    named: dict[str, Any] = {"metadata": echoes[key]} if echoes else {"key": key}
    if status == 200:
        return {"response": answer, **named}
    code = {400: 3, 404: 5, 429: 8, 500: 13}.get(status, 2)
    return {"error": {"code": code, "message": answer["error"]["message"]}, **named}


def _time(seconds: float) -> str:
    """A time with nine decimals, as in Google's APIs."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
