"""Reading OpenAI's file dialect in all its variants: the status of a job, a page of a list, and what a row cannot
contain.

Facts: see `files.py`.
"""

from __future__ import annotations

from batchling.core.model import JSON, Fault, Response, State, Status
from batchling.providers.asking import segment
from batchling.providers.base import Unlisted
from batchling.providers.reading import (
    read_count,
    read_id,
    read_json,
    read_moment,
    read_object,
    read_objects,
    read_text,
)
from batchling.providers.refusals import job_fault

_RUNNING = frozenset(
    {"validating", "in_progress", "finalizing", "cancelling", "canceling", "queued", "in_queue", "progress"}
)
_COMPLETE = frozenset({"completed", "done", "succeeded"})
_ENDED = _COMPLETE | {"expired", "cancelled", "canceled"}

_FREE = frozenset(
    {
        "assistants",
        "batch",
        "batches",
        "chatkit",
        "containers",
        "conversations",
        "evals",
        "files",
        "fine_tuning",
        "models",
        "organization",
        "skills",
        "uploads",
        "vector_stores",
        "webhook_endpoints",
    }
)
"""First path segments whose POST calls generate nothing, so nothing is lost by letting them pass through."""


def read_page(response: Response) -> dict[str, JSON]:
    """One page of a list; Together answers with a bare array."""
    if response.ok and response.body.lstrip().startswith(b"["):
        response = Response(200, (), b'{"data":%s}' % response.body)
    return read_json(response)


def following(page: dict[str, JSON], items: list[dict[str, JSON]]) -> str | None:
    """The query for a list's next page; None when this is the last. Raises `Unlisted` for an empty page that is not the
    last one (litellm#38738: a filter in between may remove everything on a page)."""
    if cursor := read_text(read_object(page.get("paging")).get("next_cursor")):
        return f"cursor={segment(cursor)}"
    if not items and page.get("has_more"):
        raise Unlisted("its list has an empty page, with more pages after it")
    return f"after={segment(read_id(items[-1]))}" if items and page.get("has_more") else None


def generates_nothing(path: str) -> bool:
    """Whether a POST to this path below a root costs nothing."""
    first = path.split("/", 2)[1]
    if first == "threads":
        return not path.endswith("/runs")
    return first in _FREE or path.startswith("/chat/completions/") or path.endswith(("/input_tokens", "/cancel"))


def last_role(body: dict[str, JSON]) -> JSON:
    """The role of the last message of a body."""
    messages = read_objects(body.get("messages"))
    return messages[-1].get("role") if messages else None


def unbatchable(body: dict[str, JSON]) -> str | None:
    """Why this body cannot be a row of a batch; None when it can."""
    if body.get("stream"):
        return "streaming"
    if not isinstance(body.get("model"), str) or not body["model"]:
        return "no model"
    if body.get("background") or body.get("background_options"):
        return "background response"
    if body.get("service_tier") not in (None, "auto", "default"):
        return f"service tier {body['service_tier']}"
    if body.get("previous_response_id") or body.get("conversation"):
        return "continues a stored conversation"
    return None


def read_status(job: dict[str, JSON], first_line: int = 1) -> Status:
    """The status of a job in any variant of this dialect."""
    word = str(job.get("status") or "").lower()
    state = State.ENDED if word in _ENDED else State.FAILED if word == "failed" else State.RUNNING
    counts = read_object(job.get("request_counts")) or job
    errors = job.get("errors") or job.get("error")
    faults = read_objects(errors) or read_objects(read_object(errors).get("data"))
    if not faults and read_object(errors).get("message"):
        faults = [read_object(errors)]
    if not faults and state is State.FAILED and (text := read_text(errors)):
        faults = [{"message": text}]
    outputs = tuple(filter(None, map(read_text, (job.get("output_file_id"), job.get("error_file_id")))))
    reasons = tuple(filter(None, (read_text(job.get("error_file_id")),)))
    if state is State.FAILED and not faults and outputs and read_count(counts.get("failed")):
        state = State.ENDED  # what Doubleword calls a job whose rows all ran and failed
    expires = read_moment(job.get("expires_at") or job.get("job_deadline"))
    return Status(
        state,
        word,
        done=read_count(counts.get("completed")) + read_count(counts.get("failed")),
        total=read_count(counts.get("total")),
        outputs=outputs,
        reasons=reasons,
        errors=tuple(_fault(fault, first_line) for fault in faults),
        expires_at=expires or None,
        complete=word in _COMPLETE,
        known=state is not State.RUNNING or word in _RUNNING,
    )


def _fault(error: dict[str, JSON], first_line: int) -> Fault:
    line = error.get("line")
    return job_fault(
        str(error.get("message") or "the job failed"),
        read_text(error.get("code")),
        read_text(error.get("param")),
        line - first_line + 1 if isinstance(line, int) and line >= first_line else None,
    )
