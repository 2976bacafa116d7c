"""Every page of the documentation is done as it says, against the embedded server, and its ledger proves the batching.

A page whose framework is not installed is skipped and says so; tox has an environment for each."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

from batchling.testing import ProviderServer
from tests.docs.pages import DOCS, ROOT, Reader, blocks, commands, missing, modules

PAGES = {str(page.relative_to(DOCS).with_suffix("")): page for page in sorted(DOCS.rglob("*.md"))}

ENVIRONMENTS = {
    "openai": "docs",
    "anthropic": "docs",
    "google.genai": "sdk-providers",
    "litellm": "sdk-litellm",
    "langchain_anthropic": "sdk-langchain",
    "langchain_openai": "sdk-langchain",
    "pydantic_ai": "sdk-pydantic_ai",
    "instructor": "sdk-instructor",
    "dspy": "sdk-dspy",
    "agents": "sdk-agents",
    "llama_index": "sdk-llama_index",
}
"""Where tox runs the pages that import a module."""

LEDGER = {
    "index": (20, 0),
    "scale": (40, 0),
    "threads_and_processes": (40, 0),
    "frameworks/openai": (20, 0),
    "frameworks/anthropic": (20, 0),
    "frameworks/google_genai": (20, 0),
    "frameworks/litellm": (40, 0),
    "frameworks/langchain": (40, 0),
    "frameworks/pydantic_ai": (40, 0),
    "frameworks/instructor": (20, 0),
    "frameworks/dspy": (20, 0),
    "frameworks/openai_agents": (20, 0),
    "frameworks/llama_index": (20, 0),
}
"""What each page buys: requests in batches, and in real time. A page that is not here buys nothing."""


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", PAGES)
def test_the_page_runs(name: str, tmp_path: Path, provider_server_at_real_hosts: ProviderServer) -> None:
    server = provider_server_at_real_hosts
    page = PAGES[name]
    if lacking := missing(page):
        where = sorted({ENVIRONMENTS.get(module, "?") for module in lacking})
        pytest.skip(f"not installed: {', '.join(lacking)}; tox -e {','.join(where)}")

    Reader(tmp_path).read(page)

    batched, real_time = LEDGER.get(name, (0, 0))
    jobs = server.jobs()
    assert len(server.billed(batch=True)) == batched
    assert len(server.billed(batch=False)) == real_time
    assert not batched or len(jobs) < batched / 3, "the calls left one by one"


@pytest.mark.parametrize("name", PAGES)
def test_every_block_is_of_a_kind_that_is_run(name: str) -> None:
    """Python and console are run; toml is read by a test of its own, and text is a picture or a program's words."""
    page = PAGES[name]
    assert {block.language for block in blocks(page)} <= {"python", "console", "toml", "text"}
    texts = [block.text for block in blocks(page)]
    for title in {block.title for block in blocks(page)} - {""}:
        used = re.compile(rf"^\$ .*\b{re.escape(title)}|^(from|import) {Path(title).stem}\b", re.MULTILINE)
        assert any(used.search(text) for text in texts), f"{title} is never run"


def test_tox_runs_every_page_and_installs_what_it_says_to_install() -> None:
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    for name, page in PAGES.items():
        homes = {ENVIRONMENTS[module] for module in modules(page) if module in ENVIRONMENTS} or {"docs"}
        special = homes - {"docs"} or homes
        assert len(special) == 1, f"{name} needs {special}"
        environment = tox[f"testenv:{special.pop()}"]
        run = re.search(r"tests/docs(/test_pages.py)?", environment["commands"])
        assert run, f"nothing runs {name}"
        picked = re.search(r"-k \"?([\w ]+)", environment["commands"])
        assert picked is None or any(word in name for word in picked[1].split()), f"{picked} leaves out {name}"
        told = [command.words for block in blocks(page) if block.language == "console" for command in commands(block)]
        wanted = {word for words in told if words[:2] == ["pip", "install"] for word in words[2:]}
        installed = {re.split(r"[<>=!]", line)[0] for line in environment["deps"].split()}
        assert wanted - {"."} <= installed, f"{name} installs {wanted}, tox {installed}"
