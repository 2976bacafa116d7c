"""What README and docs promise, done: their Python runs, their links lead somewhere, their commands exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from batchling import batchify
from batchling.cli import _COMMANDS, main
from batchling.cli.manual import HELP
from batchling.core.model import Job, Site, State, Target
from batchling.environment import registry
from batchling.hooks import _HOOKS
from batchling.providers import PROVIDERS
from batchling.testing import ProviderServer
from tests.docs import identity_table
from tests.engine.calls import QUICK, ask
from tests.providers.flows import answer, play

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
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


def test_the_commands_that_are_shown_exist_and_the_manual_has_them() -> None:
    page = (ROOT / "docs" / "jobs.md").read_text()
    shown = re.findall(r"(?m)^\$ batchling ([^|\n]*)", page)
    assert {line.split()[0] for line in shown} | {"demo", "providers"} == set(_COMMANDS)
    for option in set(re.findall(r"--[a-z-]+", page)):
        assert option in HELP
    for command in _COMMANDS:
        assert f"batchling {command}" in HELP
    made = re.findall(r"<!-- made by: python -m tests\.docs\.transcripts \w+ -->\n```text\n\$", page)
    assert len(made) == page.count("made by:") == 7


def test_the_tables_of_identity() -> None:
    page = (ROOT / "docs" / "identity.md").read_text()
    made = re.search(r"<!-- made by: [^\n]* -->\n(.*?)<!-- end -->", page, re.DOTALL)
    assert made is not None
    assert made[1] == identity_table.markdown() + "\n"


def test_the_readme_names_every_provider_and_every_library() -> None:
    text = (ROOT / "README.md").read_text().lower()
    for name in [*PROVIDERS, *(module.partition(".")[0] for module in _HOOKS)]:
        assert name in text


OBJECTS = ("gateways", "providers", "duplicates", "on_event")
"""Options that the command line does not take."""


def test_the_options_are_told_where_they_are_looked_for() -> None:
    page = (ROOT / "docs" / "options.md").read_text()
    options = [name for name in batchify.__kwdefaults__ or () if name not in OBJECTS]
    for option in options:
        assert "--" + option.replace("_", "-") in HELP
    for option in batchify.__kwdefaults__ or ():
        assert f"`{option}`" in page


@pytest.mark.parametrize("option", ["--summary", "--markdown"])
def test_the_tables_of_providers_are_what_the_code_says(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["providers", option]) == 0
    page = (ROOT / "docs" / "providers.md").read_text()
    made = re.search(rf"<!-- made by: batchling providers {option} -->\n(.*?)<!-- end -->", page, re.DOTALL)
    assert made is not None
    assert made[1] == capsys.readouterr().out


@pytest.mark.thorough
def test_the_page_on_providers_does_what_it_says(
    provider_server: ProviderServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its Python runs, the provider it writes batches, and a package that names it is found, listed and used."""
    page = (ROOT / "docs" / "write_a_provider.md").read_text()
    names: dict[str, Any] = {"__name__": "acme_batchling"}
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for block in blocks:
        exec(compile(block, "write_a_provider.md", "exec"), names)
    with batchify(gateways={f"{provider_server.url}/openai": "acme"}, providers=[names["ACME"]], **QUICK):
        assert ask(provider_server, "hi").status_code == 200
    assert len(provider_server.billed(batch=True)) == 1
    at = Site(Target("acme", "https://api.acme.example/v1", "/v1/chat/completions", "m", "a"))
    running = play(names["Queued"].poll(names["ACME"], at, Job("j")), answer({"phase": "on its way"}))[1]
    over = play(names["Queued"].poll(names["ACME"], at, Job("j")), answer({"phase": "over", "output_file_id": "f"}))[1]
    assert (running.state, over.state, over.outputs) == (State.RUNNING, State.ENDED, ("f",))

    (tmp_path / "acme_batchling.py").write_text(blocks[0])
    package = tmp_path / "acme_batchling-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-batchling\nVersion: 1\n")
    entry = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    assert entry is not None
    named = tomllib.loads(entry[1])["project"]["entry-points"]["batchling.providers"]
    lines = [f"{name} = {place}" for name, place in named.items()] + ["broken = no_such_module:X", "none = json:dumps"]
    (package / "entry_points.txt").write_text("\n".join(["[batchling.providers]", *lines]))
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.installed.cache_clear()
    try:
        assert set(registry.installed()) == {"acme"}
        assert registry.providers()["acme"].roots == ("https://api.acme.example/v1",)
        assert main(["providers", "--summary"]) == 0
        assert "| Acme (`acme`) | chat/completions, embeddings | 50 % off | 24 h |" in capsys.readouterr().out
        provider_server.forget_bills()
        with batchify(gateways={f"{provider_server.url}/openai": "acme"}, **QUICK):
            assert ask(provider_server, "found by its entry point").status_code == 200
        assert len(provider_server.billed(batch=True)) == 1
    finally:
        registry.installed.cache_clear()
