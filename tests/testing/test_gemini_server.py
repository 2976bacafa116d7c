"""What Gemini's API takes and answers at the embedded server, beside what batches need."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from batchling.providers.samples.gemini import lower_camel
from batchling.testing import ProviderServer

SCHEMA = {
    "type": "OBJECT",
    "properties": {"city_name": {"type": "STRING", "minLength": "3"}},
    "required": ["city_name"],
}
PLAIN = {"type": "object", "properties": {"city_name": {"type": "string"}}, "required": ["city_name"]}
TOOLS = [
    {
        "functionDeclarations": [
            {"name": "look_up", "parameters": SCHEMA},
            {"name": "give", "parametersJsonSchema": PLAIN},
        ]
    }
]
ASKED = {"role": "user", "parts": [{"text": "hi"}]}


def ask(server: ProviderServer, body: dict[str, Any], method: str = "generateContent") -> httpx.Response:
    url = f"{server.url}/gemini/v1beta/models/m:{method}"
    return httpx.post(url, json=body, headers={"x-goog-api-key": "k"})


def part(answer: httpx.Response) -> dict[str, Any]:
    return dict(answer.json()["candidates"][0]["content"]["parts"][0])


def forced(*allowed: str, turns: list[Any] | None = None) -> dict[str, Any]:
    config = {"functionCallingConfig": {"mode": "ANY", **({"allowedFunctionNames": allowed} if allowed else {})}}
    return {"contents": [ASKED, *(turns or [])], "tools": TOOLS, "toolConfig": config}


def called(name: str) -> list[Any]:
    """What a conversation has more when a function was called and has answered."""
    return [
        {"role": "model", "parts": [{"functionCall": {"name": name, "args": {"city_name": "x"}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": name, "response": {"the_result": 1}}}]},
    ]


@pytest.mark.thorough
def test_both_spellings_are_one_request(provider_server: ProviderServer) -> None:
    config = {"responseMimeType": "application/json", "responseSchema": SCHEMA, "candidateCount": 2}
    camel = {"contents": [ASKED], "systemInstruction": {"parts": [{"text": "short"}]}, "generationConfig": config}
    snake_config = {"response_mime_type": "application/json", "response_schema": SCHEMA, "candidate_count": 2}
    snake = {
        "contents": [ASKED],
        "system_instruction": {"parts": [{"text": "short"}]},
        "generation_config": snake_config,
    }
    answers = [ask(provider_server, body) for body in (camel, snake)]

    assert answers[0].json() == answers[1].json()
    assert len(answers[0].json()["candidates"]) == 2
    assert set(json.loads(part(answers[1])["text"])) == {"city_name"}


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["systemInstructions", "system_instructions", "SystemInstruction"])
def test_other_names_are_refused_in_either(provider_server: ProviderServer, name: str) -> None:
    answer = ask(provider_server, {"contents": [ASKED], name: {}})

    assert answer.status_code == 400
    assert "Unknown name" in answer.json()["error"]["message"]


def test_the_callers_own_names_keep_their_spelling() -> None:
    turns = called("look_up")
    assert lower_camel(turns) == turns
    assert lower_camel({"response_schema": SCHEMA}) == {"responseSchema": SCHEMA}
    assert lower_camel({"response_json_schema": {"$defs": {"a_b": {}}}}) == {
        "responseJsonSchema": {"$defs": {"a_b": {}}}
    }
    assert lower_camel({"labels": {"a_b": "c"}, "display_name": "x"}) == {"labels": {"a_b": "c"}, "displayName": "x"}


@pytest.mark.thorough
def test_a_function_is_called_where_one_must_be(provider_server: ProviderServer) -> None:
    assert "text" in part(ask(provider_server, {"contents": [ASKED], "tools": TOOLS}))
    assert part(ask(provider_server, forced()))["functionCall"]["name"] == "look_up"
    call = part(ask(provider_server, forced("give")))["functionCall"]
    assert call["name"] == "give"
    assert isinstance(call["args"]["city_name"], str)


def test_an_agent_comes_to_its_end(provider_server: ProviderServer) -> None:
    second = part(ask(provider_server, forced(turns=called("look_up"))))

    assert second["functionCall"]["name"] == "give"


@pytest.mark.parametrize(
    "turns", [called("a")[1:], [called("a")[0], {**called("a")[1], "parts": called("a")[1]["parts"] * 2}]]
)
def test_responses_without_their_calls_are_refused(provider_server: ProviderServer, turns: list[Any]) -> None:
    answer = ask(provider_server, {"contents": [ASKED, *turns]})

    assert answer.status_code == 400
    assert "equal to the number of function call parts" in answer.json()["error"]["message"]


@pytest.mark.thorough
def test_streams_are_events_or_an_array(provider_server: ProviderServer) -> None:
    body = {"contents": [ASKED]}
    whole = ask(provider_server, body).json()
    array = ask(provider_server, body, "streamGenerateContent")
    events = ask(provider_server, body, "streamGenerateContent?alt=sse")
    pieces = [json.loads(event.removeprefix("data: ")) for event in events.text.split("\r\n\r\n") if event]

    assert array.headers["content-type"].startswith("application/json")
    assert events.headers["content-type"].startswith("text/event-stream")
    assert array.json() == pieces
    texts = [piece["candidates"][0]["content"]["parts"][0]["text"] for piece in pieces]
    assert "".join(texts) == whole["candidates"][0]["content"]["parts"][0]["text"]
    assert "finishReason" not in pieces[0]["candidates"][0]
    assert pieces[-1]["usageMetadata"] == whole["usageMetadata"]
    assert [bill.endpoint for bill in provider_server.billed()] == [":generateContent", *[":streamGenerateContent"] * 2]
