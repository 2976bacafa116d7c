"""Programs that ask the embedded server from processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from batchling.testing import ProviderServer

HEAD = """
import asyncio, os, sys, threading
sys.path.insert(0, os.getcwd())
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from batchling import batchify
from batchling.system.gate import open_gates
from tests.engine.calls import ask, gather
from tests.waiting import wait_until
server = SimpleNamespace(openai_url=sys.argv[1] + "/openai/v1")
gateways = {sys.argv[1]: "openai"}
options = dict(gateways=gateways, batch_size=3, batch_window_seconds=2.0, batch_poll_interval_seconds=0.05)
print("ready", flush=True)
"""
"""How such a program begins: what it asks with, a server and the options of its scope."""


def start_program(
    server: ProviderServer, cache: Path, program: str, stderr: int = subprocess.PIPE
) -> subprocess.Popen[str]:
    """A program that is ready to begin; one that reads a line first waits for it."""
    environment = {**os.environ, "BATCHLING_CACHE_DIR": str(cache)}
    process = subprocess.Popen(
        [sys.executable, "-c", program, server.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process
