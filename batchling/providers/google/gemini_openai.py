"""Gemini's OpenAI-compatible path: OpenAI's lines and jobs, with files of Gemini's own API.

Facts: Google's compatibility guide. Listing and cancelling are UNSURE: a lost job that cannot be looked for waits and
is not paid for a second time.
"""

from __future__ import annotations

from collections.abc import Sequence

from batchling.core.model import JSON, Call, Flow, Headers, Item, Job, Request, Site, Status, header
from batchling.providers import pages
from batchling.providers.asking import every, read_rows, request, segment
from batchling.providers.base import Facts, Limits, Refused, Unlisted
from batchling.providers.dialect import read_status
from batchling.providers.files import TAG, FileDialect
from batchling.providers.google import shared
from batchling.providers.neutral import OPENAI_DIALECT
from batchling.providers.reading import read_id, read_json, read_objects


class GeminiCompatible(FileDialect):
    """See the module."""

    def upload(self, at: Site, items: Sequence[Item], tag: str) -> Flow[str]:
        rows = self.rows(at, items)
        return (yield from shared.upload(_native(at, ""), _as_native(at), rows, f"{TAG}-{tag}"))

    def poll(self, at: Site, job: Job) -> Flow[Status]:
        return read_status(read_json((yield Call(request("GET", at, _job(job))))))

    def fetch(self, at: Site, job: Job, status: Status) -> Flow[None]:
        def address(name: str) -> str:
            return _native(at, f"/download/v1beta/files/{segment(name.removeprefix('files/'))}:download?alt=media")

        yield from every(
            (read_rows(Request("GET", address(name), _as_native(at))), name not in status.reasons)
            for name in status.outputs
        )

    def find(self, at: Site, tag: str, keys: Sequence[str], since: float, taken: frozenset[str]) -> Flow[Job | None]:
        try:
            # Whether the list is sorted is not documented, so no part of it is too old to look at.
            return (yield from super().find(at, tag, keys, 0.0, taken))
        except Refused as refusal:
            if refusal.response.status in (404, 405, 501):
                raise Unlisted("this API has no list of jobs, but the job may exist") from refusal
            raise

    def find_files(self, at: Site, tag: str) -> Flow[frozenset[str]]:
        found: set[str] = set()

        def note(page: dict[str, JSON]) -> None:
            files = [file for file in read_objects(page.get("files")) if file.get("displayName") == f"{TAG}-{tag}"]
            found.update(read_id(file, "name") for file in files)

        url = _native(at, "/v1beta/files?pageSize=100")
        yield from pages.search(lambda place: Request("GET", url + place, _as_native(at)), note)
        return frozenset(found)

    def cancel(self, at: Site, job: Job) -> Flow[None]:
        read_json((yield Call(request("POST", at, _job(job) + "/cancel"))))


def _job(job: Job) -> str:
    return f"/batches/{segment(job.id.removeprefix('batches/'))}"


def _native(at: Site, path: str) -> str:
    """A URL of Gemini's own API, on the host of the compatible one."""
    return at.target.base_url.removesuffix("/v1beta/openai") + path


def _as_native(at: Site) -> Headers:
    """The same key, in the header that Gemini's own API reads."""
    if header(at.headers, "x-goog-api-key") is not None:
        return at.headers
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
        telemetry="gcp.gemini",
        separates=("authorization", "x-goog-api-key"),
        neutral=OPENAI_DIALECT,
    ),
    identity=("authorization", "x-goog-api-key"),
    order={},
    tag="",
)
