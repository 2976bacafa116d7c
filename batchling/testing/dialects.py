"""Other providers' variants of OpenAI's dialect at the embedded server, as strict as their documentation.

Each function turns what OpenAI would return into what the other provider returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

Words = dict[str, Any]


def _same(said: Words) -> Words:
    return said


@dataclass(frozen=True, slots=True)
class ServerDialect:
    """One provider's variant. `base` is where its API begins, below the path where it is mounted; `endpoints` are the
    real-time paths below that; `prefix` is put before them in a batch."""

    name: str
    base: str
    endpoints: tuple[str, ...]
    other_bases: tuple[str, ...] = ()
    """Further bases at which its real-time calls are answered."""
    prefix: str = "/v1"
    windows: tuple[str | None, ...] = ("24h",)
    order: frozenset[str] = frozenset({"input_file_id", "endpoint", "completion_window", "metadata"})
    """The keys that a create call may have."""
    keyed: frozenset[str] = frozenset({"custom_id", "method", "url", "body"})
    """The keys that a row may have."""
    needs: frozenset[str] = frozenset({"custom_id", "method", "url", "body"})
    absent: frozenset[str] = frozenset()
    """Body keys that a row may not have."""
    uploads: str = "/files"
    purpose: str = "batch"
    needs_name: bool = False
    """Whether an upload gives its file's name in a separate part."""
    uploaded: int = 200
    """The status of a successful upload."""
    least: int = 1
    most: int = 50_000
    shortest_key: int = 1
    row_bytes: int = 200 * 1024 * 1024
    file_bytes: int = 200 * 1024 * 1024
    last_turn: str = ""
    """The role that the last message of a row must have."""
    mixed: bool = False
    """Whether rows of several endpoints share a job."""
    once: str = ""
    """The header that makes a repeated create call return the first one's job."""
    trusting: bool = False
    """Whether a create call accepts any file id, and the job then fails."""
    elsewhere: bool = False
    """Whether a file's content is behind a signed link, which accepts no credential."""
    first_line: int = 1
    created: int = 200
    """The status of a successful create call."""
    results: bool = False
    """Whether a job returns its rows itself instead of in files, and DELETE cancels it."""
    bare: bool = False
    """Whether a list is a bare array."""
    cursors: bool = False
    """Whether a list is paged with cursors."""
    pending: bool = False
    """Whether a new file is pending until a client looks at it, and no job accepts it before that."""
    complaint: Callable[[int, Words], Words | str] = lambda _, said: said
    """Makes the body of an error response from its status and OpenAI's body."""
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


def _in_words(status: int, said: Words) -> str:
    return str(said["error"]["message"])


def _in_words_401(status: int, said: Words) -> Words | str:
    return "Unauthorized. Invalid token format." if status == 401 else said


def in_detail(status: int, said: Words) -> Words:
    """The message, in the place where Pydantic's servers put it."""
    return {"detail": said["error"]["message"]}


def _in_error(status: int, said: Words) -> Words:
    return {"error": said["error"]["message"], "request_id": "r"}


def _files_from_the_start(said: Words) -> Words:
    """Both files get their ids before they have any rows."""
    ids = {name: said[name] or f"{said['id']}_{name[:-8]}" for name in ("output_file_id", "error_file_id")}
    return {**said, **(ids if said["status"] != "failed" or not said["errors"] else {})}


def _doubleword(said: Words) -> Words:
    """A job is failed when all of its rows failed, and gives no reason; no job expires."""
    counts = said["request_counts"]
    if said["status"] == "completed" and not counts["completed"]:
        said = {**said, "status": "failed"}
    return _files_from_the_start(said)


def _parasail(said: Words) -> Words:
    return {**said, "metadata": None, "expires_at": None}


def _perplexity(said: Words) -> Words:
    if not said["errors"]:
        return said
    data = [{name: value for name, value in fault.items() if name != "param"} for fault in said["errors"]["data"]]
    return {**said, "errors": {"object": "list", "data": data}}


def _voyage(said: Words) -> Words:
    """At the end of its window, a job is completed, with the rows that have run."""
    return _iso({**said, "status": said["status"].replace("expired", "completed")})


def _zhipu_line(line: Words) -> Words:
    return {name: value for name, value in line.items() if name != "error" or value}


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
    """Status and error of a row that failed; None for one that did not fail or never ran."""
    said = line["response"]
    if said is None or said["status_code"] == 200:
        return None
    error = said["body"].get("error") or {"message": said["body"].get("detail")}
    return said["status_code"], error


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
    said = {**said, **(dict.fromkeys(("request_counts", "model", "usage")) if early else {})}
    return _files_from_the_start(said) if said["status"] in ("completed", "cancelled", "expired") else said


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
    return {**line, "batch_id": "batch_1", "response": {"status_code": failed[0], "message": failed[1].get("message")}}


def _cerebras(said: Words) -> Words:
    hidden = {name: value for name, value in said.items() if name not in ("output_file_id", "error_file_id")}
    return {**hidden, "status": "queued" if said["status"] == "validating" else said["status"]}


def _cerebras_line(line: Words) -> Words:
    failed = _error_of(line)
    key = {"custom_id": line["custom_id"]}
    if failed is not None:
        return {**key, "status": "failed", "error": {"code": str(failed[0]), "message": failed[1].get("message")}}
    if line["response"] is None:
        error = {**line["error"], "code": line["error"]["code"].replace("batch_expired", "timeout")}
        return {**key, "status": line["error"]["code"].removeprefix("batch_"), "error": error}
    return {**key, "status": "succeeded", "response": line["response"]["body"]}


def _azure(said: Words) -> Words:
    """The quirks of its preview versions: capitals, times as text, null counts."""
    early = said["status"] == "validating"
    counts = dict.fromkeys(said["request_counts"]) if early else said["request_counts"]
    word = said["status"].capitalize() if early else said["status"]
    return _iso({**said, "status": word, "request_counts": counts, "endpoint": None})


def _azure_line(line: Words) -> Words:
    return {name: value for name, value in line.items() if name != "id"}


_CHAT = "/chat/completions"
_AUDIO = ("/audio/transcriptions", "/audio/translations")
_MB = 1_000_000
_TWO_WEEKS = tuple(f"{hours}h" for hours in range(24, 337))

DIALECTS: Mapping[str, ServerDialect] = {
    dialect.name: dialect
    for dialect in (
        ServerDialect(
            "groq",
            "/openai/v1",
            (_CHAT, *_AUDIO),
            windows=(*(f"{hours}h" for hours in range(24, 169)), "7d"),
            mixed=True,
            cursors=True,
            job=_groq,
        ),
        ServerDialect(
            "together",
            "/v1",
            (_CHAT, *_AUDIO),
            windows=(None, "24h"),
            needs=frozenset({"custom_id", "body"}),
            uploads="/files/upload",
            purpose="batch-api",
            needs_name=True,
            created=201,
            row_bytes=10 * _MB,
            file_bytes=100 * _MB,
            trusting=True,
            bare=True,
            order=frozenset({"input_file_id", "endpoint", "completion_window", "model_id", "priority"}),
            complaint=_in_error,
            job=_together,
            created_job=lambda said: {"job": _together(said), "warning": None},
            line=_together_line,
        ),
        ServerDialect(
            "doubleword",
            "/v1",
            (_CHAT, "/completions", "/embeddings", "/responses", "/messages"),
            windows=("24h", "1h"),
            uploaded=201,
            created=201,
            mixed=True,
            complaint=_in_words,
            job=_doubleword,
            line=_doubleword_line,
        ),
        ServerDialect(
            "deepinfra",
            "/v1/openai",
            (_CHAT, "/completions", "/embeddings"),
            first_line=0,
            complaint=in_detail,
            job=_deepinfra,
            line=_deepinfra_line,
        ),
        ServerDialect(
            "parasail",
            "/v1",
            (_CHAT, "/embeddings"),
            file_bytes=100 * _MB,
            elsewhere=True,
            complaint=_in_words_401,
            job=_parasail,
        ),
        ServerDialect(
            "novita",
            "/openai/v1",
            (_CHAT, "/completions"),
            other_bases=("/v3/openai",),
            windows=("48h", "24h"),
            file_bytes=100 * _MB,
            needs=frozenset({"custom_id", "body"}),
            job=_novita,
        ),
        ServerDialect(
            "siliconflow",
            "/v1",
            (_CHAT,),
            windows=_TWO_WEEKS,
            most=5_000,
            file_bytes=1_000 * _MB,
            last_turn="user",
            order=frozenset({"input_file_id", "endpoint", "completion_window", "metadata", "replace"}),
            needs=frozenset({"custom_id", "body"}),
            file=_siliconflow_file,
            job=_siliconflow,
        ),
        ServerDialect(
            "dashscope",
            "/compatible-mode/v1",
            (_CHAT, "/embeddings"),
            windows=_TWO_WEEKS + tuple(f"{days}d" for days in range(1, 15)),
            row_bytes=6 * _MB,
            file_bytes=500 * _MB,
        ),
        ServerDialect(
            "zhipu",
            "/api/paas/v4",
            (_CHAT,),
            prefix="/v4",
            windows=(None, "24h"),
            shortest_key=6,
            file_bytes=100 * _MB,
            order=frozenset({"input_file_id", "endpoint", "completion_window", "metadata", "auto_delete_input_file"}),
            job=_zhipu,
            line=_zhipu_line,
        ),
        ServerDialect(
            "kimi",
            "/v1",
            (_CHAT,),
            windows=("12h", "24h", "1d", "3d", "7d"),
            file_bytes=100 * _MB,
            absent=frozenset({"temperature", "top_p", "n", "presence_penalty", "frequency_penalty"}),
            line=_kimi_line,
        ),
        ServerDialect(
            "perplexity",
            "/v1",
            ("/responses",),
            other_bases=("",),
            windows=(None, "24h"),
            once="idempotency-key",
            job=_perplexity,
        ),
        ServerDialect(
            "cerebras", "/v1", (_CHAT,), least=10, row_bytes=_MB, results=True, job=_cerebras, line=_cerebras_line
        ),
        ServerDialect(
            "voyage",
            "/v1",
            ("/embeddings", "/contextualizedembeddings", "/rerank"),
            windows=("12h",),
            most=100_000,
            file_bytes=1_000 * _MB,
            order=frozenset({"input_file_id", "endpoint", "completion_window", "metadata", "request_params"}),
            keyed=frozenset({"custom_id", "body"}),
            needs=frozenset({"custom_id", "body"}),
            complaint=in_detail,
            job=_voyage,
            line=_voyage_line,
        ),
        ServerDialect("azure", "/openai/v1", (_CHAT, "/responses"), pending=True, job=_azure, line=_azure_line),
    )
}
"""By the provider's name."""
