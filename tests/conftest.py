"""What holds for every test: loopback only, a cache of its own, no environment of the machine, hooks taken out again."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ClassVar

import certifi
import pytest
from hypothesis import HealthCheck, settings

from batchling.display import standing
from batchling.hooks import uninstall_hooks
from batchling.system.gate import open_gates
from tests import machine

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background (nohup, cron): the programs that tests start would inherit that, and Ctrl-C never reach them.
    signal.signal(signal.SIGINT, signal.default_int_handler)

machine.forget()

# On a machine that does much else, inputs are slow to come and tests take their time, which is no fault.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

# No test meets the public's certificates, and reading all of them takes a client longer than most tests take.
_bundle = Path(certifi.where()).read_text()
_one = Path(mkdtemp(prefix="batchling-tests-"), "certificates.pem")
_one.write_text(_bundle[: _bundle.index("-----END CERTIFICATE-----") + 26])
certifi.where = lambda: str(_one)


def pytest_unconfigure() -> None:
    shutil.rmtree(_one.parent, ignore_errors=True)


_connect = socket.socket.connect


def _loopback_only(self: socket.socket, address: object) -> None:
    if isinstance(address, tuple) and address[0] not in ("::1", "localhost") and not address[0].startswith("127."):
        raise AssertionError(f"a test tried to reach {address[0]}")
    _connect(self, address)  # type: ignore[arg-type]


class _Recorded(subprocess.Popen[Any]):
    """A process that the test at hand has started."""

    started: ClassVar[list[subprocess.Popen[Any]]] = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.started.append(self)


@pytest.fixture(autouse=True)
def no_process_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kill what a test that failed has left running. Fixtures of a module or a session look after their own."""
    monkeypatch.setattr(subprocess, "Popen", _Recorded)
    _Recorded.started.clear()
    yield
    for process in _Recorded.started:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture(autouse=True)
def sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(socket.socket, "connect", _loopback_only)
    monkeypatch.setenv("BATCHLING_CACHE_DIR", str(tmp_path / "cache"))
    yield
    # What tests leave at their servers is nothing to be told of when the run ends.
    standing.forget()
    assert not open_gates, "a scope was left open"
    uninstall_hooks()
