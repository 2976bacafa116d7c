"""Each provider's list of what cannot change an answer: it is in the rows, and two runs that differ in it buy once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from batchling.core.fingerprint import fingerprint
from batchling.core.model import Request, Target
from batchling.providers import PROVIDERS, Routes
from batchling.providers.base import Provider
from batchling.testing import ProviderServer
from tests.engine.calls import TLS
from tests.providers.calls import scope, texts
from tests.providers.kits import KITS, Body, Kit

FIELDS = [(kit, name) for kit in KITS for name in PROVIDERS[kit.name].facts.neutral.fields]


def label(name: str, run: int) -> Any:
    """A value of a label in one run."""
    values: dict[str, Any] = {
        "store": run == 1,
        "prompt_cache_retention": ["in_memory", "24h"][run - 1],
        "prompt_cache_options": {"ttl": ["30m", "12h"][run - 1]},
    }
    objects = ("metadata", "labels", "trace", "user_security_context")
    return values.get(name, {"run": f"{run}"} if name in objects else f"run-{run}")


def labelled(body: Body, name: str, run: int) -> Body:
    outer, dot, inner = name.partition(".")
    value = label(inner or outer, run)
    return {**body, outer: {**body.get(outer, {}), inner: value} if dot else value}


def identity(provider: Provider, kit: Kit, path: str, body: Body) -> str:
    """The fingerprint of a call at a gateway."""
    url = f"http://gateway/{kit.name}{path}"
    matched = Routes({f"http://gateway/{kit.name}": kit.name}, {kit.name: provider}).match("POST", url)
    assert matched is not None
    headers = tuple(kit.headers("sk-1").items())
    target = provider.target(matched[1], Request("POST", url, headers, json.dumps(body).encode()), body)
    assert isinstance(target, Target), target
    return fingerprint(target, body, provider.facts.neutral)


@pytest.mark.parametrize(("kit", "name"), FIELDS, ids=str)
def test_a_label_is_no_part_of_the_fingerprint(provider_server: ProviderServer, kit: Kit, name: str) -> None:
    provider = next(iter(kit.providers(provider_server)), PROVIDERS[kit.name])
    for path, make in kit.paths.items():
        body = make("text")
        if name in body:
            continue  # a conversation says `store` for another reason
        plain = identity(provider, kit, path, body)
        if (kit.name, path, name) != ("mistral", "/v1/conversations", "store"):
            assert identity(provider, kit, path, labelled(body, name, 1)) == plain, path
            assert identity(provider, kit, path, labelled(body, name, 2)) == plain, path
        for counts in ("seed", "temperature", "x_unknown"):
            if kit.name != "kimi" or counts != "temperature":
                assert identity(provider, kit, path, {**body, counts: 7}) != plain, (path, counts)


@pytest.mark.parametrize("kit", [kit for kit in KITS if PROVIDERS[kit.name].facts.neutral.fields], ids=str)
def test_a_second_run_with_other_labels_buys_nothing(provider_server: ProviderServer, kit: Kit) -> None:
    names = PROVIDERS[kit.name].facts.neutral.fields
    if kit.name == "vertex":
        names = ("labels",)  # what Claude's bodies may have, Gemini's may not
    rows: list[Body] = []
    provider_server.fail_rows(lambda body: rows.append(body) or False, 500, {})
    for run in (1, 2):
        bodies = [kit.body(text) for text in texts(kit)]
        for name in names:
            bodies = [labelled(body, name, run) for body in bodies]
        with scope(provider_server, kit, kit.texts):
            answers = asyncio.run(_post(provider_server, kit, bodies))
        assert [answer.status_code for answer in answers] == [200] * kit.texts, answers[0].text
        assert len(provider_server.billed(batch=True)) == kit.texts, run
    assert provider_server.billed(batch=False) == []
    assert len(rows) == kit.texts
    for name in names:
        outer, dot, inner = name.partition(".")
        assert {json.dumps(row[outer][inner] if dot else row[outer]) for row in rows} == {
            json.dumps(label(inner or outer, 1))
        }, name


async def _post(server: ProviderServer, kit: Kit, bodies: list[Body]) -> list[httpx.Response]:
    url, headers = f"{server.url}/{kit.name}{kit.path}", kit.headers("sk-1")
    async with httpx.AsyncClient(verify=TLS, timeout=30) as client:
        return await asyncio.gather(*(client.post(url, json=body, headers=headers) for body in bodies))


def test_a_provider_of_others_has_no_such_list_unless_it_says_so() -> None:
    facts = replace(PROVIDERS["voyage"].facts)
    assert facts.neutral.fields == facts.neutral.ids == ()
