"""A file in the cache sends no credential anywhere that its user has not sent it to."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from batchling.cache.files import FileStore
from batchling.core.lifecycle import Record
from batchling.testing import ProviderServer
from tests.cli.commands import KEY, gateways, leave, run, start

Edit = Callable[[dict[str, object], str], object]


@pytest.fixture
def stranger() -> object:
    """Somebody who would answer like a provider."""
    with ProviderServer() as server:
        yield server


def path_of(record: Record) -> Path:
    return Path(os.environ["BATCHLING_CACHE_DIR"], "batches", f"{record.id}.json")


def forge(record: Record, change: Callable[[dict[str, object]], object]) -> None:
    """Edit a record as who can write to the folder and cannot read its secret."""
    document = json.loads(path_of(record).read_bytes())
    change(document)
    path_of(record).write_text(json.dumps(document))


def moved(url: str) -> Callable[[dict[str, object]], object]:
    return lambda document: document["record"]["target"].update(base_url=url)  # type: ignore[index, attr-defined]


CHANGES: dict[str, Edit] = {
    "base_url": lambda document, url: moved(url)(document),
    "no TLS": lambda document, url: moved("http://api.openai.com/v1")(document),
    "without a seal": lambda document, url: (document.pop("seal"), moved(url)(document)),
    "an empty seal": lambda document, url: (document.update(seal=""), moved(url)(document)),
    "an older schema": lambda document, url: (document.update(schema=1), moved(url)(document)),
    "another job": lambda document, url: document["record"]["job"].update(id="batch_of_others"),  # type: ignore[index, attr-defined]
    "another key": lambda document, url: document["record"].update(members=["0" * 40 + "-0"]),  # type: ignore[attr-defined]
    "vertex": lambda document, url: document["record"]["target"].update(  # type: ignore[index, attr-defined]
        provider="vertex", base_url=f"https://x.{url}/-aiplatform.googleapis.com/v1/projects/p/locations/l"
    ),
}


MARKS = {"base_url": (), "an older schema": pytest.mark.thorough, "vertex": pytest.mark.thorough}


@pytest.mark.parametrize("change", [pytest.param(name, marks=MARKS.get(name, pytest.mark.slow)) for name in CHANGES])
def test_an_edited_record_is_set_aside(
    provider_server: ProviderServer, stranger: ProviderServer, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    left = leave(provider_server)
    provider_server.release()
    forge(left, lambda document: CHANGES[change](document, stranger.openai_url))
    calls = len(provider_server.calls())
    monkeypatch.setenv("BATCHLING_GATEWAYS", ",".join(map(gateways, (provider_server, stranger))))
    keys = {"OPENAI_API_KEY": KEY, "HTTP_PROXY": stranger.url, "http_proxy": stranger.url, "NO_PROXY": "127.0.0.1"}
    for words in (["jobs", "--refresh"], ["collect", "--once"], ["cancel", "--all", "--yes"], ["show", left.id]):
        done = run(*words, **keys)
        assert left.id in done.stderr, done
        assert "the file is ignored" in done.stderr
        assert KEY not in done.stdout + done.stderr
    assert stranger.calls() == []
    assert len(provider_server.calls()) == calls

    program = start(provider_server, ["a", "b", "c"])
    said, errors = program.communicate(timeout=40)
    assert said == "[200, 200, 200]\n", errors
    assert "set aside" in errors
    assert stranger.calls() == []
    assert path_of(left).with_suffix(".json.damaged").exists()


@pytest.mark.thorough
def test_a_record_of_another_cache_is_set_aside(provider_server: ProviderServer, tmp_path: Path) -> None:
    left = leave(provider_server)
    provider_server.release()
    here = Path(os.environ["BATCHLING_CACHE_DIR"])
    there = tmp_path / "there"
    assert FileStore(str(there)).seal is not None
    (there / "batches").mkdir(mode=0o700)
    shutil.copy(path_of(left), there / "batches")
    done = run("jobs", BATCHLING_CACHE_DIR=str(there))
    assert "another cache" in done.stderr
    # With its secret it is the same cache.
    shutil.rmtree(there)
    shutil.copytree(here, there)
    named = gateways(provider_server)
    done = run("collect", OPENAI_API_KEY=KEY, BATCHLING_CACHE_DIR=str(there), BATCHLING_GATEWAYS=named)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


@pytest.mark.thorough
def test_a_gateway_has_to_be_named_in_this_run(provider_server: ProviderServer) -> None:
    left = leave(provider_server)
    provider_server.release()
    calls = len(provider_server.calls())
    others = (f"{provider_server.openai_url}=anthropic", f"{provider_server.openai_url}/v2=openai")
    cases = [(["collect", "--once"], named) for named in others]
    cases += [(words, "") for words in (["jobs", "--refresh"], ["collect", "--once"], ["cancel", "--all", "--yes"])]
    for words, named in cases:
        done = run(*words, OPENAI_API_KEY=KEY, BATCHLING_GATEWAYS=named)
        assert done.returncode == 1, done
        told = done.stdout + done.stderr
        assert f"no credential was sent to {left.target.base_url}" in told
        assert f"BATCHLING_GATEWAYS={left.target.base_url}=openai" in told
        assert KEY not in told
    assert len(provider_server.calls()) == calls
    done = run("collect", OPENAI_API_KEY=KEY, BATCHLING_GATEWAYS=f"{left.target.base_url}=openai")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.thorough
def test_listings_tell_nothing_that_finds_a_password(provider_server: ProviderServer) -> None:
    """An account is no plain digest of its credential: that could be guessed."""
    from batchling.core.fingerprint import digest

    leave(provider_server)
    (listed,) = json.loads(run("jobs", "--json").stdout)
    plain = {digest(name, f"Bearer {KEY}") for name in ("authorization", "Authorization")} | {digest(KEY)}
    assert listed["account"] not in plain
    for path in Path(os.environ["BATCHLING_CACHE_DIR"]).rglob("*.json"):
        assert not any(each in path.read_text() for each in plain)


@pytest.mark.thorough
def test_many_unfit_records_are_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from tests.cache.drafts import draft

    store = FileStore(str(tmp_path))
    for number in range(40):
        store.claim(draft(f"{number:024x}", f"k{number}"))
    (tmp_path / "secret").unlink()
    with caplog.at_level(logging.WARNING):
        FileStore(str(tmp_path)).claim(draft("f" * 24, "x"))
    (passed, aside) = [record.getMessage() for record in caplog.records]
    assert "and 39 more" in passed
    assert "no secret" in passed
    assert "and 39 more" in aside
    assert len(list((tmp_path / "batches").glob("*.damaged"))) == 40
