"""Jobs in OpenAI's batch API, by plain calls to the embedded server."""

from __future__ import annotations

import json
from typing import Any

import httpx

from batchling.testing import ProviderServer

OPENAI = {"authorization": "Bearer sk-1"}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def upload(server: ProviderServer, rows: list[Any], headers: dict[str, str] = OPENAI) -> str:
    content = b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)
    form = {"purpose": (None, "batch"), "file": ("in.jsonl", content)}
    return str(httpx.post(f"{server.openai_url}/files", files=form, headers=headers).json()["id"])


def create(server: ProviderServer, file: str, headers: dict[str, str] = OPENAI) -> dict[str, Any]:
    order = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    return dict(httpx.post(f"{server.openai_url}/batches", json=order, headers=headers).json())


def get(server: ProviderServer, path: str, headers: dict[str, str] = OPENAI) -> httpx.Response:
    return httpx.get(f"{server.openai_url}/{path}", headers=headers)


def row(key: str, **change: Any) -> dict[str, Any]:
    return {"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": {**CHAT, **change}}
