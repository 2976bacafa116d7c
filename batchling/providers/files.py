"""OpenAI's file dialect: a JSONL file, a job over it, an output and an error file.

Facts: OpenAI's OpenAPI document 2.3.0, the openai SDK 3.54, recorded traffic of 2025 and 2026, and, for the providers
that speak a variant of it, their documentation and SDKs. Those providers are values of `FileDialect` and differ only in
its fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from batchling.core.model import (
    JSON,
    Bypass,
    Call,
    Fault,
    Flow,
    Headers,
    Item,
    Job,
    Pieces,
    Request,
    Response,
    Row,
    Site,
    State,
    Status,
    Target,
    header,
)
from batchling.providers import pages, refusals
from batchling.providers.asking import JSON_TYPE, account_of, chosen, every, read_rows, request, row_pieces, segment
from batchling.providers.base import CLOCK_SLACK, MOST_PAGES, Facts, Garbled, Limits, Refused, Route, Verdict
from batchling.providers.dialect import following, generates_nothing, last_role, read_page, read_status, unbatchable
from batchling.providers.headers import lasting
from batchling.providers.pages import is_new
from batchling.providers.reading import (
    read_fault,
    read_id,
    read_json,
    read_moment,
    read_object,
    read_objects,
    read_text,
)
from batchling.providers.roots import root_of
from batchling.providers.rows import read_row
from batchling.providers.samples import anthropic as claude
from batchling.providers.samples import openai as samples

_STATUS_OF_CODE = {"model_not_found": 404, "token_limit_exceeded": 429}
"""The real-time status of a fault that a batch reports as a failure of the whole batch; 400 for all others."""

TAG = "batchling"
"""The metadata key that carries our batch id."""


@dataclass(frozen=True)
class FileDialect:
    """One provider that speaks OpenAI's file dialect.

    - `endpoints`: the paths below a root that have a batch form, longest first; `prefix` is put before them in a batch.
    - `elsewhere`: roots of real-time calls whose batches live below another root.
    - `identity`: lower-case names of the headers that identify the caller.
    - `passing_tokens`: whether signed tokens are accepted as keys; they expire long before a job ends, and only their
      holder can make another.
    - `window`: the completion window to request, `second_window` the one to request when that is refused; `order`: the
      other fields of a create call.
    - `tag`: the metadata key that carries our batch id. Where it is empty there is no metadata, and a lost job is found
      by the name of its input file.
    - `echo`: whether a list is certain to show the metadata. Where it may not, a job without any is also
      recognised by its file's name.
    - `listing`: the query that lists jobs, with `%s` for the tag where the provider can search for it.
    - `uploads` and `purpose`: path and purpose of an upload.
    - `first_line`: the number of the first row in the provider's error messages.
    - `longest`: the maximum number of output tokens of a row in a batch; 0 for as many as in real time.
    - `absent`: body keys that real time accepts and a batch does not.
    - `last_turn`: the role that the last message of a row must have.
    - `models`: beginnings of the names of the models that have a batch form; empty for all.
    - `recording`: the body key with the address of the audio that a row is about, and the method of such a row.
    - `results`: a path below a job that returns its rows, where there are no result files.
    - `cancelling`: method and path of the call that stops a job.
    - `once`: the header that makes a repeated create harmless, where there is one.
    - `deletes`: whether an input file may be deleted once its job is over, without affecting the results or anything
      else. Where no source says so, the file stays. It also stays at gateways, since it is unknown what else reads it
      there.
    """

    name: str
    roots: tuple[str, ...]
    endpoints: tuple[str, ...]
    limits: Limits
    facts: Facts
    identity: tuple[str, ...] = ("authorization",)
    passing_tokens: bool = False
    prefix: str = "/v1"
    window: str = "24h"
    second_window: str = ""
    order: Mapping[str, JSON] = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    tag: str = TAG
    echo: bool = True
    listing: str = "limit=100"
    uploads: str = "/files"
    purpose: str = "batch"
    first_line: int = 1
    longest: int = 0
    absent: tuple[str, ...] = ()
    last_turn: str = ""
    models: tuple[str, ...] = ()
    recording: tuple[str, str] = ("", "POST")
    results: str = ""
    cancelling: tuple[str, str] = ("POST", "/cancel")
    once: str = ""
    deletes: bool = False
    renew: Callable[[], Headers] | None = None

    def route(self, method: str, url: str, *, official: bool) -> Route | None:
        if method != "POST":
            return None
        head, _, query = url.partition("?")
        path = next((path for path in self.endpoints if head.endswith(path)), "")
        if official:
            root = root_of(head, self.roots)
            if root is None:
                return None
            path = head[len(root) :]
            root = self.elsewhere.get(root, root)
        else:
            root = head[: -len(path)] if path else head.rpartition("/v1/")[0] + "/v1"
            path = path or head[len(root) :]
        if path in self.endpoints:
            return Route(root, self.prefix + path, query, official)
        if not path.startswith("/") or generates_nothing(path):
            return None
        return Route(root, "", query, official)

    def target(self, route: Route, request: Request, body: dict[str, JSON]) -> Target | Bypass:
        if not route.endpoint:
            return Bypass("endpoint without a batch form")
        if route.query:
            return Bypass("query parameters")
        if header(request.headers, "openai-beta"):
            return Bypass("OpenAI-Beta header")
        if self.passing_tokens and (header(request.headers, "authorization") or "").startswith("Bearer eyJ"):
            return Bypass("a token that lasts minutes")
        if reason := unbatchable(body) or self._refuses(body) or self._refuses_audio(route.endpoint, body):
            return Bypass(reason)
        return Target(
            self.name,
            route.base_url,
            route.endpoint,
            str(body["model"]),
            account_of(self.identify(route, request)),
        )

    def _refuses(self, body: dict[str, JSON]) -> str | None:
        for name in self.absent:
            if name in body:
                return f"parameter {name}"
        for name in ("max_tokens", "max_completion_tokens"):
            if self.longest and isinstance(asked := body.get(name), int) and asked > self.longest:
                return f"{name} above {self.longest:,}, where its batches end"
        if self.last_turn and last_role(body) not in (self.last_turn, None):
            return f"last message not from {self.last_turn}"
        if self.models and not (model := str(body["model"])).startswith(self.models):
            return f"model {model:.40} without a batch form"
        return None

    def _refuses_audio(self, endpoint: str, body: dict[str, JSON]) -> str | None:
        if not endpoint.startswith(self.prefix + "/audio/"):
            return None
        if not str(body.get(self.recording[0])).startswith(("https://", "http://")):
            return "audio without the address of a recording"
        form = body.get("response_format") or "json"
        return None if form in ("json", "verbose_json") else f"audio as {form!s:.20}, which is not JSON"

    def site(self, target: Target, route: Route, request: Request) -> Site:
        return Site(target, self.identify(route, request), route.official)

    def identify(self, route: Route, request: Request) -> Headers:
        """The headers that identify the caller: the caller's credential, and all of a gateway's own."""
        return chosen(request.headers, self.identity) if route.official else lasting(request.headers)

    def submit(self, at: Site, items: Sequence[Item], tag: str) -> Flow[Job]:
        file_id = yield from self.upload(at, items, tag)
        order = {"input_file_id": file_id, "endpoint": at.target.endpoint, **self.ordered(at, tag)}
        answer = yield _create(self, at, order, tag)
        if self.second_window and answer.status == 400 and "window" in read_fault(answer).message.lower():
            # Nothing was created: the provider's docs disagree on which one window it accepts.
            answer = yield _create(self, at, {**order, "completion_window": self.second_window}, tag)
        job = read_json(answer)
        return Job(read_id(read_object(job.get("job")) or job), {"input_file_id": file_id})  # Together wraps it

    def path(self, at: Site, path: str) -> str:
        """A path below the root, with whatever this provider adds to every path."""
        return path

    def ordered(self, at: Site, tag: str) -> dict[str, JSON]:
        """The fields of a create call other than the file and the endpoint."""
        window = {"completion_window": self.window} if self.window else {}
        metadata = {"metadata": {self.tag: tag}} if self.tag else {}
        return {**window, **metadata, **self.order}

    def rows(self, at: Site, items: Sequence[Item]) -> Pieces:
        """The lines of the input file."""
        method = self.recording[1] if at.target.endpoint.startswith(self.prefix + "/audio/") else "POST"
        prefix = '{"custom_id":"%s","method":"' + method + '","url":"' + at.target.endpoint + '","body":'
        return row_pieces(prefix, items, b"}\n")

    def upload(self, at: Site, items: Sequence[Item], tag: str) -> Flow[str]:
        """Upload the rows and return the id of their file."""
        file = read_json((yield self.form(at, self.rows(at, items), tag)))
        return read_id(read_object(file.get("data")) or file)  # SiliconFlow wraps it

    def form(self, at: Site, rows: Pieces, tag: str) -> Call:
        """The call that uploads rows."""
        boundary = f"{TAG}-{tag}"
        fields = {"purpose": self.purpose, "file_name": _file_name(tag)} if not self.tag else {"purpose": self.purpose}
        parts = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        )
        head = (
            f'{parts}--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{_file_name(tag)}"\r\n'
            "Content-Type: application/jsonl\r\n\r\n"
        )
        form = ("content-type", f"multipart/form-data; boundary={boundary}")
        call = Request("POST", at.target.base_url + self.path(at, self.uploads), (*at.headers, form))
        return Call(call, rows.between(head.encode(), f"\r\n--{boundary}--\r\n".encode()))

    def poll(self, at: Site, job: Job) -> Flow[Status]:
        return self._status(read_json((yield Call(request("GET", at, self.path(at, f"/batches/{segment(job.id)}"))))))

    def poll_all(self, at: Site, jobs: Sequence[Job]) -> Flow[Mapping[str, Status]]:
        listing = f"limit={pages.page_size(jobs)}" if self.listing else ""
        return pages.statuses(
            jobs, lambda place: self.list_call(at, listing, place), "data", lambda job, _: self._status(job), following
        )

    def list_call(self, at: Site, listing: str, place: str) -> Request:
        """The call for a page of the list of jobs."""
        query = "&".join(filter(None, (listing, place)))
        return request("GET", at, self.path(at, f"/batches{'?' if query else ''}{query}"))

    def _status(self, job: dict[str, JSON]) -> Status:
        status = read_status(job, self.first_line)
        if self.results and (status.state is State.ENDED or (status.state is State.FAILED and status.done)):
            return replace(status, outputs=(self.results,))
        return status

    def fetch(self, at: Site, job: Job, status: Status) -> Flow[None]:
        yield from every((self._file(at, job, name), name not in status.reasons) for name in status.outputs)

    def _file(self, at: Site, job: Job, name: str) -> Flow[None]:
        path = f"/batches/{segment(job.id)}{name}" if self.results else f"/files/{segment(name)}/content"
        yield from read_rows(request("GET", at, self.path(at, path)))

    def row(self, line: bytes) -> Row:
        return read_row(line)

    def find(self, at: Site, tag: str, keys: Sequence[str], since: float, taken: frozenset[str]) -> Flow[Job | None]:
        return (yield from _find(self, at, tag, since, taken))

    def find_files(self, at: Site, tag: str) -> Flow[frozenset[str]]:
        """The ids of a submission's input files: a repeated upload creates another one."""
        found: set[str] = set()
        known: set[str] = set()
        place = ""
        for _ in range(MOST_PAGES):
            page = read_page((yield Call(request("GET", at, self.path(at, f"/files{'?' if place else ''}{place}")))))
            files = read_objects(page.get("data"))
            found.update(read_id(file) for file in files if file.get("filename") == _file_name(tag))
            next_page = following(page, files)
            if next_page is None or not is_new(files, known):
                return frozenset(found)
            place = next_page
        raise Garbled("a list of files that never ends")

    def cancel(self, at: Site, job: Job) -> Flow[None]:
        method, path = self.cancelling
        response = yield Call(request(method, at, self.path(at, f"/batches/{segment(job.id)}{path}")))
        if not response.ok:
            raise Refused(response)

    def tidy(self, at: Site, job: Job) -> Flow[None]:
        if self.deletes and at.official and (input_file := job.notes.get("input_file_id")):
            yield Call(request("DELETE", at, self.path(at, f"/files/{segment(input_file)}")))

    def judge(self, status: int, fault: Fault) -> Verdict:
        return refusals.judge(status, fault)

    def weight(self, body: dict[str, JSON]) -> int:
        asked = body.get("input")
        # A list of numbers is one text, given as tokens.
        return len(asked) if isinstance(asked, list) and asked and isinstance(asked[0], str | list) else 1

    def failure(self, status: int, fault: Fault) -> Response:
        kind = "invalid_request_error" if status < 500 else "server_error"
        error = {"message": fault.message, "type": kind, "param": fault.param, "code": fault.code}
        if fault.code in _STATUS_OF_CODE and status == 400:
            status = _STATUS_OF_CODE[fault.code]
        return Response(status, (JSON_TYPE,), msgspec.json.encode({"error": error}))

    def rehearse(self, target: Target, body: dict[str, JSON]) -> Response:
        endpoint = "/v1" + target.endpoint.removeprefix(self.prefix)
        answer = claude.answer(body) if endpoint == "/v1/messages" else samples.answer(endpoint, body)
        return Response(200, (JSON_TYPE,), msgspec.json.encode(answer))


def _create(dialect: FileDialect, at: Site, order: dict[str, JSON], tag: str) -> Call:
    call = request("POST", at, dialect.path(at, "/batches"), order)
    if dialect.once:
        call = Request(call.method, call.url, (*call.headers, (dialect.once, tag)), call.body)
    return Call(call, repeatable=False)


def _find(dialect: FileDialect, at: Site, tag: str, since: float, taken: frozenset[str]) -> Flow[Job | None]:
    listing = dialect.listing % tag if "%s" in dialect.listing else dialect.listing
    files: frozenset[str] = frozenset()
    if not dialect.tag and not (files := (yield from dialect.find_files(at, tag))):
        return None
    place = ""
    known: set[str] = set()
    for _ in range(MOST_PAGES):
        page = read_page((yield Call(dialect.list_call(at, listing, place))))
        jobs = read_objects(page.get("data"))
        for job in jobs:
            input_file = read_text(job.get("input_file_id")) or ""
            if input_file in files or (dialect.tag and read_object(job.get("metadata")).get(dialect.tag) == tag):
                return Job(read_id(job), {"input_file_id": input_file})
            if (
                not dialect.echo
                and read_id(job) not in taken
                and (yield from _has_our_file(dialect, at, job, tag, since))
            ):
                return Job(read_id(job), {"input_file_id": input_file})
        next_page = following(page, jobs)
        if next_page is None or _goes_past(jobs, since - CLOCK_SLACK) or not is_new(jobs, known):
            return None
        place = next_page
    raise Garbled("a list of jobs that never ends")


def _has_our_file(dialect: FileDialect, at: Site, job: dict[str, JSON], tag: str, since: float) -> Flow[bool]:
    """Whether a job that shows no metadata has our input file."""
    input_file = read_text(job.get("input_file_id"))
    recent = read_moment(job.get("created_at")) >= since - CLOCK_SLACK
    if not input_file or not recent or read_object(job.get("metadata")):
        return False
    response = yield Call(request("GET", at, dialect.path(at, f"/files/{segment(input_file)}")))
    return response.status != 404 and read_json(response).get("filename") == _file_name(tag)


def _goes_past(jobs: list[dict[str, JSON]], since: float) -> bool:
    """Whether a page of a list has reached jobs older than `since`: all later pages then contain only such jobs, if the
    newest come first, which not every provider documents."""
    if not jobs:
        return False
    first, last = read_moment(jobs[0].get("created_at")), read_moment(jobs[-1].get("created_at"))
    return first >= last and 0 < last < since


def _file_name(tag: str) -> str:
    return f"{TAG}-{tag}.jsonl"
