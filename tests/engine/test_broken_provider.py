"""A provider of somebody else's, or a request that makes no sense: whatever is raised, every caller gets an answer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import pytest

from batchling.core.model import JSON, Flow, Item, Job, Response, Site, Target
from batchling.providers import PROVIDERS
from batchling.providers.base import Route
from batchling.providers.files import FileDialect
from batchling.testing import ProviderServer
from tests.engine.calls import ask, ask_all, scope

SECRET = "sk-very-secret-0123456789"


@dataclass(frozen=True, slots=True)
class Broken(FileDialect):
    """OpenAI, but that one of its methods raises; and quotes what nobody may see."""

    at: str = ""
    weighed: list[JSON] = field(default_factory=list)

    def _break(self, name: str, what: object) -> None:
        if name == self.at:
            raise ValueError(f"cannot cope with {what!r}")

    def site(self, target: Target, route: Route, request: Any) -> Site:
        self._break("site", request.headers)
        return FileDialect.site(self, target, route, request)

    def submit(self, at: Site, items: Sequence[Item], tag: str) -> Flow[Job]:
        self._break("submit", at.headers)
        return FileDialect.submit(self, at, items, tag)

    def weight(self, body: dict[str, JSON]) -> int:
        self.weighed.append(body)
        if len(self.weighed) == 2:  # the first time is in the caller's own thread
            self._break("weight", body)
        return FileDialect.weight(self, body)

    def rehearse(self, target: Target, body: dict[str, JSON]) -> Response:
        self._break("rehearse", body)
        return FileDialect.rehearse(self, target, body)


def broken(at: str) -> Broken:
    openai = PROVIDERS["openai"]
    assert isinstance(openai, FileDialect)
    return Broken(**{known.name: getattr(openai, known.name) for known in fields(openai)}, at=at)


@pytest.mark.parametrize("at", ["site", "submit", "rehearse"])
def test_whatever_a_provider_raises_is_answered_and_not_quoted(
    provider_server: ProviderServer, caplog: pytest.LogCaptureFixture, at: str
) -> None:
    options = {"providers": [broken(at)], "dry_run": at == "rehearse"}
    with caplog.at_level(logging.DEBUG, "batchling"), scope(provider_server, **options):
        answers = ask_all(provider_server, [SECRET, "b"], keys=[SECRET])

    assert [answer.status_code for answer in answers] == [424, 424]
    assert [answer.headers["x-should-retry"] for answer in answers] == ["false"] * 2
    assert "ValueError" in answers[0].text
    assert "test_broken_provider.py" in caplog.text
    assert SECRET not in caplog.text + answers[0].text
    assert provider_server.billed() == []


def test_a_window_that_cannot_be_cut_is_answered(provider_server: ProviderServer) -> None:
    with scope(provider_server, providers=[broken("weight")], batch_size=1):
        assert ask(provider_server, "x", path="embeddings", input="x").status_code == 424
        assert ask(provider_server, "x", path="embeddings", input="x").status_code == 200
    assert len(provider_server.billed()) == 1


@pytest.mark.thorough
@pytest.mark.parametrize("odd", [{"tools": "x"}, {"tools": [1], "tool_choice": "required"}, {"n": "many"}])
def test_a_body_without_sense_ends_a_dry_run_of_nobody(provider_server: ProviderServer, odd: dict[str, Any]) -> None:
    with scope(provider_server, dry_run=True):
        assert ask(provider_server, "x", **odd).status_code == 424
        assert ask(provider_server, "x").status_code == 200
    assert provider_server.calls() == []
