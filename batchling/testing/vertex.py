"""Vertex AI's generateContent, rawPredict and batch prediction jobs at the embedded server, with Cloud Storage below
`/storage`, as strict as the originals.

Shapes: Vertex's reference of v1, its batch guides, and saved rows of public samples. Rows that a job cannot import make
it fail after its creation, as does a missing input.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from batchling.core.fingerprint import digest
from batchling.providers.samples import anthropic as claude
from batchling.providers.samples import gemini
from batchling.testing.state import JobFault, Refusal, Served, ServerState, encode, grpc_code, page_size
from batchling.testing.streams import claude_stream, gemini_stream

_MAX_ROWS = 200_000
_MAX_BYTES = 1_000_000_000
_LEVELS = 15
_NAMES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND", 412: "FAILED_PRECONDITION"}
_ORDER = frozenset({"displayName", "model", "labels", "inputConfig", "outputConfig"})
_LABEL = re.compile(r"[a-z0-9_-]{1,64}")
_BODY = frozenset(
    {"contents", "systemInstruction", "tools", "toolConfig", "safetySettings", "generationConfig", "labels", "seed"}
)


class VertexApi:
    """The handlers below `/vertex`. An account is a project."""

    name = "vertex"

    def __init__(self, shared: ServerState) -> None:
        self._shared = shared
        self.jobs: dict[str, Served] = {}
        self._objects: dict[tuple[str, str], bytes] = {}

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """The routes of every call that this API answers."""
        root = prefix + "/{version:v1|v1beta1}/projects/{project}/locations/{location}"
        jobs = root + "/batchPredictionJobs"
        models = root + "/publishers/{publisher:google|anthropic}/models"
        stored = prefix + "/storage/storage/v1/b/{bucket}/o"
        return [
            web.post(
                models + "/{model}:{method:generateContent|streamGenerateContent|rawPredict|streamRawPredict}",
                self._real_time,
            ),
            web.post(jobs, self._create),
            web.get(jobs, self._list),
            web.get(jobs + "/{id}", self._get),
            web.post(jobs + "/{id}:cancel", self._cancel),
            web.post(prefix + "/storage/upload/storage/v1/b/{bucket}/o", self._upload),
            web.get(stored, self._objects_below),
            web.get(stored + "/{object:.+}", self._download),
        ]

    def account(self, request: web.Request) -> str:
        """A digest of the account. Raises a 401 for a missing or refused token."""
        token = request.headers.get("authorization", "")
        if not token.startswith("Bearer ") or token.startswith("Bearer sk-bad"):
            raise _refusal(401, "Request had invalid authentication credentials. Expected OAuth 2 access token.")
        found = re.search("/projects/([^/]+)/", request.path)
        return digest("project", found[1] if found else "")

    def creates(self, method: str, path: str) -> bool:
        """Whether this call creates a job."""
        return method == "POST" and path.endswith("/batchPredictionJobs")

    async def _real_time(self, request: web.Request) -> web.StreamResponse:
        account = self.account(request)
        place = request.match_info
        google, streams = place["publisher"] == "google", place["method"].startswith("stream")
        if google != place["method"].endswith("enerateContent"):
            raise _refusal(404, f"{place['method']} is not found")
        body = await _json_object(request)
        asked = {name: value for name, value in body.items() if name != "stream"} if streams else body
        status, answer = self._answer(place["publisher"], place["model"], asked)
        if status == 200:
            self._shared.bill("vertex", f":{place['method']}", account, {**body, "model": place["model"]}, answer, None)
        if status == 200 and streams:
            return await (gemini_stream if google else claude_stream)(request, answer)
        return _json(answer, status)

    def _answer(self, publisher: str, model: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if (fault := self._shared.row_fault_for(body)) is not None:
            return fault.status, fault.error
        if publisher == "anthropic":
            return _claude(model, body)
        body = gemini.lower_camel(body)
        if unknown := set(body) - _BODY:
            return 400, _error(400, f'Invalid JSON payload received. Unknown name "{min(unknown)}"')
        contents = body.get("contents")
        if not isinstance(contents, list) or not contents:
            return 400, _error(400, "at least one contents field is required")
        if any(not isinstance(each, dict) or each.get("role") not in ("user", "model") for each in contents):
            return 400, _error(400, "Please use a valid role: user, model.")
        return 200, gemini.answer("generateContent", model, body)

    async def _create(self, request: web.Request) -> web.Response:
        account = self.account(request)
        order = await _json_object(request)
        if unknown := set(order) - _ORDER:
            raise _refusal(400, f'Invalid JSON payload received. Unknown name "{min(unknown)}"')
        publisher, _, model = str(order.get("model")).removeprefix("publishers/").partition("/models/")
        location = request.match_info["location"]
        if not order.get("displayName") or publisher not in ("google", "anthropic") or not model:
            raise _refusal(400, "display_name and the model's resource name are required")
        if publisher == "anthropic" and location == "global":
            raise _refusal(400, f"Model {model} does not support batch prediction in global.")
        if model == "no-such-model":
            raise _refusal(404, f"Publisher Model `publishers/{publisher}/models/{model}` was not found.")
        labels = order.get("labels") or {}
        if not all(_LABEL.fullmatch(part) for pair in labels.items() for part in pair):
            raise _refusal(400, "labels must be of lower case letters, digits, _ and -")
        source, output = _uris(order)
        content = self._objects.get(_split(source))
        if objection := self._shared.objection(content or b"", "create"):
            raise _refusal(objection.status, objection.message)
        job = Served(str(self._shared.number()), account, f"{publisher}/{model}", [], self._shared.now())
        job.words = {"location": location, "order": order, "output": output}
        job.fault = self._why_not(job, content) or self._shared.job_fault_for(content or b"", "upload", "job")
        self.jobs[job.id] = job
        return _json(self._shown(job))

    def _why_not(self, job: Served, content: bytes | None) -> JobFault | None:
        """Read the rows of a job; returns why they cannot be read."""
        if content is None:
            return JobFault("FAILED_PRECONDITION", "Cannot read the input")
        try:
            lines = [msgspec.json.decode(line, type=dict) for line in content.split(b"\n") if line]
            job.rows = [(line["custom_id"], line["request"]) for line in lines]
            if not lines or len(lines) > _MAX_ROWS or len(content) > _MAX_BYTES:
                return JobFault("INVALID_ARGUMENT", f"between 1 and {_MAX_ROWS} rows are allowed, in 1 GB")
            columns: dict[str, str] = {}
            for line in lines:
                _import(columns, "", line, 0)
        except (msgspec.MsgspecError, KeyError, _NotImported) as fault:
            return JobFault("INVALID_ARGUMENT", f"Failed to import data. {fault}")
        return None

    def _job(self, request: web.Request) -> Served:
        job = self.jobs.get(request.match_info["id"])
        account = self.account(request)
        if job is None or (job.account, job.words["location"]) != (account, request.match_info["location"]):
            raise _refusal(404, "The BatchPredictionJob does not exist.")
        return job

    async def _get(self, request: web.Request) -> web.Response:
        job = self._job(request)
        self._go_on(job)
        return _json(self._shown(job))

    async def _list(self, request: web.Request) -> web.Response:
        account = self.account(request)
        asked = re.fullmatch(r"labels\.([a-z0-9_-]+)=([a-z0-9_-]+)", request.query.get("filter", ""))
        if asked is None and request.query.get("filter"):
            raise _refusal(400, "Invalid filter")
        mine = [job for job in reversed(self.jobs.values()) if job.account == account]
        found = [job for job in mine if job.words["location"] == request.match_info["location"]]
        for job in found:
            self._go_on(job)
        if asked is not None:
            found = [job for job in found if (job.words["order"].get("labels") or {}).get(asked[1]) == asked[2]]
        start, size = _start(request), page_size(request, "pageSize")
        page, more = self._shared.listed(found, start, size)
        jobs = {"batchPredictionJobs": [self._shown(job) for job in page]} if page else {}
        return _json({**jobs, **({"nextPageToken": str(start + size)} if more else {})})

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self._job(request)
        if job.over:
            error = _error(400, f"The job is in state {job.over} already")
            error["error"]["status"] = "FAILED_PRECONDITION"
            return _json(error, 400)
        job.cancelled = True
        return _json({})

    def _go_on(self, job: Served) -> None:
        """Advance the job; called whenever a client looks at it."""
        job.polls += 1
        if not job.over and self._shared.ready(job):
            self._finish(job)

    def _finish(self, job: Served) -> None:
        word, done = self._shared.ending(job)
        job.over = f"JOB_STATE_{word.upper() or 'SUCCEEDED'}"
        publisher, _, model = job.endpoint.partition("/")
        job.counts = {"successfulCount": 0, "failedCount": 0, "incompleteCount": len(job.rows) - done}
        lines: list[tuple[str, bytes]] = []
        for key, body in job.rows[:done]:
            varied = {**body, "labels": {"row": key}} if publisher == "google" else {**body, "user": key}
            status, answer = self._answer(publisher, model, varied if self._shared.varied else body)
            job.counts["successfulCount" if status == 200 else "failedCount"] += 1
            said = {"status": "", "response": answer}
            if status == 200:
                method = ":generateContent" if publisher == "google" else ":rawPredict"
                bill = {**body, "model": model}
                self._shared.bill("vertex", method, job.account, bill, answer, (key, job.id))
            elif publisher == "google":
                said = {"status": f"Bad Request: {encode(answer).decode()}", "response": {}}
            line = {"custom_id": key, **said, "processed_time": _time(self._shared.now()), "request": body}
            lines.append((key, encode(line)))
        job.lines = self._shared.written(job, lines)
        half = (len(job.lines) + 1) // 2
        for shard, part in enumerate((job.lines[:half], job.lines[half:])):
            if part:
                place = _split(f"{self._directory(job)}/predictions_{shard:05}.jsonl")
                self._objects[place] = b"\n".join(part) + b"\n"

    def _directory(self, job: Served) -> str:
        return f"{job.words['output'].rstrip('/')}/prediction-model-{_time(job.created_at)}"

    def _shown(self, job: Served) -> dict[str, Any]:
        word = self._shared.ended("SUCCEEDED").upper()
        state = job.over.replace("SUCCEEDED", word) or (
            "JOB_STATE_CANCELLING" if job.cancelled else "JOB_STATE_PENDING"
        )
        shown: dict[str, Any] = {
            "name": f"projects/123456789012/locations/{job.words['location']}/batchPredictionJobs/{job.id}",
            **job.words["order"],
            "state": "JOB_STATE_RUNNING" if state == "JOB_STATE_PENDING" and job.polls else state,
            "createTime": _time(job.created_at),
            "updateTime": _time(self._shared.now()),
        }
        if job.reason is not None:
            shown["error"] = {"code": grpc_code(job.reason.code), "message": job.reason.message}
        if job.over and (job.lines or job.over != "JOB_STATE_FAILED"):
            shown["completionStats"] = {name: str(count) for name, count in job.counts.items() if count}
            if job.lines:
                shown["outputInfo"] = {"gcsOutputDirectory": self._directory(job)}
        return shown

    async def _upload(self, request: web.Request) -> web.Response:
        self.account(request)
        name = request.query.get("name", "")
        if request.query.get("uploadType") != "media" or not name:
            raise _refusal(400, "Required parameter: name")
        place = (request.match_info["bucket"], name)
        content = await request.read()
        if request.query.get("ifGenerationMatch") == "0" and place in self._objects:
            raise _refusal(412, "At least one of the pre-conditions you specified did not hold.")
        self._objects[place] = content
        return _json(_described(place, content))

    async def _objects_below(self, request: web.Request) -> web.Response:
        self.account(request)
        bucket, prefix = request.match_info["bucket"], request.query.get("prefix", "")
        found = sorted(place for place in self._objects if place[0] == bucket and place[1].startswith(prefix))
        page, more = _page(request, found, "maxResults")
        items = {"items": [_described(place, self._objects[place]) for place in page]} if page else {}
        return _json({"kind": "storage#objects", **items, **more})

    async def _download(self, request: web.Request) -> web.Response:
        self.account(request)
        place = (request.match_info["bucket"], request.match_info["object"])
        content = self._objects.get(place)
        if content is None:
            raise _refusal(404, f"No such object: {place[0]}/{place[1]}")
        if request.query.get("alt") != "media":
            return _json(_described(place, content))
        return web.Response(body=content, content_type="application/octet-stream")


class _NotImported(Exception):
    """The importer cannot turn a row into columns."""


def _import(columns: dict[str, str], path: str, value: Any, level: int) -> None:
    """Turn a row into columns, as for a table in which each column has one type."""
    if value is None:
        return
    kind = "number" if type(value) in (int, float) else type(value).__name__
    if columns.setdefault(path, kind) != kind:
        raise _NotImported(f"{path} is of type {kind}, and was of type {columns[path]}")
    if isinstance(value, dict):
        if level > _LEVELS or not value:
            raise _NotImported(f"{path} is empty or nested too deep")
        for name, inner in value.items():
            if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
                raise _NotImported(f"Invalid field name {name}")
            _import(columns, f"{path}.{name}", inner, level + 1)
    elif isinstance(value, list):
        for inner in value:
            _import(columns, f"{path}[]", inner, level)


def _claude(model: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    for name in ("messages", "max_tokens", "anthropic_version"):
        if not body.get(name):
            return 400, _claude_error(f"{name}: Field required")
    for name in ("model", "custom_id"):
        if name in body:
            return 400, _claude_error(f"{name}: Extra inputs are not permitted")
    if body.get("stream"):
        return 400, _claude_error("stream: use streamRawPredict")
    return 200, claude.answer({**body, "model": model})


def _claude_error(message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": "invalid_request_error", "message": message}}


def _uris(order: dict[str, Any]) -> tuple[str, str]:
    """Where a job's rows come from and where its results go. Raises a 400 for anything but JSONL in Cloud Storage."""
    try:
        (source,) = order["inputConfig"]["gcsSource"]["uris"]
        output = order["outputConfig"]["gcsDestination"]["outputUriPrefix"]
        formats = {order["inputConfig"]["instancesFormat"], order["outputConfig"]["predictionsFormat"]}
    except (KeyError, TypeError, ValueError):
        raise _refusal(400, "inputConfig and outputConfig are required") from None
    if formats != {"jsonl"} or not all(str(uri).startswith("gs://") for uri in (source, output)):
        raise _refusal(400, "only JSONL in Cloud Storage is served here")
    return source, output


def _split(uri: str) -> tuple[str, str]:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return bucket, name


def _described(place: tuple[str, str], content: bytes) -> dict[str, Any]:
    return {"kind": "storage#object", "bucket": place[0], "name": place[1], "size": str(len(content))}


def _start(request: web.Request) -> int:
    token = request.query.get("pageToken", "0")
    return int(token) if token.isdecimal() else 0


def _page(request: web.Request, found: list[Any], size: str) -> tuple[list[Any], dict[str, str]]:
    """The part of a list that a call requests, and the token of the next part."""
    begin = _start(request)
    end = begin + page_size(request, size)
    return found[begin:end], {"nextPageToken": str(end)} if end < len(found) else {}


async def _json_object(request: web.Request) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(await request.read())
    except msgspec.MsgspecError:
        body = None
    if not isinstance(body, dict):
        raise _refusal(400, "Invalid JSON payload received.")
    return body


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _error(status: int, message: str) -> dict[str, Any]:
    return {"error": {"code": status, "message": message, "status": _NAMES.get(status, "UNKNOWN")}}


def _refusal(status: int, message: str) -> Refusal:
    return Refusal(_json(_error(status, message), status))


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=encode(value), status=status, content_type="application/json")
