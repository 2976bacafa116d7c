"""Real gateways on loopback, with the embedded server behind them. One that is not installed is skipped and says so."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which

import httpx
import pytest

from batchling.testing import ProviderServer
from tests.engine.calls import TLS

Start = Callable[..., str]


@pytest.fixture
def start(provider_server: ProviderServer, tmp_path: Path) -> Iterator[Start]:
    """Starts a gateway's command, and returns its URL when it answers at `health`; ends it after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(command: str, *arguments: str, health: str) -> str:
        program = which(command, path=str(Path(sys.executable).parent))
        if program is None:
            pytest.skip(f"{command} is not installed: tox -e gateway-{command}")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = {
            **os.environ,
            "HOME": str(tmp_path),
            "OPENAI_API_KEY": "sk-1",
            "OPENAI_API_BASE": provider_server.openai_url,
            "OPENAI_BASE_URL": provider_server.openai_url,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        }
        with (tmp_path / "gateway.log").open("wb") as log:
            process = subprocess.Popen(
                [program, *arguments, "--port", str(port)], env=environment, stdout=log, stderr=log, cwd=tmp_path
            )
        started.append(process)
        url = f"http://127.0.0.1:{port}"
        end = time.monotonic() + 90
        while not _answers(url + health):
            assert process.poll() is None, (tmp_path / "gateway.log").read_text()[-2_000:]
            assert time.monotonic() < end, "the gateway does not start"
            time.sleep(0.2)
        return url

    yield begin
    for process in started:
        process.terminate()
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, verify=TLS, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
