"""Streams of the embedded server in real time, as the providers' own SDKs read them: events that they know, in the order
that their helpers demand, and the text of the whole answer."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any

import pytest

from batchling.testing import ProviderServer

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("provider_server_at_real_hosts"),
]

HI: Any = [{"role": "user", "content": "hi"}]
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL: Any = {"type": "function", "function": {"name": "look_up", "strict": True, "parameters": CITY}}
ROOTS = [
    "https://api.openai.com/v1",
    "https://api.x.ai/v1",
    "https://api.groq.com/openai/v1",
    "https://api.fireworks.ai/inference/v1",
    "https://openrouter.ai/api/v1",
    "https://api.sference.com/v1",
    "https://generativelanguage.googleapis.com/v1beta/openai",
]


def sdk(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        pytest.skip(f"{name} is not installed: tox -e sdk-providers")


@pytest.mark.parametrize("root", ROOTS)
def test_chat_completions(root: str) -> None:
    create = sdk("openai").OpenAI(api_key="sk-1", base_url=root).chat.completions.create
    chunks = list(create(model="m", messages=HI, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    whole = create(model="m", messages=HI)

    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert (chunks[-1].choices, chunks[-1].usage.prompt_tokens) == ([], whole.usage.prompt_tokens)
    assert text == whole.choices[0].message.content


def test_the_helper_of_chat_completions() -> None:
    client = sdk("openai").OpenAI(api_key="sk-1")
    with client.chat.completions.stream(model="m", messages=HI, tools=[TOOL], tool_choice="required") as stream:
        (call,) = stream.get_final_completion().choices[0].message.tool_calls

    assert set(call.function.parsed_arguments) == {"city"}


def test_completions() -> None:
    chunks = list(sdk("openai").OpenAI(api_key="sk-1").completions.create(model="m", prompt="hi", stream=True))

    assert chunks[0].choices[0].text
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("with_tool", [False, True])
def test_responses(with_tool: bool) -> None:
    client = sdk("openai").OpenAI(api_key="sk-1")
    tool = {"type": "function", **TOOL["function"]}
    options: dict[str, Any] = {"tools": [tool], "tool_choice": "required"} if with_tool else {}
    with client.responses.stream(model="m", input="hi", **options) as stream:
        events = list(stream)
        output = stream.get_final_response().output

    kinds = [event.type for event in events]
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    if with_tool:
        assert set(output[0].parsed_arguments) == {"city"}
    else:
        (delta,) = (event for event in events if event.type == "response.output_text.delta")
        assert output[0].content[0].text == delta.delta


@pytest.mark.parametrize("with_tool", [False, True])
@pytest.mark.parametrize("vertex", [False, True])
def test_claude(with_tool: bool, vertex: bool) -> None:
    anthropic = sdk("anthropic")
    if vertex:
        sdk("google.auth")
        client = anthropic.AnthropicVertex(project_id="p", region="us-central1", access_token="ya29.token")
    else:
        client = anthropic.Anthropic(api_key="sk-1")
    tools: dict[str, Any] = {"tools": [{"name": "look_up", "input_schema": CITY}], "tool_choice": {"type": "any"}}
    asked: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": HI, **(tools if with_tool else {})}
    with client.messages.stream(**asked) as stream:
        streamed = stream.get_final_message()

    whole = client.messages.create(**asked)
    assert streamed.stop_reason == whole.stop_reason
    for got, expected in zip(streamed.content, whole.content, strict=True):
        # The helper of older SDKs has a field more.
        assert got.model_dump(exclude={"parsed_output"}) == expected.model_dump(exclude={"parsed_output"})


def gemini(vertex: bool) -> Any:
    genai = sdk("google.genai")
    if not vertex:
        return genai.Client(api_key="k")
    token = sdk("google.oauth2.credentials").Credentials("ya29.token")
    return genai.Client(vertexai=True, project="p", location="us-central1", credentials=token)


@pytest.mark.parametrize("vertex", [False, True])
def test_gemini(vertex: bool) -> None:
    client = gemini(vertex)

    async def program() -> list[str]:
        return [piece.text async for piece in await client.aio.models.generate_content_stream(model="m", contents="hi")]

    pieces = [piece.text for piece in client.models.generate_content_stream(model="m", contents="hi")]
    whole = client.models.generate_content(model="m", contents="hi").text

    assert len(pieces) == 2
    assert "".join(pieces) == whole
    assert asyncio.run(program()) == pieces


def test_a_conversation_with_gemini_that_calls_functions() -> None:
    cities: list[str] = []

    def look_up(city_name: str) -> str:
        """What the weather is like."""
        cities.append(city_name)
        return "sunny"

    types = sdk("google.genai.types")
    must = types.ToolConfig(function_calling_config=types.FunctionCallingConfig(mode="ANY"))
    config = types.GenerateContentConfig(
        system_instruction="be brief",
        tools=[look_up],
        tool_config=must,
        automatic_function_calling=types.AutomaticFunctionCallingConfig(maximum_remote_calls=2),
    )
    client = gemini(vertex=False)
    answer = client.chats.create(model="m", config=config).send_message("hi")

    assert cities
    assert answer.function_calls[0].name == "look_up"


def test_mistral(provider_server: ProviderServer) -> None:
    client = sdk("mistralai.client").Mistral(api_key="sk-1")

    async def program() -> list[Any]:
        return [event.data async for event in await client.chat.stream_async(model="m", messages=HI)]

    pieces = [event.data for event in client.chat.stream(model="m", messages=HI)]
    called = [event.data for event in client.chat.stream(model="m", messages=HI, tools=[TOOL], tool_choice="required")]
    whole = client.chat.complete(model="m", messages=HI)

    assert pieces[0].choices[0].delta.content
    assert pieces[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert pieces[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    assert called[0].choices[0].delta.tool_calls[0].function.name == "look_up"
    assert asyncio.run(program()) == pieces
    assert len(provider_server.billed(batch=False)) == 4


def test_mistral_fills_in_the_middle_and_converses() -> None:
    client = sdk("mistralai.client").Mistral(api_key="sk-1")
    middle = [event.data for event in client.fim.stream(model="m", prompt="hi")]
    events = [event.data for event in client.beta.conversations.start_stream(model="m", inputs="hi")]

    assert middle[0].choices[0].delta.content
    kinds = ["conversation.response.started", "message.output.delta", "conversation.response.done"]
    assert [event.type for event in events] == kinds
    assert events[1].content
