"""OpenAI's real-time and batch APIs at the embedded server, as strict as the original.

Shapes: recorded traffic of 2025 and 2026; absent ids are null, a job that failed validation has run no row.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec
from aiohttp import web

from batchling.core.fingerprint import digest
from batchling.core.model import JSON
from batchling.samples import openai as samples
from batchling.testing.world import Refusal, Served, World, encode, page_size, shuffled

_ENDPOINTS = (
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/moderations",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/videos",
)
_NEEDS = {"/v1/chat/completions": "messages", "/v1/embeddings": "input", "/v1/moderations": "input"}
_MAX_ROWS = 50_000
_DAY = 86_400


class OpenAIApi:
    """The handlers below `/openai/v1`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.jobs: dict[str, Served] = {}
        self._files: dict[str, dict[str, JSON]] = {}
        self._contents: dict[str, bytes] = {}

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """Every call that this API answers."""
        calls = [web.post(prefix + endpoint, self._real_time) for endpoint in _ENDPOINTS]
        root = prefix + "/v1"
        return [
            *calls,
            web.post(root + "/files", self._upload),
            web.get(root + "/files", self._list_files),
            web.get(root + "/files/{id}", self._get_file),
            web.delete(root + "/files/{id}", self._delete_file),
            web.get(root + "/files/{id}/content", self._content),
            web.post(root + "/batches", self._create),
            web.get(root + "/batches", self._list),
            web.get(root + "/batches/{id}", self._get),
            web.post(root + "/batches/{id}/cancel", self._cancel),
        ]

    def account(self, request: web.Request) -> str:
        """A digest of who asks. Raises the 401 of a missing or refused key."""
        credential = request.headers.get("authorization", "")
        if not credential.startswith("Bearer ") or credential.startswith("Bearer sk-bad"):
            shown = credential[7:13] + "***" if credential else ""
            raise _refusal(401, f"Incorrect API key provided: {shown}.", code="invalid_api_key")
        scope = [request.headers.get(name, "") for name in ("openai-organization", "openai-project")]
        return digest(credential, *scope)

    async def _real_time(self, request: web.Request) -> web.StreamResponse:
        account = self.account(request)
        endpoint = request.path[request.path.index("/v1/") :]
        body = await _json_object(request)
        status, answer = self._answer(endpoint, body)
        if status != 200:
            return _json(answer, status)
        self._world.bill("openai", endpoint, account, body, answer, None)
        return await _stream(request, endpoint, answer) if body.get("stream") else _json(answer)

    def _answer(self, endpoint: str, body: dict[str, JSON]) -> tuple[int, dict[str, JSON]]:
        fault = self._world.row_fault_for(body)
        if fault is not None:
            return fault.status, fault.error
        needed = _NEEDS.get(endpoint)
        if needed and not body.get(needed):
            return 400, _error(f"Missing required parameter: '{needed}'.", needed, "missing_required_parameter")
        if isinstance(body.get("temperature"), int | float) and not 0 <= body["temperature"] <= 2:
            text = "Invalid 'temperature': expected a value between 0 and 2."
            return 400, _error(text, "temperature", "invalid_value")
        return 200, samples.answer(endpoint, body)

    async def _upload(self, request: web.Request) -> web.Response:
        account = self.account(request)
        purpose, name, content = "", "", b""
        async for part in await request.multipart():
            field: Any = part
            if field.name == "purpose":
                purpose = (await field.read()).decode()
            elif field.name == "file":
                name, content = field.filename or "upload", bytes(await field.read())
        if purpose != "batch":
            raise _refusal(400, f"'{purpose}' is not one of ['batch'] - 'purpose'", param="purpose")
        if len(content) > 200 * 1024 * 1024:
            raise _refusal(400, "File is too large.")
        return _json(self._store(account, name, "batch", content))

    def _store(self, account: str, name: str, purpose: str, content: bytes) -> dict[str, JSON]:
        now = int(time.time())
        file: dict[str, JSON] = {
            "object": "file",
            "id": f"file-{self._world.number():024d}",
            "purpose": purpose,
            "filename": name,
            "bytes": len(content),
            "created_at": now,
            "expires_at": now + 30 * _DAY,
            "status": "processed",
            "status_details": None,
        }
        self._files[file["id"]] = {**file, "account": account}
        self._contents[file["id"]] = content
        return file

    def _file(self, request: web.Request) -> dict[str, JSON]:
        file = self._files.get(request.match_info["id"])
        if file is None or file["account"] != self.account(request):
            raise _refusal(404, f"No such File object: {request.match_info['id']}", param="id")
        return file

    async def _get_file(self, request: web.Request) -> web.Response:
        return _json(_public(self._file(request)))

    async def _list_files(self, request: web.Request) -> web.Response:
        account = self.account(request)
        files = [_public(file) for file in reversed(self._files.values()) if file["account"] == account]
        return _json({"object": "list", "data": files, "has_more": False})

    async def _delete_file(self, request: web.Request) -> web.Response:
        file = self._file(request)
        del self._files[file["id"]], self._contents[file["id"]]
        return _json({"object": "file", "deleted": True, "id": file["id"]})

    async def _content(self, request: web.Request) -> web.Response:
        content = self._contents[self._file(request)["id"]]
        return web.Response(body=content, content_type="application/octet-stream")

    async def _create(self, request: web.Request) -> web.Response:
        account = self.account(request)
        order = await _json_object(request)
        file = self._files.get(str(order.get("input_file_id")))
        if file is None or file["account"] != account:
            raise _refusal(400, f"Cannot find file {order.get('input_file_id')}", param="file_id")
        if order.get("endpoint") not in _ENDPOINTS:
            raise _refusal(400, f"Invalid value: '{order.get('endpoint')}'.", param="endpoint", code="invalid_value")
        if order.get("completion_window") != "24h":
            raise _refusal(400, "Invalid value for 'completion_window': must be '24h'.", param="completion_window")
        metadata = order.get("metadata")
        job = Served(f"batch_{self._world.number():032d}", account, order["endpoint"], [], time.time())
        job.words = {"input_file_id": file["id"], "metadata": metadata, "errors": None, "model": None}
        self.jobs[job.id] = job
        self._validate(job, self._contents[file["id"]])
        return _json(self._shown(job))

    def _validate(self, job: Served, content: bytes) -> None:
        """Read the file as OpenAI does after the create call: the first bad line fails the whole job."""
        fault = self._world.job_faults.pop(0) if self._world.job_faults else None
        if fault is None:
            try:
                job.rows = _rows(job.endpoint, content)
                return
            except _BadLine as bad:
                fault = bad.fault
        job.words["errors"] = {"object": "list", "data": [fault]}

    def _job(self, request: web.Request) -> Served:
        job = self.jobs.get(request.match_info["id"])
        if job is None or job.account != self.account(request):
            raise _refusal(404, f"No batch found with id '{request.match_info['id']}'.")
        return job

    async def _get(self, request: web.Request) -> web.Response:
        job = self._job(request)
        self._go_on(job)
        return _json(self._shown(job))

    def _go_on(self, job: Served) -> None:
        """Time passes whenever somebody looks."""
        job.polls += 1
        if not job.over and self._world.ready(job):
            self._finish(job)

    async def _list(self, request: web.Request) -> web.Response:
        account = self.account(request)
        jobs = [job for job in reversed(self.jobs.values()) if job.account == account]
        for job in jobs:
            self._go_on(job)
        if after := request.query.get("after"):
            place = next((n for n, job in enumerate(jobs) if job.id == after), len(jobs))
            jobs = jobs[place + 1 :]
        limit = page_size(request)
        page = [self._shown(job) for job in jobs[:limit]]
        first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
        more = len(jobs) > limit
        return _json({"object": "list", "data": page, "first_id": first, "last_id": last, "has_more": more})

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self._job(request)
        if job.over:
            raise _refusal(409, f"Cannot cancel a batch with status '{job.over}'.")
        job.cancelled = True
        return _json(self._shown(job))

    def _finish(self, job: Served) -> None:
        """Run the rows and end the job: completed, failed, expired or cancelled, with the files that this leaves."""
        if job.words["errors"]:
            job.over = "failed"
            return
        part = self._world.expiries.pop(0) if self._world.expiries else None
        job.over = "cancelled" if job.cancelled else "completed" if part is None else "expired"
        done = round(len(job.rows) * (0 if job.cancelled else 1 if part is None else part))
        good: list[tuple[str, bytes]] = []
        bad: list[tuple[str, bytes]] = []
        for key, body in job.rows[:done]:
            status, answer = self._answer(job.endpoint, {**body, "seed": key} if self._world.varied else body)
            said = {"status_code": status, "request_id": f"req_{digest(job.id, key)}", "body": answer}
            line = encode({"id": f"batch_req_{digest(key)}", "custom_id": key, "response": said, "error": None})
            (good if status == 200 else bad).append((key, line))
            if status == 200:
                self._world.bill("openai", job.endpoint, job.account, body, answer, (key, job.id))
        word = "batch_cancelled" if job.cancelled else "batch_expired"
        for key, _ in job.rows[done:]:
            error = {"code": word, "message": "This request could not be executed."}
            line = encode({"id": f"batch_req_{digest(key)}", "custom_id": key, "response": None, "error": error})
            bad.append((key, line))
        job.counts = {"completed": len(good), "failed": len(bad) if part is None and not job.cancelled else 0}
        for name, rows in (("output_file_id", good), ("error_file_id", bad)):
            if rows:
                content = b"\n".join(shuffled(rows)) + b"\n"
                job.words[name] = self._store(job.account, f"{job.id}_{name}.jsonl", "batch_output", content)["id"]
        job.words["model"] = job.rows[0][1].get("model") if job.rows else None

    def _shown(self, job: Served) -> dict[str, JSON]:
        created = int(job.created_at)
        early = (
            "validating"
            if job.polls < 1
            else "in_progress"
            if job.polls < self._world.polls_to_finish
            else "finalizing"
        )
        ended = {f"{job.over}_at": int(time.time())} if job.over else {}
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
            "errors": job.words["errors"] if job.over == "failed" else None,
            "input_file_id": job.words["input_file_id"],
            "completion_window": "24h",
            "status": job.over or ("cancelling" if job.cancelled else early),
            "output_file_id": job.words.get("output_file_id"),
            "error_file_id": job.words.get("error_file_id"),
            "created_at": created,
            "expires_at": created + _DAY,
            **dict.fromkeys(names),
            **ended,
            "request_counts": {"total": total, "completed": 0, "failed": 0, **job.counts},
            "metadata": job.words["metadata"],
        }


class _BadLine(Exception):
    def __init__(self, code: str, message: str, param: str | None, line: int | None) -> None:
        super().__init__(message)
        self.fault = {"code": code, "message": message, "param": param, "line": line}


def _rows(endpoint: str, content: bytes) -> list[tuple[str, dict[str, JSON]]]:
    """The rows of an input file; `_BadLine` names the first that OpenAI's validation refuses."""
    rows: list[tuple[str, dict[str, JSON]]] = []
    keys: set[str] = set()
    model: JSON = None
    lines = content.split(b"\n")
    for number, line in enumerate(lines if lines[-1] else lines[:-1], 1):
        try:
            row = msgspec.json.decode(line)
        except msgspec.MsgspecError:
            raise _BadLine("invalid_json_line", "This line is not parseable as valid JSON.", None, number) from None
        if not isinstance(row, dict):
            raise _BadLine("invalid_json_line", "This line is not a JSON object.", None, number)
        key, body = row.get("custom_id"), row.get("body")
        if not isinstance(key, str) or not isinstance(body, dict):
            missing = "body" if isinstance(key, str) else "custom_id"
            raise _BadLine("missing_required_parameter", f"Missing required parameter: '{missing}'.", missing, number)
        if key in keys:
            raise _BadLine("duplicate_custom_id", f"The custom_id '{key}' is used twice.", "custom_id", number)
        if row.get("url") != endpoint or row.get("method") != "POST":
            raise _BadLine("invalid_url", "The URL of a line must be the endpoint of the batch.", "url", number)
        if not body.get("model"):
            raise _BadLine("invalid_request", "Model parameter is required.", "body.model", number)
        if body.get("stream"):
            raise _BadLine("streaming_unsupported", "Streaming is not supported in a batch.", "body.stream", number)
        model = model or body["model"]
        if body["model"] != model:
            raise _BadLine("mismatched_model", "All lines must name the same model.", "body.model", number)
        keys.add(key)
        rows.append((key, body))
    if not rows:
        raise _BadLine("empty_file", "The input file is empty.", None, None)
    if len(rows) > _MAX_ROWS:
        raise _BadLine("too_many_tasks", f"The input file has more than {_MAX_ROWS} lines.", None, None)
    if model == "no-such-model":
        raise _BadLine("model_not_found", f"The model '{model}' does not exist.", "body.model", 1)
    return rows


async def _stream(request: web.Request, endpoint: str, answer: dict[str, JSON]) -> web.StreamResponse:
    """The answer as server-sent events: one piece of content, then the end."""
    stream = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await stream.prepare(request)
    if endpoint == "/v1/chat/completions":
        chunk = {**answer, "object": "chat.completion.chunk", "usage": None}
        texts = [{"index": c["index"], "delta": _delta(c["message"]), "finish_reason": None} for c in answer["choices"]]
        ends = [{"index": c["index"], "delta": {}, "finish_reason": c["finish_reason"]} for c in answer["choices"]]
        for choices in (texts, ends):
            await stream.write(b"data: " + encode({**chunk, "choices": choices}) + b"\n\n")
        await stream.write(b"data: [DONE]\n\n")
    else:
        event = {"type": "response.completed", "sequence_number": 0, "response": answer}
        await stream.write(b"event: response.completed\ndata: " + encode(event) + b"\n\n")
    await stream.write_eof()
    return stream


def _delta(message: dict[str, JSON]) -> dict[str, JSON]:
    """A whole message as one piece of a stream, where tool calls are numbered."""
    if "tool_calls" not in message:
        return message
    return {**message, "tool_calls": [{**call, "index": n} for n, call in enumerate(message["tool_calls"])]}


async def _json_object(request: web.Request) -> dict[str, JSON]:
    try:
        body = msgspec.json.decode(await request.read())
    except msgspec.MsgspecError:
        body = None
    if not isinstance(body, dict):
        raise _refusal(400, "We could not parse the JSON body of your request.")
    return body


def _public(file: dict[str, JSON]) -> dict[str, JSON]:
    return {name: value for name, value in file.items() if name != "account"}


def _error(message: str, param: str | None = None, code: str | None = None) -> dict[str, JSON]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def _refusal(status: int, message: str, param: str | None = None, code: str | None = None) -> Refusal:
    return Refusal(_json(_error(message, param, code), status))


def _json(value: JSON, status: int = 200) -> web.Response:
    return web.Response(body=encode(value), status=status, content_type="application/json")
