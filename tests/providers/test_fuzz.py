"""Whatever a provider sends, a parser gives an answer or one of the named errors: never another exception, never a hang."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchling.core.model import Fault, Flow, Item, Job, Request, Response, Site, State, Status, Target
from batchling.core.retry import pause, retry_after
from batchling.engine.results import sort_rows
from batchling.providers import PROVIDERS
from batchling.providers.base import Garbled, Provider, Refused, Unsettled, Verdict
from batchling.providers.files import FileDialect
from batchling.providers.reading import read_fault

NAMES = (
    "id status output_file_id error_file_id errors data code message line param request_counts completed failed total "
    "expires_at created_at metadata batchling has_more custom_id response status_code request_id body error job file "
    "processing_status succeeded errored result type details error_code detail paging next_cursor items results "
    "result_json error_json request_count filename input_file_id files displayName operations batchStats state done "
    "requestCount successfulRequestCount inlinedResponses responsesFile output key name labels batchPredictionJobs "
    "requests metadata part of embedding content "
    "completionStats outputInfo gcsOutputDirectory num_requests num_pending num_success cancel_by_xai_message batch_id "
    "batch_request_id batch_result chat_get_completion pagination_token jobProgress filenameToSignedUrls accounts outputs "
    "total_requests completed_requests output_file error_file"
).split()
WORDS = (
    "completed failed expired cancelled in_progress ended succeeded errored canceled expired k-0 tag b1 error".split()
)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(WORDS)
    | st.sampled_from(["2026-08-10T00:00:00.123456789Z", "9999-99-99", "0001-01-01T00:00:00+23:59"])
)


def values() -> st.SearchStrategy[Any]:
    """JSON that looks like the providers', with everything in the wrong place."""
    names = st.sampled_from(NAMES) | st.text(max_size=5)
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=8), max_leaves=25
    )


def bodies() -> st.SearchStrategy[bytes]:
    texts = values().map(lambda value: json.dumps(value).encode())
    cut = st.tuples(texts, st.integers(0, 60)).map(lambda pair: pair[0][: -pair[1] or None])
    strange = st.sampled_from([b"", b"null", b"[]", b"{}", b"<html>", b"\xff\xfe", b"[" * 2_000, b'{"a":' * 2_000])
    return texts | cut | st.binary(max_size=60) | strange


def replies() -> st.SearchStrategy[Response]:
    statuses = st.sampled_from([200, 200, 200, 200, 201, 204, 302, 400, 401, 404, 409, 429, 500])
    headers = st.sampled_from([(), (("retry-after", "²"),), (("retry-after", "10"),), (("retry-after", "nan"),)])
    return st.builds(Response, statuses, headers, bodies())


def play(flow: Flow[Any], answers: list[Response]) -> Any:
    """What the flow returns, fed with these answers over and over."""
    calls = 0
    try:
        next(flow)
        while True:
            calls += 1
            assert calls < 2_500, "the flow does not come to an end"
            flow.send(answers[calls % len(answers)])
    except StopIteration as end:
        return end.value


def site(provider: Provider) -> Site:
    endpoint = {"voyage": "/v1/embeddings", "gemini": ":generateContent", "vertex": ":generateContent"}.get(
        provider.name, "/v1/chat/completions"
    )
    return Site(Target(provider.name, "https://host/v1", endpoint, "m", "a"), (("authorization", "Bearer k"),))


VALUES = frozenset({"openai", "groq", "together", "cerebras"})
"""Of the values of one class those that go every way through its code."""

FUZZED = [name for name, provider in PROVIDERS.items() if name in VALUES or type(provider) is not FileDialect]


FLOWS: dict[str, Callable[[Provider, Site], Flow[Any]]] = {
    "submit": lambda p, at: p.submit(at, [Item("k-0", Request("POST", "https://host/v1/x", (), b"{}"))], "tag"),
    "poll": lambda p, at: p.poll(at, Job("b1")),
    "fetch": lambda p, at: p.fetch(at, Job("b1"), Status(State.ENDED, "done", outputs=("f1", "f2"))),
    "find": lambda p, at: p.find(at, "tag", ["k-0"], 0.0, frozenset({"taken"})),
    "cancel": lambda p, at: p.cancel(at, Job("b1")),
}
KINDS = {"submit": Job, "poll": Status, "fetch": type(None), "find": (Job, type(None)), "cancel": type(None)}


@pytest.mark.thorough
@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("provider", FUZZED)
def test_flows(provider: str, name: str) -> None:
    @settings(max_examples=40, deadline=None)
    @given(st.lists(replies(), min_size=1, max_size=4))
    def fuzz(answers: list[Response]) -> None:
        try:
            value = play(FLOWS[name](PROVIDERS[provider], site(PROVIDERS[provider])), answers)
        except (Refused, Garbled, Unsettled) as named:
            assert str(named)
        else:
            assert isinstance(value, KINDS[name])  # type: ignore[arg-type]

    fuzz()


@pytest.mark.thorough
@pytest.mark.parametrize("provider", FUZZED)
def test_rows_of_a_file(provider: str) -> None:
    @settings(max_examples=60, deadline=None)
    @given(st.lists(bodies(), max_size=6))
    def fuzz(lines: list[bytes]) -> None:
        parser = PROVIDERS[provider]
        members = frozenset({"k-0", "tag"})
        found = sort_rows(parser, lines, members, members)
        assert found.good <= members
        assert found.rows.keys() <= members
        for line in lines:
            try:
                row = parser.row(line)
            except ValueError:
                continue
            assert row.response is None or 100 <= row.response.status <= 599

    fuzz()


@pytest.mark.thorough
@pytest.mark.parametrize("provider", FUZZED)
def test_error_bodies(provider: str) -> None:
    @settings(max_examples=60, deadline=None)
    @given(replies())
    def fuzz(reply: Response) -> None:
        fault = read_fault(reply)
        assert fault.message
        verdict = PROVIDERS[provider].judge(reply.status, fault)
        assert isinstance(verdict, Verdict)
        shown = PROVIDERS[provider].failure(reply.status, fault)
        assert json.loads(shown.body)
        asked = retry_after(reply, 0.0)
        assert 0 <= pause(1, 1.0, 0.5, asked) <= 3_600

    fuzz()


@given(st.text(max_size=40), st.floats(0, 2e9))
def test_retry_after_headers(value: str, now: float) -> None:
    asked = retry_after(Response(429, (("retry-after", value),)), now)
    assert asked is None or asked >= 0


def test_a_full_queue_is_told_from_an_empty_purse() -> None:
    openai, claude = PROVIDERS["openai"], PROVIDERS["anthropic"]
    assert openai.judge(400, Fault("", "token_limit_exceeded")) is Verdict.FULL
    assert openai.judge(429, Fault("", "insufficient_quota")) is Verdict.NO
    assert openai.judge(429, Fault("", "rate_limit_exceeded")) is Verdict.LATER
    assert claude.judge(413, Fault("", "request_too_large")) is Verdict.LARGE
    assert claude.judge(429, Fault("", "enforced_spend_limit_reached")) is Verdict.NO
    assert claude.judge(529, Fault("", "overloaded_error")) is Verdict.LATER
