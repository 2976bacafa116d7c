"""Short patience for the tests of faults, and the count of what the table holds."""

from __future__ import annotations

import pytest

from batchling.engine import sender
from tests.faults.table import CELLS
from tests.patience import be_patient

REPORTS = ("test_isolation.py", "test_reports.py")

_passed: set[str] = set()
_reports: set[str] = set()


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits of a real network, shortened; their order stays: a listing takes longer than a poll."""
    be_patient(monkeypatch, listing=0.15)
    be_patient(monkeypatch, rows=0.0)
    be_patient(monkeypatch, refusals=0.0)
    be_patient(monkeypatch, pages=0.0)
    be_patient(monkeypatch, result_file=0.0)
    monkeypatch.setattr(sender, "IDLE_SECONDS", 0.3)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.passed and "test_wire.py" in report.nodeid:
        _passed.add(report.nodeid)
    if report.when == "call" and report.passed and report.nodeid.partition("::")[0].endswith(REPORTS):
        _reports.add(report.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _passed:
        terminalreporter.write_line(
            f"table of faults: {len(_passed)} of {len(CELLS)} cells (faults x calls x providers)"
        )
    if _reports:
        terminalreporter.write_line(f"kinds of public reports: {len(_reports)} cases (kinds x providers x shapes)")
