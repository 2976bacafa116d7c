"""Real gateways on loopback, with the embedded server behind them. One that is not installed is skipped and says so."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which

import httpx
import pytest

from batchling.testing import ProviderServer
from tests.engine.calls import TLS
from tests.waiting import wait_until

Start = Callable[..., str]

PATIENCE = 120.0
"""Seconds for which a gateway may start: they import for ten, and many times that on a busy machine."""


@pytest.fixture
def start(provider_server: ProviderServer, tmp_path: Path) -> Iterator[Start]:
    """Starts a gateway's command, and returns its URL when it answers at `health`; ends it after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(command: str, *arguments: str, health: str, script: Path | None = None) -> str:
        """`script`: what Python runs instead of the command."""
        program = which(command, path=str(Path(sys.executable).parent))
        if program is None:
            pytest.skip(f"{command} is not installed: see the gateway environments of tox.ini")
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
        path = tmp_path / "gateway.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [*([sys.executable, str(script)] if script else [program]), *arguments, "--port", str(port)],
                env=environment,
                stdout=log,
                stderr=log,
                cwd=tmp_path,
            )
        started.append(process)
        url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            assert process.poll() is None, f"{command} has ended with {process.returncode}"
            return _answers(url + health)

        try:
            wait_until(answers, f"{command} answers", PATIENCE, interval=0.2)
        except AssertionError as failed:
            failed.add_note(_tail(path))
            raise
        return url

    yield begin
    for process in started:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-4_000:]


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, verify=TLS, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
