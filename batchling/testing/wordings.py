"""How other providers word what OpenAI returns: errors, files, jobs, and the lines of result files.

Each function turns what OpenAI would return into what the other provider returns.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

Words = dict[str, Any]


def same(payload: Words) -> Words:
    """OpenAI's own wording."""
    return payload


def _iso(payload: Words) -> Words:
    """Times as text."""
    return {
        name: datetime.fromtimestamp(value, UTC).isoformat() if name.endswith("_at") and value else value
        for name, value in payload.items()
    }


def _upper(payload: Words) -> Words:
    return {**payload, "status": payload["status"].upper()}


def in_words(status: int, payload: Words) -> str:
    """The message as plain text."""
    return str(payload["error"]["message"])


def in_words_401(status: int, payload: Words) -> Words | str:
    """Plain text for a refused key only."""
    return "Unauthorized. Invalid token format." if status == 401 else payload


def in_detail(status: int, payload: Words) -> Words:
    """The message, in the place where Pydantic's servers put it."""
    return {"detail": payload["error"]["message"]}


def in_error(status: int, payload: Words) -> Words:
    """The message in place of the error object, beside the id of the request."""
    return {"error": payload["error"]["message"], "request_id": "r"}


def _files_from_the_start(payload: Words) -> Words:
    """Both files get their ids before they have any rows."""
    ids = {name: payload[name] or f"{payload['id']}_{name[:-8]}" for name in ("output_file_id", "error_file_id")}
    return {**payload, **(ids if payload["status"] != "failed" or not payload["errors"] else {})}


def doubleword_job(payload: Words) -> Words:
    """A job is failed when all of its rows failed, and gives no reason; no job expires."""
    counts = payload["request_counts"]
    if payload["status"] == "completed" and not counts["completed"]:
        payload = {**payload, "status": "failed"}
    return _files_from_the_start(payload)


def parasail_job(payload: Words) -> Words:
    """A job without metadata and without an end of its window."""
    return {**payload, "metadata": None, "expires_at": None}


def perplexity_job(payload: Words) -> Words:
    """Faults of a job without the parameter at fault."""
    if not payload["errors"]:
        return payload
    data = [{name: value for name, value in fault.items() if name != "param"} for fault in payload["errors"]["data"]]
    return {**payload, "errors": {"object": "list", "data": data}}


def voyage_job(payload: Words) -> Words:
    """At the end of its window, a job is completed, with the rows that have run."""
    return _iso({**payload, "status": payload["status"].replace("expired", "completed")})


def zhipu_line(line: Words) -> Words:
    """No error beside a response."""
    return {name: value for name, value in line.items() if name != "error" or value}


def groq_job(payload: Words) -> Words:
    """Faults of a job as a plain list."""
    errors = payload["errors"]
    return {**payload, "project_id": "project_1", "errors": errors["data"] if errors else None}


def together_job(payload: Words) -> Words:
    """A job in few words, in capitals, with empty texts for what is absent."""
    errors = payload["errors"]["data"] if payload["errors"] else []
    kept = ("id", "input_file_id", "created_at", "endpoint", "completed_at", "status")
    return _iso(
        _upper(
            {
                **{name: payload[name] for name in kept},
                "progress": 100.0 if payload["completed_at"] else 0.0,
                "output_file_id": payload["output_file_id"] or "",
                "error_file_id": payload["error_file_id"] or "",
                "error": errors[0]["message"] if errors else "",
            }
        )
    )


def together_created(payload: Words) -> Words:
    """A new job inside an envelope."""
    return {"job": together_job(payload), "warning": None}


def _error_of(line: Words) -> tuple[int, Words] | None:
    """Status and error of a row that failed; None for one that did not fail or never ran."""
    payload = line["response"]
    if payload is None or payload["status_code"] == 200:
        return None
    error = payload["body"].get("error") or {"message": payload["body"].get("detail")}
    return payload["status_code"], error


def together_line(line: Words) -> Words:
    """Rows that failed have an error in place of the response."""
    failed = _error_of(line)
    if failed is None:
        kept = {name: line[name] for name in ("id", "custom_id")}
        return {**kept, "response": line["response"]} if line["response"] else {**kept, "error": line["error"]}
    code = "batch_client_error" if failed[0] < 500 else "batch_server_error"
    text = failed[1].get("message") if failed[0] < 500 else "Internal server error"
    return {"id": line["id"], "custom_id": line["custom_id"], "error": {"code": code, "message": text}}


def doubleword_line(line: Words) -> Words:
    """The whole answer to a row that failed, as text inside an error."""
    failed = _error_of(line)
    if failed is None:
        return line
    body = msgspec.json.encode(line["response"]["body"]).decode()
    message = msgspec.json.encode({"type": "NonRetriableHttpStatus", "status": failed[0], "body": body}).decode()
    return {**line, "response": None, "error": {"code": None, "message": message}}


def deepinfra_job(payload: Words) -> Words:
    """A new job has no counts; an ended one names both files."""
    early = payload["status"] == "validating"
    payload = {**payload, **(dict.fromkeys(("request_counts", "model", "usage")) if early else {})}
    return _files_from_the_start(payload) if payload["status"] in ("completed", "cancelled", "expired") else payload


def deepinfra_line(line: Words) -> Words:
    """Rows that failed have an error in place of the response."""
    if (failed := _error_of(line)) is None:
        return line
    error = {"code": str(failed[0]), "message": failed[1].get("message"), "param": None, "type": None}
    return {**line, "response": None, "error": error}


def novita_job(payload: Words) -> Words:
    """A job in capitals, with its counts beside everything else."""
    counts = payload["request_counts"]
    errors = payload["errors"]["data"][0]["message"] if payload["errors"] else ""
    words = {"in_progress": "PROGRESS"}
    ids = {name: payload[name] or "" for name in ("output_file_id", "error_file_id")}
    status = words.get(payload["status"], payload["status"].upper())
    return _iso({**payload, **counts, **ids, "metadata": None, "errors": errors, "status": status, "version": 1})


def siliconflow_file(payload: Words) -> Words:
    """A file inside an envelope."""
    return {"code": 20000, "message": "Ok", "status": True, "data": payload}


def siliconflow_job(payload: Words) -> Words:
    """A new job is queued."""
    return {**payload, "status": "in_queue" if payload["status"] == "validating" else payload["status"]}


def zhipu_job(payload: Words) -> Words:
    """The counts beside everything else."""
    return {**payload, **payload["request_counts"], "request_counts": None}


def kimi_line(line: Words) -> Words:
    """A line's id is its row's key."""
    return {**line, "id": line["custom_id"]}


def voyage_line(line: Words) -> Words:
    """The job's id on each line, and errors without their body."""
    if (failed := _error_of(line)) is None:
        return {**line, "batch_id": "batch_1"}
    return {**line, "batch_id": "batch_1", "response": {"status_code": failed[0], "message": failed[1].get("message")}}


def cerebras_job(payload: Words) -> Words:
    """A job without files, queued at first."""
    hidden = {name: value for name, value in payload.items() if name not in ("output_file_id", "error_file_id")}
    return {**hidden, "status": "queued" if payload["status"] == "validating" else payload["status"]}


def cerebras_line(line: Words) -> Words:
    """A status for each row, and the answer without an envelope."""
    failed = _error_of(line)
    key = {"custom_id": line["custom_id"]}
    if failed is not None:
        return {**key, "status": "failed", "error": {"code": str(failed[0]), "message": failed[1].get("message")}}
    if line["response"] is None:
        error = {**line["error"], "code": line["error"]["code"].replace("batch_expired", "timeout")}
        return {**key, "status": line["error"]["code"].removeprefix("batch_"), "error": error}
    return {**key, "status": "succeeded", "response": line["response"]["body"]}


def azure_job(payload: Words) -> Words:
    """The quirks of its preview versions: capitals, times as text, null counts."""
    early = payload["status"] == "validating"
    counts = dict.fromkeys(payload["request_counts"]) if early else payload["request_counts"]
    word = payload["status"].capitalize() if early else payload["status"]
    return _iso({**payload, "status": word, "request_counts": counts, "endpoint": None})


def azure_line(line: Words) -> Words:
    """A line without an id."""
    return {name: value for name, value in line.items() if name != "id"}
