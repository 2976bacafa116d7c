"""A package that takes the place of a provider does not do so in silence."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchling.environment import registry

MODULE = """
from dataclasses import replace
from batchling.providers.openai import OPENAI
MINE = replace(OPENAI, roots=("https://api.other.example/v1",))
NEW = replace(OPENAI, name="new", roots=("https://api.new.example/v1",))
"""


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    registry.installed.cache_clear()
    yield
    registry.installed.cache_clear()


def install(folder: Path, package: str, *entries: str) -> None:
    module = package.replace("-", "_")
    (folder / f"{module}.py").write_text(MODULE)
    info = folder / f"{module}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
    (info / "entry_points.txt").write_text("\n".join(["[batchling.providers]", *entries]))


def test_a_replaced_provider_is_announced_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(tmp_path, "some-package", "x = some_package:MINE", "new = some_package:NEW")
    install(tmp_path, "third-package", "new = third_package:NEW")
    monkeypatch.syspath_prepend(str(tmp_path))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert registry.providers()["openai"].roots == ("https://api.other.example/v1",)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert any("package some-package replaces the provider openai" in message for message in told)
    assert any("-package replaces the provider new" in message for message in told)
    assert all("credentials" in message for message in told)


def test_a_package_that_fails_is_told_without_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(tmp_path, "failing-package", "x = failing_package:MINE")
    (tmp_path / "failing_package.py").write_text("raise RuntimeError('sk-SECRET')")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.providers()
    assert "provider x cannot be loaded (RuntimeError" in caplog.text
    assert "sk-SECRET" not in caplog.text
