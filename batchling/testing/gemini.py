"""Gemini's APIs at the embedded server, both its own and the OpenAI-compatible one, as strict as the originals.

Shapes: recorded traffic of 2025 and 2026: states are BATCH_STATE_*, counters are texts and left out when they are zero,
`done` is absent until the end, and an empty list is `{}`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
from aiohttp import web

from batchling.core.fingerprint import digest
from batchling.providers.samples import gemini as samples
from batchling.providers.samples import openai
from batchling.testing.faults import Body, Row, grpc_code
from batchling.testing.gemini_compatible import Compatible
from batchling.testing.gemini_files import GeminiFiles
from batchling.testing.google_wordings import failure, google_page, refused
from batchling.testing.replies import Refusal, jsonl, reply
from batchling.testing.served import ServedApi
from batchling.testing.state import Served, ServerState, rows_of
from batchling.testing.streams import gemini_stream

_MAX_INLINE = 20 * 1024 * 1024
_OPTIONS = frozenset({"tools", "toolConfig", "safetySettings", "generationConfig", "cachedContent"})
_BODY = _OPTIONS | {"contents", "systemInstruction", "model"}
_EMBED_BODY = frozenset({"content", "taskType", "title", "outputDimensionality", "model"})
_KINDS = {"batchGenerateContent": "generateContent", "asyncBatchEmbedContent": "embedContent"}


class GeminiApi(ServedApi):
    """The handlers below one of the two paths where Gemini is mounted; `name` says which, and both serve everything."""

    creating: tuple[str, ...] = ("/openai/batches", *(":" + kind for kind in _KINDS))
    no_job: str = "Requested entity was not found."

    def __init__(self, shared: ServerState, name: str) -> None:
        super().__init__(shared)
        self.name = name
        self.files: GeminiFiles = GeminiFiles(self, shared)

    def routes(self, prefix: str) -> list[web.RouteDef]:
        native, compatible = prefix + "/v1beta", prefix + "/v1beta/openai"
        return [
            web.post(prefix + "/{version:v1|v1beta|v1alpha}/models/{model}:{method}", self._call),
            *self.files.routes(prefix),
            web.get(native + "/batches", self._list),
            web.get(native + "/batches/{id}", self._get),
            web.post(native + "/batches/{id}:cancel", self._cancel),
            *Compatible(self, self._shared).routes(compatible),
        ]

    def account(self, request: web.Request) -> str:
        """A digest of the caller's credential. Raises a 400 for a missing or refused key."""
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        key = request.headers.get("x-goog-api-key") or request.query.get("key") or bearer
        if not key or key.startswith("sk-bad"):
            raise refused(400, "API key not valid. Please pass a valid API key.", "API_KEY_INVALID")
        return digest(key)

    def refusal(self, status: int, message: str, param: str | None = None, code: str | None = None) -> Refusal:
        return refused(status, message)

    async def _call(self, request: web.Request) -> web.StreamResponse:
        method, model = request.match_info["method"], request.match_info["model"]
        account = self.account(request)
        if method in _KINDS:
            return await self._create(request, account, model, _KINDS[method])
        if method not in ("generateContent", "streamGenerateContent", "embedContent", "batchEmbedContents"):
            raise refused(404, f"{method} is not found")
        body = await self.body_of(request)
        status, answer = self._answer(f"{model}:{method.replace('streamG', 'g')}", body)
        if status == 200:
            for each in body["requests"] if method == "batchEmbedContents" else [body]:
                self._shared.bill(self.name, f":{method}", account, {**each, "model": model}, answer, None)
        if status == 200 and method == "streamGenerateContent":
            return await gemini_stream(request, answer)
        return reply(answer, status)

    def _endpoint_of(self, request: web.Request) -> str:
        return "/v1" + request.path.partition("/openai")[2]

    def _sample(self, endpoint: str, body: Body) -> tuple[int, Body]:
        """The answer to a compatible call, of which `endpoint` is the path, or to one of a model's methods."""
        if endpoint.startswith("/"):
            return 200, openai.answer(endpoint, body)
        model, _, method = endpoint.rpartition(":")
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
        batch = (await self.body_of(request)).get("batch")
        batch = samples.lower_camel(batch, deep=False) if isinstance(batch, dict) else {}
        if not batch.get("displayName"):
            raise refused(400, "batch.display_name is required")
        source = samples.lower_camel(batch.get("inputConfig") or {}, deep=False)
        rows: list[Row]
        if name := source.get("fileName"):
            named = rows = rows_of(self.files.content_of(name, account))
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
        words = {"displayName": batch["displayName"], "model": f"models/{model}", "inline": not name}
        job = self.new_job(self.new_id(), account, f":{method}", rows, **words)
        job.fault = self._shared.job_fault_for(named, "job")
        if not name:
            job.words["echoes"] = echoes
        return reply(self._shown(job))

    def new_id(self) -> str:
        """The id of a new job."""
        return f"job{self._shared.number():08d}"

    async def _get(self, request: web.Request) -> web.Response:
        job = self.find_job(request)
        self.go_on(job)
        return reply(self._shown(job, with_rows=True))

    async def _list(self, request: web.Request) -> web.Response:
        jobs = self.jobs_of(self.account(request))
        start = int(request.query.get("pageToken") or 0)
        page, token = self.page(jobs, start, self._shared.page_size(request.query.get("pageSize", "")))
        return reply(google_page("operations", page, token))

    async def _cancel(self, request: web.Request) -> web.Response:
        self.find_job(request).cancelled = True
        return reply({})

    def _answer_row(self, job: Served, key: str, body: Body) -> tuple[int, Body]:
        if _is_compatible(job):
            return self._answer(job.endpoint, body)
        return self._answer(_model(job) + job.endpoint, {name: value for name, value in body.items() if name != "x"})

    def _varied(self, job: Served, key: str, body: Body) -> Body:
        return {**body, "x": key}

    def _charged(self, job: Served, key: str, body: Body) -> tuple[str, Body]:
        return job.endpoint, body if _is_compatible(job) else {**body, "model": _model(job)}

    def _finish(self, job: Served, ending: str, done: int) -> None:
        job.over = ending or "succeeded"
        good, lines = self._lines(job, done, _compatible_row if _is_compatible(job) else partial(_row, job))
        job.counts = {"successfulRequestCount": good, "failedRequestCount": done - good}
        job.lines = self._shared.written(job, lines)
        if lines and not job.words.get("inline"):
            job.words["responsesFile"] = self.files.add(job.account, "", jsonl(job.lines), "batch-")["name"]

    def _shown(self, job: Served, *, with_rows: bool = False) -> Body:
        early = "running" if job.polls else "pending"
        stats = {"requestCount": len(job.rows), **job.counts}
        if not job.over:
            stats["pendingRequestCount"] = len(job.rows)
        detail: Body = {
            "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
            "model": job.words["model"],
            "displayName": job.words["displayName"],
            "createTime": _time(job.created_at),
            "updateTime": _time(self._shared.now()),
            "batchStats": {name: str(count) for name, count in stats.items() if count},
            "state": f"BATCH_STATE_{(self.over(job) or early).upper()}",
            "name": f"batches/{job.id}",
        }
        shown: Body = {"name": f"batches/{job.id}", "metadata": detail}
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
        return self._shared.ended(job.over, "succeeded")


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


def _is_compatible(job: Served) -> bool:
    """Whether a job was created by the OpenAI-compatible call: its endpoint is a path."""
    return job.endpoint.startswith("/")


def _model(job: Served) -> str:
    return str(job.words.get("model")).removeprefix("models/")


def _compatible_row(key: str, status: int, answer: Body) -> Body:
    return {"id": f"r-{key}", "custom_id": key, "response": {"status_code": status, "body": answer}, "error": None}


def _row(job: Served, key: str, status: int, answer: Body) -> Body:
    echoes = job.words.get("echoes")
    named: Body = {"metadata": echoes[key]} if echoes else {"key": key}
    if status == 200:
        return {"response": answer, **named}
    code = {400: 3, 404: 5, 429: 8, 500: 13}.get(status, 2)
    return {"error": {"code": code, "message": answer["error"]["message"]}, **named}


def _time(seconds: float) -> str:
    """A time with nine decimals, as in Google's APIs."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
