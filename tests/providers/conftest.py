"""What a newcomer runs of the contract, and the table of what has held."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchling.providers import PROVIDERS
from batchling.providers.files import FileDialect

CONTRACT = Path(__file__).with_name("test_contract.py")
MARKERS = (
    "quick_for_each: a case of the contract that is run at once for each provider; without such a marker it is slow",
    "quick_for_own_code: one that is run at once for providers with code of their own, and slow for the others",
)

_cells: dict[tuple[str, str], str] = {}


def pytest_configure(config: pytest.Config) -> None:
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path != CONTRACT or not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
            continue
        name = item.callspec.params["provider_case"].name
        shared = type(PROVIDERS[name]) is FileDialect and name != "openai"
        quick = item.get_closest_marker("quick_for_each") or (
            not shared and item.get_closest_marker("quick_for_own_code")
        )
        if not quick:
            item.add_marker(pytest.mark.slow)


def _provider(nodeid: str) -> str:
    found = nodeid.partition("[")[2].rstrip("]")
    return max((name for name in PROVIDERS if name in found.split("-") or found.startswith(name)), key=len, default="")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.location[0].endswith("providers/test_contract.py") and (
        report.when == "call" or (report.when == "setup" and report.skipped)
    ):
        provider = _provider(report.nodeid)
        if not provider:
            return
        cell = (provider, report.nodeid.partition("::test_")[2].partition("[")[0])
        outcome = {"passed": "yes", "skipped": "refused", "failed": "NO"}[report.outcome]
        if _cells.get(cell) != "NO":
            _cells[cell] = outcome


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _cells:
        return
    cases = sorted({case for _, case in _cells})
    names = [name for name in PROVIDERS if any(cell[0] == name for cell in _cells)]
    kept = list(_cells.values()).count("yes")
    refused = list(_cells.values()).count("refused")
    terminalreporter.write_line(f"contract: {kept} cells kept, {refused} refused (providers x cases)")
    if len(_cells) < len(names) * len(cases):
        return
    terminalreporter.write_line(f"{'':14}" + " ".join(f"{case[:9]:9}" for case in cases))
    for name in names:
        terminalreporter.write_line(f"{name:14}" + " ".join(f"{_cells[name, case]:9}" for case in cases))
