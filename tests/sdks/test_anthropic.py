from __future__ import annotations

import asyncio
from typing import Any

import pytest

from batchling.testing import ProviderServer
from tests.engine.calls import together
from tests.sdks.scopes import scope

anthropic = pytest.importorskip("anthropic", reason="anthropic is not installed: tox -e sdk-newest")
pydantic = pytest.importorskip("pydantic")

HI: dict[str, Any] = {"model": "claude", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]}


class Label(pydantic.BaseModel):  # type: ignore[name-defined, misc]
    name: str
    score: int


def client(key: str = "sk-1") -> Any:
    return anthropic.Anthropic(api_key=key)


def test_claude_platform_on_aws_with_a_key(server: ProviderServer) -> None:
    by_key = anthropic.AnthropicAWS(api_key="sk-1", aws_region="us-west-2", workspace_id="w-1")
    with scope():
        assert by_key.messages.create(**HI).content[0].text
        assert by_key.with_options(workspace_id="w-2").messages.create(**HI).content[0].text
    assert len(server.creates()) == 2
    assert server.billed(batch=False) == []


def test_sync(server: ProviderServer) -> None:
    before = client()
    with scope():
        assert before.messages.create(**HI).content[0].text


def test_async(server: ProviderServer) -> None:
    async def program() -> list[Any]:
        async with anthropic.AsyncAnthropic(api_key="sk-1") as client:
            bodies = ({**HI, "messages": [{"role": "user", "content": str(n)}]} for n in range(20))
            return await asyncio.gather(*(client.messages.create(**body) for body in bodies))

    with scope(**together(20)):
        assert all(answer.content[0].text for answer in asyncio.run(program()))
    assert len(server.creates()) == 1


def test_with_raw_response(server: ProviderServer) -> None:
    with scope():
        raw = client().messages.with_raw_response.create(**HI)

    assert raw.status_code == 200
    assert raw.elapsed.total_seconds() > 0
    assert raw.parse().stop_reason == "end_turn"


def test_the_beta_namespace_keeps_its_flags(server: ProviderServer) -> None:
    with scope():
        plain = client().messages.create(**HI)
        beta = client().beta.messages.create(**HI, betas=["output-300k-2026-03-24"])

    assert plain.content[0].text == beta.content[0].text
    assert len(server.creates()) == 2


def test_structured_parse(server: ProviderServer) -> None:
    parse = getattr(client().messages, "parse", None) or client().beta.messages.parse
    with scope():
        parsed = parse(**HI, output_format=Label)

    assert isinstance(parsed.parsed_output, Label)


def test_tools(server: ProviderServer) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"name": "look_up", "input_schema": schema}
    with scope():
        answer = client().messages.create(**HI, tools=[tool], tool_choice={"type": "tool", "name": "look_up"})

    assert (answer.stop_reason, answer.content[0].name) == ("tool_use", "look_up")
    assert isinstance(answer.content[0].input["city"], str)


def test_failures_are_the_sdks_own_exceptions(server: ProviderServer) -> None:
    limited = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}, "request_id": None}
    server.fail_rows(lambda body: "limited" in str(body), 429, limited)
    with scope():
        client().messages.create(**HI)
        with pytest.raises(anthropic.AuthenticationError, match="invalid x-api-key"):
            client(key="sk-bad").messages.create(**HI)
        with pytest.raises(anthropic.BadRequestError, match="300000"):
            client().messages.create(**{**HI, "max_tokens": 10**6}, timeout=99999)
        with pytest.raises(anthropic.RateLimitError, match="slow down"):
            client().messages.create(**{**HI, "messages": [{"role": "user", "content": "limited"}]})


def test_a_dry_run_satisfies_the_sdk(provider_server_at_real_hosts: ProviderServer) -> None:
    with scope(dry_run=True):
        raw = client().messages.with_raw_response.create(**HI)

    assert raw.headers["x-batchling-dry-run"] == "1"
    assert raw.parse().content[0].text
    assert provider_server_at_real_hosts.calls() == []


def test_at_a_gateway(provider_server: ProviderServer) -> None:
    gateway = anthropic.Anthropic(api_key="sk-1", base_url=provider_server.anthropic_url)
    for _ in range(2):
        with scope(gateways=provider_server.gateways):
            assert gateway.messages.create(**HI).content[0].text

    assert len(provider_server.billed()) == len(provider_server.billed(batch=True)) == 1
