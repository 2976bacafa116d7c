"""xAI's API at the embedded server: no status, only dates; pages of results.

Shapes: recorded traffic of August 2026.
"""

from __future__ import annotations

import time

import msgspec
from aiohttp import web

from batchling.providers.samples import openai as samples
from batchling.testing.dialect import ServerDialect
from batchling.testing.faults import Body
from batchling.testing.openai_files import OpenAIFiles, worded
from batchling.testing.openai_rows import load_rows
from batchling.testing.replies import Refusal, encode, reply
from batchling.testing.served import ServedApi
from batchling.testing.state import Served, ServerState


def _in_words(status: int, payload: Body) -> Body:
    error = payload["error"]  # already in xAI's own wording, where its API refuses a key
    return payload if isinstance(error, str) else {"code": "Some error", "error": error["message"]}


_ACCENT = ServerDialect("xai", "/v1", ("/chat/completions",), complaint=_in_words)
_CANCELLED: Body = {"error": {"message": "Request was cancelled"}}


class XaiApi(ServedApi):
    """The handlers below the path where xAI is mounted."""

    name = "xai"
    no_key: tuple[int, str] = (400, "Incorrect API key provided")

    def __init__(self, shared: ServerState) -> None:
        super().__init__(shared)
        self._files = OpenAIFiles(shared, self.account, _ACCENT)

    def routes(self, prefix: str) -> list[web.RouteDef]:
        jobs = prefix + "/v1/batches"
        return [
            web.post(prefix + "/v1/chat/completions", self.real_time),
            *worded(_ACCENT, self._files.routes(prefix + "/v1")),
            web.post(jobs, self._create),
            web.get(jobs, self._list),
            web.get(jobs + "/{id}", self._get),
            web.get(jobs + "/{id}/results", self._results),
            web.post(jobs + "/{id}:cancel", self._cancel),
        ]

    def refusal(self, status: int, message: str, param: str | None = None, code: str | None = None) -> Refusal:
        return Refusal(reply({"code": "Some error", "error": message}, status))

    def _sample(self, endpoint: str, body: Body) -> tuple[int, Body]:
        return 200, samples.answer(endpoint, body)

    async def _create(self, request: web.Request) -> web.Response:
        account = self.account(request)
        order = await self.body_of(request)
        if set(order) != {"name", "input_file_id"}:
            raise self.refusal(400, "name and input_file_id are required, and nothing else")
        content = self._files.content_of(order["input_file_id"], account)
        if content is None:
            raise self.refusal(404, "no such file")
        self.check(content, "create")
        words = {"name": order["name"], "input_file_id": order["input_file_id"]}
        job = self.new_job(f"batch_{self._shared.number():08d}", account, "/v1/chat/completions", [], **words)
        load_rows(self._shared, _ACCENT, job, content)
        return reply(self._shown(job))

    async def _list(self, request: web.Request) -> web.Response:
        jobs, (start, size) = self.jobs_of(self.account(request)), self._asked(request)
        page, token = self.page(jobs, start, size)
        return reply({"batches": page, "pagination_token": token or None})

    async def _results(self, request: web.Request) -> web.Response:
        job = self.find_job(request)
        if not job.words.get("looked"):  # its store shows the results a little later
            job.words["looked"] = True
            return reply({"results": [], "pagination_token": None})
        start, size = self._asked(request)
        page, end = job.lines[start : start + size], start + size
        token = str(end) if end < len(job.lines) else None
        return reply({"results": [msgspec.Raw(line) for line in page], "pagination_token": token})

    def _asked(self, request: web.Request) -> tuple[int, int]:
        """Where the page that a call requests begins, and its size."""
        start = int(request.query.get("pagination_token") or 0)
        return start, self._shared.page_size(request.query.get("limit", ""))

    def _finish(self, job: Served, ending: str, done: int) -> None:
        job.over = ending or "done"
        good, lines = self._lines(job, done, _line)
        if ending != "failed":
            lines += [(key, encode(_line(key, 0, _CANCELLED))) for key, _ in job.rows[done:]]
        job.counts = {"num_success": good, "num_error": done - good, "num_cancelled": len(job.rows) - done}
        job.lines = self._shared.written(job, lines)

    def _shown(self, job: Served) -> Body:
        known = len(job.rows) if job.polls else 0
        counts = {"num_requests": known, "num_pending": known, "num_success": 0, "num_error": 0, "num_cancelled": 0}
        if job.over:
            counts |= {"num_pending": 0, **job.counts}
        if job.counts.get("num_cancelled") and not job.words.get("counted"):  # the counters change later
            job.words["counted"] = True
            counts |= {"num_success": 0, "num_cancelled": 0}
        day = time.strftime("%Y-%m-%d", time.gmtime(job.created_at))
        return {
            "batch_id": job.id,
            "name": job.words["name"],
            "create_time": day,
            "expire_time": day,
            "create_api_key_id": "k",
            "cancel_time": day if job.over in ("cancelled", "expired") or job.cancelled else None,
            "cancel_by_xai_message": job.reason.message if job.reason else None,
            "state": counts,
            "input_file_id": job.words["input_file_id"],
        }


def _line(key: str, status: int, answer: Body) -> Body:
    succeeded: Body = {"response": {"chat_get_completion": answer}}
    result = succeeded if status == 200 else {"error": answer["error"]["message"]}
    return {"batch_request_id": key, "batch_result": result}
