from __future__ import annotations

from pathlib import Path

import pytest

from batchling.testing import ProviderServer
from tests.engine.calls import ask, ask_all, ask_claude, said, scope


@pytest.mark.thorough
def test_a_dry_run_sends_and_writes_nothing(
    provider_server: ProviderServer, batchling_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with scope(provider_server, dry_run=True, batch_size=4):
        answers = ask_all(provider_server, [f"{n}" for n in range(10)])
        claude = ask_claude(provider_server, "hi")

    assert {r.headers["x-batchling-dry-run"] for r in [*answers, claude]} == {"1"}
    assert all(said(r) for r in answers)
    assert claude.json()["type"] == "message"
    assert provider_server.calls() == []
    assert not batchling_cache.exists()
    report = capsys.readouterr().err
    assert "nothing was sent. 11 requests would be sent in 4 batches" in report
    assert "/v1/messages" in report


@pytest.mark.thorough
def test_a_dry_run_knows_what_the_cache_holds(
    provider_server: ProviderServer, batchling_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with scope(provider_server):
        ask_all(provider_server, ["a", "b"])
    before = sorted((path, path.stat().st_mtime_ns) for path in batchling_cache.rglob("*"))
    capsys.readouterr()
    with scope(provider_server, dry_run=True):
        answers = ask_all(provider_server, ["a", "b", "c"])

    assert {r.headers["x-batchling-dry-run"] for r in answers} == {"1"}
    assert "1 request would be sent in 1 batch, 2 requests would come from cache" in capsys.readouterr().err
    assert sorted((path, path.stat().st_mtime_ns) for path in batchling_cache.rglob("*")) == before


@pytest.mark.thorough
@pytest.mark.parametrize(("dimensions", "size"), [(None, 1536), (8, 8)])
def test_embeddings_have_the_asked_dimensions(
    provider_server: ProviderServer, dimensions: int | None, size: int
) -> None:
    more = {"dimensions": dimensions} if dimensions else {}
    with scope(provider_server, dry_run=True):
        answer = ask(provider_server, "x", path="embeddings", input=["a", "b"], **more)

    assert [len(row["embedding"]) for row in answer.json()["data"]] == [size, size]
