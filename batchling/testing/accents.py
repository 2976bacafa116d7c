"""How the embedded server speaks OpenAI's dialect where another provider does: as strictly as that one's documentation.

Each function turns what OpenAI would say into what the other says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from batchling.core.model import JSON

Words = dict[str, JSON]


def _same(said: Words) -> Words:
    return said


@dataclass(frozen=True, slots=True)
class Accent:
    """One provider's way of speaking. `base` is where its API begins, below the place where it is mounted; `endpoints`
    the real-time paths below that; `prefix` stands before them in a batch."""

    name: str
    base: str
    endpoints: tuple[str, ...]
    prefix: str = "/v1"
    windows: tuple[str | None, ...] = ("24h",)
    order: frozenset[str] = frozenset({"input_file_id", "endpoint", "completion_window", "metadata"})
    """What a create call may say."""
    keyed: frozenset[str] = frozenset({"custom_id", "method", "url", "body"})
    """What a row may say."""
    needs: frozenset[str] = frozenset({"custom_id", "method", "url", "body"})
    absent: frozenset[str] = frozenset()
    """Body keys that a row may not have."""
    uploads: str = "/files"
    purpose: str = "batch"
    least: int = 1
    first_line: int = 1
    created: int = 200
    """The status of a successful create call."""
    results: bool = False
    """Whether a job has its rows itself, instead of files, and DELETE cancels it."""
    bare: bool = False
    """Whether a list is an array."""
    cursors: bool = False
    """Whether a list is paged with cursors."""
    pending: bool = False
    """Whether a fresh file is pending until somebody looks, and no job takes it before."""
    file: Callable[[Words], Words] = _same
    job: Callable[[Words], Words] = _same
    created_job: Callable[[Words], Words] = _same
    line: Callable[[Words], Words] = _same


def _iso(said: Words) -> Words:
    """Times as text."""
    return {
        name: datetime.fromtimestamp(value, UTC).isoformat() if name.endswith("_at") and value else value
        for name, value in said.items()
    }


def _upper(said: Words) -> Words:
    return {**said, "status": said["status"].upper()}


def _groq(said: Words) -> Words:
    errors = said["errors"]
    return {**said, "project_id": "project_1", "errors": errors["data"] if errors else None}


def _together(said: Words) -> Words:
    errors = said["errors"]["data"] if said["errors"] else []
    kept = ("id", "input_file_id", "created_at", "endpoint", "completed_at", "status")
    return _iso(
        _upper(
            {
                **{name: said[name] for name in kept},
                "progress": 100.0 if said["completed_at"] else 0.0,
                "output_file_id": said["output_file_id"] or "",
                "error_file_id": said["error_file_id"] or "",
                "error": errors[0]["message"] if errors else "",
            }
        )
    )


def _error_of(line: Words) -> tuple[int, Words] | None:
    """Status and error of a row that failed; None for one that did not, or never ran."""
    said = line["response"]
    if said is None or said["status_code"] == 200:
        return None
    return said["status_code"], said["body"].get("error") or {}


def _together_line(line: Words) -> Words:
    failed = _error_of(line)
    if failed is None:
        kept = {name: line[name] for name in ("id", "custom_id")}
        return {**kept, "response": line["response"]} if line["response"] else {**kept, "error": line["error"]}
    code = "batch_client_error" if failed[0] < 500 else "batch_server_error"
    text = failed[1].get("message") if failed[0] < 500 else "Internal server error"
    return {"id": line["id"], "custom_id": line["custom_id"], "error": {"code": code, "message": text}}


def _doubleword_line(line: Words) -> Words:
    failed = _error_of(line)
    if failed is None:
        return line
    body = msgspec.json.encode(line["response"]["body"]).decode()
    message = msgspec.json.encode({"type": "NonRetriableHttpStatus", "status": failed[0], "body": body}).decode()
    return {**line, "response": None, "error": {"code": None, "message": message}}


def _deepinfra(said: Words) -> Words:
    early = said["status"] == "validating"
    return {**said, **(dict.fromkeys(("request_counts", "model", "usage")) if early else {})}


def _deepinfra_line(line: Words) -> Words:
    if (failed := _error_of(line)) is None:
        return line
    error = {"code": str(failed[0]), "message": failed[1].get("message"), "param": None, "type": None}
    return {**line, "response": None, "error": error}


def _novita(said: Words) -> Words:
    counts = said["request_counts"]
    errors = said["errors"]["data"][0]["message"] if said["errors"] else ""
    words = {"in_progress": "PROGRESS"}
    ids = {name: said[name] or "" for name in ("output_file_id", "error_file_id")}
    status = words.get(said["status"], said["status"].upper())
    return _iso({**said, **counts, **ids, "metadata": None, "errors": errors, "status": status, "version": 1})


def _siliconflow_file(said: Words) -> Words:
    return {"code": 20000, "message": "Ok", "status": True, "data": said}


def _siliconflow(said: Words) -> Words:
    return {**said, "status": "in_queue" if said["status"] == "validating" else said["status"]}


def _zhipu(said: Words) -> Words:
    return {**said, **said["request_counts"], "request_counts": None}


def _kimi_line(line: Words) -> Words:
    return {**line, "id": line["custom_id"]}


def _voyage_line(line: Words) -> Words:
    if (failed := _error_of(line)) is None:
        return {**line, "batch_id": "batch_1"}
    return {**line, "response": {"status_code": failed[0], "message": failed[1].get("message")}}


def _cerebras(said: Words) -> Words:
    hidden = {name: value for name, value in said.items() if name not in ("output_file_id", "error_file_id")}
    return {**hidden, "status": "queued" if said["status"] == "validating" else said["status"]}


def _cerebras_line(line: Words) -> Words:
    failed = _error_of(line)
    key = {"custom_id": line["custom_id"]}
    if failed is not None:
        return {**key, "status": "failed", "error": {"code": str(failed[0]), "message": failed[1].get("message")}}
    if line["response"] is None:
        return {**key, "status": line["error"]["code"].removeprefix("batch_"), "error": line["error"]}
    return {**key, "status": "succeeded", "response": line["response"]["body"]}


def _azure(said: Words) -> Words:
    """The quirks of its preview versions: capitals, times as text, counts of null."""
    early = said["status"] == "validating"
    counts = dict.fromkeys(said["request_counts"]) if early else said["request_counts"]
    word = said["status"].capitalize() if early else said["status"]
    return _iso({**said, "status": word, "request_counts": counts, "endpoint": None})


def _azure_line(line: Words) -> Words:
    return {name: value for name, value in line.items() if name != "id"}


_CHAT = "/chat/completions"

ACCENTS: Mapping[str, Accent] = {
    accent.name: accent
    for accent in (
        Accent("groq", "/openai/v1", (_CHAT,), cursors=True, job=_groq),
        Accent(
            "together",
            "/v1",
            (_CHAT,),
            windows=(None, "24h"),
            needs=frozenset({"custom_id", "body"}),
            uploads="/files/upload",
            purpose="batch-api",
            created=201,
            bare=True,
            order=frozenset({"input_file_id", "endpoint", "completion_window", "model_id", "priority"}),
            job=_together,
            created_job=lambda said: {"job": _together(said), "warning": None},
            line=_together_line,
        ),
        Accent(
            "doubleword",
            "/v1",
            (_CHAT, "/completions", "/embeddings", "/responses"),
            windows=("24h", "1h"),
            created=201,
            line=_doubleword_line,
        ),
        Accent(
            "deepinfra",
            "/v1/openai",
            (_CHAT, "/completions", "/embeddings"),
            first_line=0,
            job=_deepinfra,
            line=_deepinfra_line,
        ),
        Accent("parasail", "/v1", (_CHAT, "/embeddings")),
        Accent("novita", "/openai/v1", (_CHAT, "/completions"), windows=("48h", "24h"), job=_novita),
        Accent("siliconflow", "/v1", (_CHAT,), file=_siliconflow_file, job=_siliconflow),
        Accent("dashscope", "/compatible-mode/v1", (_CHAT, "/embeddings")),
        Accent(
            "zhipu",
            "/api/paas/v4",
            (_CHAT,),
            prefix="/v4",
            windows=(None, "24h"),
            order=frozenset({"input_file_id", "endpoint", "completion_window", "metadata", "auto_delete_input_file"}),
            job=_zhipu,
        ),
        Accent(
            "kimi",
            "/v1",
            (_CHAT,),
            windows=("12h", "24h", "1d", "3d", "7d"),
            absent=frozenset({"temperature", "top_p", "n", "presence_penalty", "frequency_penalty"}),
            line=_kimi_line,
        ),
        Accent("perplexity", "/v1", ("/responses",), windows=(None, "24h")),
        Accent("cerebras", "/v1", (_CHAT,), least=10, results=True, job=_cerebras, line=_cerebras_line),
        Accent(
            "voyage",
            "/v1",
            ("/embeddings", "/contextualizedembeddings", "/rerank"),
            windows=("12h",),
            order=frozenset({"input_file_id", "endpoint", "completion_window", "metadata", "request_params"}),
            keyed=frozenset({"custom_id", "body"}),
            needs=frozenset({"custom_id", "body"}),
            job=_iso,
            line=_voyage_line,
        ),
        Accent("azure", "/openai/v1", (_CHAT, "/responses"), pending=True, job=_azure, line=_azure_line),
    )
}
