"""Gemini's OpenAI-compatible path: OpenAI's lines and jobs, over files of Gemini's own API.

Facts: Google's compatibility guide. Its listing and its cancel call are UNSURE: a lost job that cannot be looked for
waits, and is not bought again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from batchling.core.model import Call, Flow, Headers, Item, Job, Request, Response, Site, Status, header
from batchling.providers import google
from batchling.providers.base import (
    Facts,
    Limits,
    Refused,
    Unsettled,
    read_json,
    read_objects,
    read_text,
    request,
    segment,
)
from batchling.providers.files import TAG, FileDialect, read_page, read_status


@dataclass(frozen=True, slots=True)
class GeminiCompatible(FileDialect):
    """See the module."""

    def upload(self, at: Site, items: Sequence[Item], tag: str) -> Flow[str]:
        rows = tuple(self.rows(at, items))
        return (yield from google.upload(_native(at, ""), _as_native(at), rows, f"{TAG}-{tag}"))

    def poll(self, at: Site, job: Job) -> Flow[Status]:
        return read_status(read_json((yield Call(request("GET", at, _job(job))))))

    def fetch(self, at: Site, job: Job, status: Status) -> Flow[None]:
        for name in status.outputs:
            file = segment(name.removeprefix("files/"))
            url = _native(at, f"/download/v1beta/files/{file}:download?alt=media")
            response = yield Call(Request("GET", url, _as_native(at)), rows=True)
            if not response.ok:
                raise Refused(response)

    def find(self, at: Site, tag: str, keys: Sequence[str], since: float, taken: frozenset[str]) -> Flow[Job | None]:
        url = _native(at, "/v1beta/files?pageSize=100")
        files = read_json((yield Call(Request("GET", url, _as_native(at)))))
        names = [
            file.get("name") for file in read_objects(files.get("files")) if file.get("displayName") == f"{TAG}-{tag}"
        ]
        if not names:
            return None
        listed: Response = yield Call(request("GET", at, "/batches?limit=100"))
        if listed.status in (404, 405, 501):
            raise Unsettled("this API has no list of jobs, and the job may exist")
        for job in read_objects(read_page(listed).get("data")):
            if job.get("input_file_id") in names and (found := read_text(job.get("id"))):
                return Job(found)
        return None

    def cancel(self, at: Site, job: Job) -> Flow[None]:
        read_json((yield Call(request("POST", at, _job(job) + "/cancel"))))


def _job(job: Job) -> str:
    return f"/batches/{segment(job.id.removeprefix('batches/'))}"


def _native(at: Site, path: str) -> str:
    """A URL of Gemini's own API beside the compatible one."""
    return at.target.base_url.removesuffix("/v1beta/openai") + path


def _as_native(at: Site) -> Headers:
    """The same key, in the header that Gemini's own API reads."""
    key = (header(at.headers, "authorization") or "").removeprefix("Bearer ")
    return (*(pair for pair in at.headers if pair[0] != "authorization"), ("x-goog-api-key", key))


GEMINI_COMPATIBLE = GeminiCompatible(
    name="gemini-openai",
    roots=("https://generativelanguage.googleapis.com/v1beta/openai",),
    endpoints=("/chat/completions", "/embeddings"),
    limits=Limits(rows=200_000, bytes=1_999_000_000, in_flight=100, cached="kept", window=172_800.0),
    facts=Facts(
        "Gemini, OpenAI-compatible",
        "24 h, at most 48 h",
        "name of the uploaded file",
        "48 h for inputs, unknown for results",
        ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        quirks=("listing and cancelling are not documented",),
        prices="google",
    ),
    order={},
    tag="",
)
