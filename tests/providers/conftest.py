"""What a newcomer runs of the contract, and the table of what has held."""

from __future__ import annotations

import pytest

from batchling.providers import PROVIDERS
from batchling.providers.files import FileDialect

_FOR_ALL = ("test_every_endpoint", "test_dry_run", "test_unknown_status")
"""The cases that are run at once for providers whose code is another's."""

_FOR_OWN = (
    *_FOR_ALL,
    "test_find[",
    "test_row_failure",
    "test_partial_expiry",
    "test_cancelled[",
    "test_line_separators[",
)
"""Those for providers with code of their own. The others are slow: tox runs them."""

_cells: dict[tuple[str, str], str] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "test_contract.py" not in item.nodeid:
            continue
        name = _provider(item.nodeid)
        shared = type(PROVIDERS.get(name)) is FileDialect and name != "openai"
        if not item.name.startswith(_FOR_ALL if shared else _FOR_OWN):
            item.add_marker(pytest.mark.slow)


def _provider(nodeid: str) -> str:
    found = nodeid.partition("[")[2].rstrip("]")
    return max((name for name in PROVIDERS if name in found.split("-") or found.startswith(name)), key=len, default="")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if "test_contract.py" in report.nodeid and (report.when == "call" or (report.when == "setup" and report.skipped)):
        case = report.nodeid.partition("::test_")[2].partition("[")[0]
        cell = (_provider(report.nodeid), case)
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
