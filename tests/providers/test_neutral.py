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
from batchling.providers import PROVIDERS
from batchling.providers.base import Provider
from batchling.providers.routes import Routes
from batchling.testing import ProviderServer
from tests.engine.calls import TLS
from tests.providers.calls import scope, texts
from tests.providers.provider_cases import PROVIDER_CASES, Body, ProviderCase

FIELDS = [
    (provider_case, name)
    for provider_case in PROVIDER_CASES
    for name in PROVIDERS[provider_case.name].facts.neutral.fields
]


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


def identity(provider: Provider, provider_case: ProviderCase, path: str, body: Body) -> str:
    """The fingerprint of a call at a gateway."""
    url = f"http://gateway/{provider_case.name}{path}"
    matched = Routes(
        {f"http://gateway/{provider_case.name}": provider_case.name}, {provider_case.name: provider}
    ).match("POST", url)
    assert matched is not None
    headers = tuple(provider_case.headers("sk-1").items())
    target = provider.target(matched[1], Request("POST", url, headers, json.dumps(body).encode()), body)
    assert isinstance(target, Target), target
    return fingerprint(target, body, provider.facts.neutral)


@pytest.mark.parametrize(("provider_case", "name"), FIELDS, ids=str)
def test_a_label_is_no_part_of_the_fingerprint(
    provider_server: ProviderServer, provider_case: ProviderCase, name: str
) -> None:
    provider = next(iter(provider_case.providers(provider_server)), PROVIDERS[provider_case.name])
    for path, make in provider_case.paths.items():
        body = make("text")
        if name in body:
            continue  # a conversation says `store` for another reason
        plain = identity(provider, provider_case, path, body)
        if (provider_case.name, path, name) != ("mistral", "/v1/conversations", "store"):
            assert identity(provider, provider_case, path, labelled(body, name, 1)) == plain, path
            assert identity(provider, provider_case, path, labelled(body, name, 2)) == plain, path
        for counts in ("seed", "temperature", "x_unknown"):
            if provider_case.name != "kimi" or counts != "temperature":
                assert identity(provider, provider_case, path, {**body, counts: 7}) != plain, (path, counts)


@pytest.mark.parametrize(
    "provider_case",
    [provider_case for provider_case in PROVIDER_CASES if PROVIDERS[provider_case.name].facts.neutral.fields],
    ids=str,
)
def test_a_second_run_with_other_labels_buys_nothing(
    provider_server: ProviderServer, provider_case: ProviderCase
) -> None:
    names = PROVIDERS[provider_case.name].facts.neutral.fields
    if provider_case.name == "vertex":
        names = ("labels",)  # what Claude's bodies may have, Gemini's may not
    rows: list[Body] = []
    provider_server.fail_rows(lambda body: rows.append(body) or False, 500, {})
    for run in (1, 2):
        bodies = [provider_case.body(text) for text in texts(provider_case)]
        for name in names:
            bodies = [labelled(body, name, run) for body in bodies]
        with scope(provider_server, provider_case, provider_case.texts):
            answers = asyncio.run(_post(provider_server, provider_case, bodies))
        assert [answer.status_code for answer in answers] == [200] * provider_case.texts, answers[0].text
        assert len(provider_server.billed(batch=True)) == provider_case.texts, run
    assert provider_server.billed(batch=False) == []
    assert len(rows) == provider_case.texts
    for name in names:
        outer, dot, inner = name.partition(".")
        assert {json.dumps(row[outer][inner] if dot else row[outer]) for row in rows} == {
            json.dumps(label(inner or outer, 1))
        }, name


async def _post(server: ProviderServer, provider_case: ProviderCase, bodies: list[Body]) -> list[httpx.Response]:
    url, headers = f"{server.url}/{provider_case.name}{provider_case.path}", provider_case.headers("sk-1")
    async with httpx.AsyncClient(verify=TLS, timeout=30) as client:
        return await asyncio.gather(*(client.post(url, json=body, headers=headers) for body in bodies))


def test_a_provider_of_others_has_no_such_list_unless_it_says_so() -> None:
    facts = replace(PROVIDERS["voyage"].facts)
    assert facts.neutral.fields == facts.neutral.ids == ()
