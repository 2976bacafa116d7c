"""What README and docs promise, done: their Python runs, their links lead somewhere, their commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from batchling import batchify
from batchling.cli.manual import HELP
from batchling.hooks import _HOOKS
from batchling.providers import PROVIDERS
from batchling.testing import ProviderServer

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            linked = page.parent / path if path else page
            assert linked.exists(), f"{page.name} links to {target}"
            headings = (
                {
                    re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-")
                    for h in re.findall(r"(?m)^#+ (.*)", linked.read_text())
                }
                if anchor
                else set()
            )
            assert not anchor or anchor in headings, f"{page.name} links to {target}"


def test_python_in_the_readme_runs(provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    gateways = ",".join(f"{base}={name}" for base, name in provider_server.gateways.items())
    monkeypatch.setenv("BATCHLING_GATEWAYS", gateways)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        names = {"run_my_unchanged_code": lambda: None, "__name__": "readme"}
        exec(compile(block, "README.md", "exec"), names)


def test_the_readme_names_every_provider_and_every_library() -> None:
    text = (ROOT / "README.md").read_text().lower()
    for name in [*PROVIDERS, *(module.partition(".")[0] for module in _HOOKS)]:
        assert name in text


def test_the_options_are_told_where_they_are_looked_for() -> None:
    readme = (ROOT / "README.md").read_text()
    options = [name for name in batchify.__kwdefaults__ or () if name not in ("gateways", "duplicates")]
    for option in options:
        assert "--" + option.replace("_", "-") in HELP
    for option in batchify.__kwdefaults__ or ():
        assert f"`{option}`" in readme
