"""The site, built strictly: nothing is missing from it, and it fetches nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest

from batchling.providers import PROVIDERS
from tests.docs.pages import DOCS, ROOT

if find_spec("material") is None:
    pytest.skip("mkdocs-material is not installed: tox -e docs", allow_module_level=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    return folder


class Fetched(HTMLParser):
    """Collects the addresses that a browser fetches by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        follows = tag == "a" or (tag == "link" and given.get("rel") in ("canonical", "next", "prev"))
        self.found += [] if follows else [value for name in ("src", "srcset", "href") if (value := given.get(name))]


def test_every_page_is_in_it(site: Path) -> None:
    for page in DOCS.rglob("*.md"):
        name = page.relative_to(DOCS).with_suffix("")
        built = site / (name.parent if name.name == "index" else name) / "index.html"
        assert built.exists()


def test_it_fetches_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        parser = Fetched()
        parser.feed(page.read_text())
        assert parser.found
        assert [address for address in parser.found if "//" in address] == []
    for sheet in site.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\"']+", sheet.read_text()) == []


def test_the_tables_of_options_and_clients_are_there(site: Path) -> None:
    assert "batch_poll_interval_seconds" in (site / "options" / "index.html").read_text()
    assert "langchain-anthropic" in (site / "frameworks" / "index.html").read_text()
    assert not [
        page for page in site.rglob("*.html") if "--8&lt;--" in page.read_text() or "--8<-- [" in page.read_text()
    ]


def test_the_table_of_providers_reads_as_it_was_written(site: Path) -> None:
    text = re.sub(r"<[^>]+>", "", (site / "providers" / "index.html").read_text())
    for provider in PROVIDERS.values():
        assert ", ".join(path.strip("/") for path in provider.endpoints) in text
