"""The display in a real Jupyter kernel, as its messages tell."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batchling.testing import ProviderServer

pytest.importorskip("ipykernel", reason="ipykernel is not installed here: tox -e jupyter")

CELL = """
import asyncio, httpx
from batchling import batchify
from batchling.testing import ProviderServer

async def ask(client, text):
    body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": text}]}
    return (await client.post(URL + "/chat/completions", json=body, headers={"authorization": "Bearer k"})).status_code

async with batchify(batch_window_seconds=0.1, batch_poll_interval_seconds=0.05):
    async with httpx.AsyncClient() as client:
        print(await asyncio.gather(*(ask(client, text) for text in "abc")))
"""


def test_one_output_that_changes_in_place(
    provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from jupyter_client.manager import start_new_kernel

    monkeypatch.setenv(
        "BATCHLING_GATEWAYS", ",".join(f"{url}={name}" for url, name in provider_server.gateways.items())
    )
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    provider_server.hold()
    manager, client = start_new_kernel(kernel_name="python3")
    shown: list[tuple[str, str, str]] = []
    streams = {"stdout": "", "stderr": ""}
    try:
        asked = client.execute(f"URL = {provider_server.openai_url!r}\n{CELL}")
        while True:
            message = client.get_iopub_msg(timeout=30)
            content = message["content"]
            if message["parent_header"].get("msg_id") != asked:
                continue
            if message["msg_type"] in ("display_data", "update_display_data"):
                shown.append((message["msg_type"], content["transient"]["display_id"], content["data"]["text/plain"]))
                assert content["data"]["text/html"].startswith("<pre")
                provider_server.release()
            elif message["msg_type"] == "stream":
                streams[content["name"]] += content["text"]
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                break
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)

    kinds = [kind for kind, _, _ in shown]
    assert kinds[:1] == ["display_data"]
    assert set(kinds[1:]) == {"update_display_data"}
    assert len({place for _, place, _ in shown}) == 1
    assert "0 of 3 answered" in shown[0][2]
    assert "3 of 3 answered" in shown[-1][2]
    assert streams["stdout"] == "[200, 200, 200]\n"
    report, cost = streams["stderr"].rstrip("\n").split("\n")
    assert report.startswith("batchling: 3 calls batched")
    assert cost.startswith("  21 tokens in")
