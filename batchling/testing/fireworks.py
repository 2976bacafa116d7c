"""Fireworks' API at the embedded server: datasets, jobs with ids chosen by the caller, signed links.

Shapes: its API reference.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec
from aiohttp import web

from batchling.providers.samples import openai as samples
from batchling.testing.faults import GRPC, Body, JobFault, grpc_code
from batchling.testing.hosts import outer_url
from batchling.testing.replies import Refusal, encode, error, reply
from batchling.testing.served import ServedApi
from batchling.testing.state import Line, Served, ServerState

_ORDER = {"model", "inputDatasetId", "outputDatasetId", "displayName", "inferenceParameters"}


class FireworksApi(ServedApi):
    """The handlers below the path where Fireworks is mounted."""

    name = "fireworks"
    creating: tuple[str, ...] = ("/batchInferenceJobs",)

    def __init__(self, shared: ServerState) -> None:
        super().__init__(shared)
        self._datasets: dict[str, bytes | None] = {}
        self._looks: dict[str, int] = {}

    def routes(self, prefix: str) -> list[web.RouteDef]:
        own = prefix + "/v1/accounts/{account}"
        jobs = own + "/batchInferenceJobs"
        return [
            web.post(prefix + "/inference/v1/chat/completions", self.real_time),
            web.get(prefix + "/v1/accounts", self._accounts),
            web.post(own + "/datasets", self._make_dataset),
            web.post(own + "/datasets/{id}:upload", self._upload),
            web.get(own + "/datasets/{id}:getDownloadEndpoint", self._links),
            web.get(own + "/datasets/{id}", self._dataset),
            web.get(prefix + "/signed/{id}/{part}", self._signed),
            web.post(jobs, self._create),
            web.get(jobs, self._list),
            web.get(jobs + "/{id}", self._get),
            web.delete(jobs + "/{id}", self._cancel),
        ]

    def account(self, request: web.Request) -> str:
        return super().account(request)[:12]

    def _refused_key(self) -> Refusal:
        body = {"error": {"message": "The API key you provided is invalid.", "code": "UNAUTHORIZED"}}
        return Refusal(reply(body, 403))

    def refusal(self, status: int, message: str, param: str | None = None, code: str | None = None) -> Refusal:
        return _refusal(status, grpc_code(code or ""), message)

    def _own(self, request: web.Request) -> str:
        account = self.account(request)
        if request.match_info["account"] != account:
            raise _refusal(403, 7, "not your account")
        return account

    async def _accounts(self, request: web.Request) -> web.Response:
        return reply({"accounts": [{"name": f"accounts/{self.account(request)}"}]})

    def _sample(self, endpoint: str, body: Body) -> tuple[int, Body]:
        if not body.get("messages"):
            return 400, error("Missing required parameter: 'messages'.", "messages")
        return 200, samples.answer(endpoint, body)

    async def _make_dataset(self, request: web.Request) -> web.Response:
        account = self._own(request)
        order = await self.body_of(request)
        name = f"{account}/{order.get('datasetId')}"
        if not isinstance(order.get("dataset", {}).get("exampleCount"), str):
            raise _refusal(400, 3, "exampleCount is required")
        if name in self._datasets:
            raise _refusal(409, 6, "dataset already exists")
        self._datasets[name] = None
        return reply({"name": f"accounts/{account}/datasets/{order['datasetId']}", "state": "UPLOADING"})

    def _named(self, request: web.Request) -> str:
        """The dataset that a call is about, which must exist."""
        name = f"{self._own(request)}/{request.match_info['id']}"
        if name not in self._datasets:
            raise _refusal(404, 5, "no such dataset")
        return name

    async def _upload(self, request: web.Request) -> web.Response:
        name = self._named(request)
        if self._datasets[name] is not None:
            raise _refusal(400, 9, "the dataset is uploaded already")
        async for part in await request.multipart():
            field: Any = part
            if field.name == "file":
                content = bytes(await field.read())
                self.check(content, "upload")
                self._datasets[name] = content
        return reply({})

    async def _dataset(self, request: web.Request) -> web.Response:
        """The dataset. The first time it is requested, it is not ready yet."""
        name = self._named(request)
        self._looks[name] = self._looks.get(name, 0) + 1
        ready = self._datasets[name] is not None and self._looks[name] > 1
        return reply({"name": request.path, "state": "READY" if ready else "UPLOADING"})

    async def _create(self, request: web.Request) -> web.Response:
        account = self._own(request)
        order = await self.body_of(request)
        name = request.query.get("batchInferenceJobId", "")
        job_id = f"{account}/{name}"
        if not name or job_id in self.jobs:
            raise _refusal(409, 6, "batch inference job already exists")
        if set(order) - _ORDER or not order.get("model"):
            raise _refusal(400, 3, "unknown field, or no model")
        content = self._datasets.get(order["inputDatasetId"].replace("accounts/", "").replace("/datasets/", "/"))
        if content is None:
            raise _refusal(404, 5, "no such dataset")
        self.check(content, "create")
        rows = [msgspec.json.decode(line) for line in content.split(b"\n") if line]
        words = {"name": name, "model": order["model"], "output": order["outputDatasetId"]}
        job = self.new_job(job_id, account, "/v1/chat/completions", [], **words)
        if any(set(row) != {"custom_id", "body"} or "model" in row["body"] for row in rows):
            job.fault = JobFault("INVALID_ARGUMENT", "a row has custom_id and body, and the model is the job's")
        else:
            job.fault = self._shared.job_fault_for(content, "job")
            job.rows = [(row["custom_id"], {**row["body"], "model": order["model"]}) for row in rows]
        return reply(self._shown(job))

    def find_job(self, request: web.Request) -> Served:
        job = self.jobs.get(f"{self._own(request)}/{request.match_info['id']}")
        if job is None or job.words.get("deleted"):
            raise _refusal(404, 5, "job not found")
        return job

    async def _list(self, request: web.Request) -> web.Response:
        jobs = [job for job in self.jobs_of(self._own(request)) if not job.words.get("deleted")]
        start = int(request.query.get("pageToken") or 0)
        page, token = self.page(jobs, start, self._shared.page_size(request.query.get("pageSize", "")))
        return reply({"batchInferenceJobs": page, "nextPageToken": token, "totalSize": len(jobs)})

    async def _get(self, request: web.Request) -> web.Response:
        job = self.find_job(request)
        if not job.cancelled:
            return await super()._get(request)
        job.polls += 1
        job.over = "CANCELLED"
        job.words["deleted"] = True  # the job is shown for the last time
        return reply({**self._shown(job), "state": "JOB_STATE_DELETING_CLEANING_UP"})

    async def _cancel(self, request: web.Request) -> web.Response:
        self.find_job(request).cancelled = True
        return reply({})

    def _finish(self, job: Served, ending: str, done: int) -> None:
        job.over = ending.upper() or "COMPLETED"
        lines: list[Line] = []
        failed: list[Line] = []
        for key, status, answer in self._run(job, done):
            if status == 200:
                lines.append((key, encode({"custom_id": key, "response": answer})))
            else:
                fault = {"message": answer["error"]["message"], "code": str(status)}
                failed.append((key, encode({"custom_id": key, "error": fault})))
        job.counts = {"successfullyProcessedRequests": len(lines), "failedRequests": len(failed)}
        job.words["parts"] = {
            "BIJOutputSet.jsonl": self._shared.written(job, lines),
            "error-data": self._shared.written(job, failed),
        }

    async def _links(self, request: web.Request) -> web.Response:
        output = f"accounts/{self._own(request)}/datasets/{request.match_info['id']}"
        job = next((job for job in self.jobs.values() if job.words["output"] == output and "parts" in job.words), None)
        if job is None:
            raise _refusal(404, 5, "no such dataset")
        place = outer_url(request, f"/fireworks/signed/{job.id.replace('/', '.')}", signed=True)
        links = {f"dataset/{part}": f"{place}/{part}" for part, lines in job.words["parts"].items() if lines}
        return reply({"filenameToSignedUrls": links})

    async def _signed(self, request: web.Request) -> web.Response:
        if "authorization" in request.headers:
            raise _refusal(400, 3, "a signed link takes no credential")
        job = self.jobs[request.match_info["id"].replace(".", "/")]
        return web.Response(body=b"\n".join(job.words["parts"][request.match_info["part"]]) + b"\n")

    def _shown(self, job: Served) -> Body:
        early = "DELETING_CLEANING_UP" if job.cancelled else "RUNNING" if job.polls else "CREATING"
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(job.created_at + 86_400))
        return {
            "name": f"accounts/{job.account}/batchInferenceJobs/{job.words['name']}",
            "state": f"JOB_STATE_{self._shared.ended(job.over, 'COMPLETED') or early}",
            "status": _why(job.reason),
            "expireTime": expires,
            "model": job.words["model"],
            "outputDatasetId": job.words["output"],
            "jobProgress": {"totalInputRequests": len(job.rows), **job.counts},
        }


def _why(fault: JobFault | None) -> Body:
    if fault is None:
        return {"code": "OK", "message": ""}
    return {"code": fault.code if fault.code in GRPC else "INVALID_ARGUMENT", "message": fault.message}


def _refusal(status: int, code: int, message: str) -> Refusal:
    return Refusal(reply({"code": code, "message": message, "details": []}, status))
