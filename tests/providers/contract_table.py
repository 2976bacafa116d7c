"""The table of the contract, provider by case, as Markdown: `python -m tests.providers.contract_table`.

Each case is a test of `test_contract.py`, run for each provider by `tox`, unless the provider's provider_case refuses it and says
why. So what the table calls kept is kept as long as the tests pass.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.providers.provider_cases import BY_NAME

_SOURCE = Path(__file__).with_name("test_contract.py").read_text()

CASES = tuple(
    re.findall(r"def test_(\w+)\(\s*(?:provider_server: ProviderServer,\s*)?provider_case: ProviderCase", _SOURCE)
)
"""The cases, in their order."""


def markdown() -> str:
    """The table, and below it each refusal with its reason."""
    reasons = list(
        dict.fromkeys(reason for provider_case in BY_NAME.values() for reason in provider_case.refuses.values())
    )
    lines = [
        _line(("provider", *(case.replace("_", " ") for case in CASES))),
        _line(("---", *("---" for _ in CASES))),
        *(_line((name, *(_cell(name, case, reasons) for case in CASES))) for name in BY_NAME),
        "",
    ]
    return "\n".join([*lines, *(f"{number}. {reason}." for number, reason in enumerate(reasons, 1))])


def _cell(name: str, case: str, reasons: list[str]) -> str:
    refused = BY_NAME[name].refuses.get(case)
    return "yes" if refused is None else f"no ({reasons.index(refused) + 1})"


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(markdown())
