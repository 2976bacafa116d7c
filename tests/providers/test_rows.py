"""Rows that come inside a document, that only a lenient reader takes, and that say 200 without an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchling.core.lenient import NOT_JSON, fields, is_document, lines_of
from batchling.engine.results import sort_rows
from batchling.providers import PROVIDERS
from batchling.providers.rows import read_row, rows_within, status_of


def test_rows_are_found_where_they_are_and_are_lines() -> None:
    body = b'{"first": {"rows": null}, "second": {"rows": [{"a":\r\n 1}, {"b": "\xe2\x80\xa8"}]}}'
    assert rows_within(body, "first.rows", "second.rows") == [b'{"a":   1}', b'{"b": "\xe2\x80\xa8"}']


@pytest.mark.parametrize("body", [b"{}", b'{"rows": null}', b'{"rows": {}}', b'{"rows": {"x": 1}}'])
def test_a_place_without_rows_is_none(body: bytes) -> None:
    assert rows_within(body, "rows.rows") is None


@pytest.mark.parametrize("body", [b"", b"[1]", b'{"rows": 5}', b'{"rows": [', b'{"rows": "\xff"}'])
def test_anything_else_is_one_named_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=NOT_JSON):
        rows_within(body, "rows")


def test_rows_that_only_a_lenient_reader_takes_are_found() -> None:
    rows = [b'{"a": NaN}', b'{"b": "\xff"}', b'{"c": "\\ud83d"}']
    assert rows_within(b'\xef\xbb\xbf{"x": Infinity, "rows": [%s]}' % b", ".join(rows), "rows") == rows


names = st.sampled_from(["id", "object", "error", "type", "messages", "usage", "x"])
bodies = st.dictionaries(names, st.none() | st.text(max_size=3) | st.just({"message": "m"}), max_size=3)
replies = st.fixed_dictionaries(
    {"status_code": st.sampled_from([200, 200.0, "200", 400, None]), "body": st.just({"id": 1}) | bodies | st.none()},
    optional={"request_id": st.none() | st.text(max_size=3) | st.integers(), "message": st.text(max_size=3)},
)
result_lines = st.fixed_dictionaries(
    {"custom_id": st.sampled_from(["k", "", "\ud800", None]), "response": replies},
    optional={
        "error": st.none() | st.just({}) | st.just({"code": "batch_expired"}),
        "status": st.none() | st.sampled_from(["expired", "ok"]),
        "id": st.integers(),
    },
)


@given(result_lines, st.sampled_from([(",", ":"), (", ", ": ")]), st.booleans())
def test_a_success_that_is_read_in_one_go_is_read_as_field_by_field(
    line: dict[str, Any], spaces: tuple[str, str], escaped: bool
) -> None:
    raw = json.dumps(line, separators=spaces, ensure_ascii=escaped).encode(errors="surrogatepass")
    # A field that nobody reads, in a form that only the lenient reader takes.
    slow = b'{"\\ud800":NaN,' + raw.lstrip(b"{")
    try:
        row = read_row(raw)
    except ValueError as fault:
        with pytest.raises(ValueError, match=str(fault)):
            read_row(slow)
    else:
        assert read_row(slow) == row


@pytest.mark.thorough
@given(st.lists(st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=3)))
def test_a_whole_document_is_its_rows(objects: list[dict[str, Any]]) -> None:
    array = json.dumps(objects).encode()
    documents = [
        array,
        json.dumps(objects, indent=2, ensure_ascii=False).encode(),
        b'{"object": "list", "has_more": false, "data": %s}' % array,
        b'{\n  "x": {"y": [1]},\r\n  "results": %s}' % array,
        b"\xef\xbb\xbf\n" + array,
        "\n".join(json.dumps(each, indent=1) for each in [{"custom_id": "k"}, *objects]).encode(),
    ]
    for document in documents[:-1]:
        assert is_document(document)
        assert [json.loads(line) for line in lines_of(document)] == objects
    assert [json.loads(line) for line in lines_of(documents[-1])] == [{"custom_id": "k"}, *objects]
    assert is_document(documents[-1])


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"\n",
        b'{"custom_id": "k", "response": {"data": [1]}}\n',
        b'{"id": "x", "response": {"body": {"data": [1]}}}',
        b'{"embedding": [1]}',
        b"<html>",
    ],
)
def test_lines_are_no_document(file: bytes) -> None:
    assert not is_document(file)


ANSWER = b'{"id":"c","choices":[],"x":%s}'


@pytest.mark.parametrize(
    "odd",
    [b"NaN", b"-Infinity", b"Infinity", b'"\\ud83d"', b'"a\x01b"', b'"\xff"', b"1" * 5_000],
    ids=["nan", "-inf", "inf", "surrogate", "control", "utf8", "digits"],
)
@pytest.mark.parametrize(
    ("provider", "row"),
    [
        ("openai", b'{"custom_id":"k","response":{"status_code":200,"body":%s}}'),
        ("mistral", b'{"custom_id":"k","response":{"status_code":200,"body":%s}}'),
        ("voyage", b'{"custom_id":"k","response":{"status_code":200,"body":%s}}'),
        ("fireworks", b'{"custom_id":"k","response":%s}'),
        ("sference", b'{"custom_id":"k","result_json":%s}'),
        ("anthropic", b'{"custom_id":"k","result":{"type":"succeeded","message":%s}}'),
        ("gemini", b'{"key":"k","response":%s}'),
        ("gemini", b'{"metadata":{"key":"k"},"response":%s}'),
        ("vertex", b'{"custom_id":"rk","status":"","response":%s}'),
        ("xai", b'{"batch_request_id":"k","batch_result":{"response":{"chat_get_completion":%s}}}'),
    ],
)
def test_an_answer_that_only_a_lenient_reader_takes_keeps_its_bytes(provider: str, row: bytes, odd: bytes) -> None:
    body = ANSWER % odd
    for mark in (b"", b"\xef\xbb\xbf"):
        read = PROVIDERS[provider].row(mark + row % body)
        assert read.key == "k"
        assert read.response is not None
        assert (read.response.status, read.response.body) == (200, body)


@pytest.mark.parametrize("status", [b'"200"', b"200.0"])
def test_a_status_in_another_type_is_read(status: bytes) -> None:
    line = b'{"custom_id":"k","response":{"status_code":%s,"request_id":7,"body":{"id":"c"}}}' % status
    response = read_row(line).response
    assert response is not None
    assert (response.status, dict(response.headers)["x-request-id"]) == (200, "7")


loose = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.thorough
@given(st.dictionaries(st.text(max_size=4), loose, max_size=4), st.booleans())
def test_a_line_that_json_reads_yields_its_key_and_its_bytes(extra: dict[str, Any], escaped: bool) -> None:
    said = {**extra, "custom_id": "k", "response": {"status_code": 200, "body": {"id": "c", "x": extra}}}
    line = json.dumps(said, ensure_ascii=escaped).encode(errors="surrogatepass")
    read = read_row(line)
    assert read.key == "k"
    assert read.response is not None
    assert read.response.body == fields(fields(line)["response"])["body"]


@pytest.mark.parametrize("body", [b"null", b'""', b"{}", b"[]"])
def test_200_with_nothing_never_ran(body: bytes) -> None:
    assert read_row(b'{"custom_id":"k","response":{"status_code":200,"body":%s}}' % body).response is None
    assert (
        PROVIDERS["anthropic"].row(b'{"custom_id":"k","result":{"type":"succeeded","message":%s}}' % body).response
        is None
    )


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"error":{"message":"upstream timed out","code":504}}', 504),
        (b'{"error":{"message":"slow down","type":"rate_limit_error"}}', 429),
        (b'{"error":"Error code: 401 - {}"}', 401),
        (b'{"model":"m","messages":[{"role":"user","content":"a"}]}', 502),
        (b'{"model":"m","input":"a"}', 502),
    ],
)
def test_200_with_an_error_or_the_request_failed(body: bytes, status: int) -> None:
    response = read_row(b'{"custom_id":"k","response":{"status_code":200,"body":%s}}' % body).response
    assert response is not None
    assert response.status == status


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("invalid_request", 400),
        ("invalid_image", 400),
        ("image_too_large", 400),
        ("authentication", 401),
        ("payment_required", 402),
        ("refusal", 403),
        ("not_found", 404),
        ("timeout", 408),
        ("precondition_failed", 412),
        ("payload_too_large", 413),
        ("unprocessable", 422),
        ("rate_limit_exceeded", 429),
        ("server", 500),
        ("provider_overloaded", 503),
        ("RESOURCE_EXHAUSTED", 429),
    ],
)
def test_a_row_that_failed_with_a_word_has_its_status(word: str, status: int) -> None:
    assert status_of(word, "no") == status
    line = json.dumps({"custom_id": "k", "response": None, "error": {"message": "no", "error_type": word}})
    response = PROVIDERS["openrouter"].row(line.encode()).response
    # A time-out's word says that the row can be asked again.
    assert (response.status if response is not None else 408) == status


def test_of_several_words_the_one_that_has_a_meaning_counts() -> None:
    for error in (
        {"code": "xyz", "type": "rate_limit_error", "message": "m"},
        {"code": 7, "error_type": "odd", "status": "RESOURCE_EXHAUSTED", "message": "m"},
        {"code": "429", "type": "not_found", "message": "m"},
    ):
        response = read_row(json.dumps({"custom_id": "k", "error": error}).encode()).response
        assert response is not None
        assert response.status == 429
    late = {"code": "xyz", "type": "batch_expired", "message": "m"}
    assert read_row(json.dumps({"custom_id": "k", "error": late}).encode()).response is None


@pytest.mark.parametrize("code", ['"INVALID_ARGUMENT"', "3", '"3"', '"400"'])
def test_gemini_says_its_codes_as_words_too(code: str) -> None:
    response = PROVIDERS["gemini"].row(b'{"key":"k","error":{"code":%s,"message":"no"}}' % code.encode()).response
    assert response is not None
    assert response.status == 400


@pytest.mark.parametrize(
    "error",
    [
        b'{"type":"invalid_request_error","message":"no"}',
        b'{"type":"error","error":{"type":"invalid_request_error","message":"no"},"request_id":7}',
        b'"invalid value"',
    ],
)
def test_claudes_errors_are_read_however_they_are_nested(error: bytes) -> None:
    response = PROVIDERS["anthropic"].row(b'{"custom_id":"k","result":{"type":"errored","error":%s}}' % error).response
    assert response is not None
    assert response.status == 400
    assert json.loads(response.body)["error"]["message"]


def test_a_result_of_null_never_ran() -> None:
    assert PROVIDERS["anthropic"].row(b'{"custom_id":"k","result":null}').response is None


def test_lines_of_others_are_counted_and_their_format_named() -> None:
    lines = [b'{"recordId":"k","modelInput":{},"modelOutput":{}}', b'{"custom_id":"z"}', b"[1]", b"<html>"]
    found = sort_rows(PROVIDERS["openai"], lines, frozenset({"k"}), frozenset({"k"}))
    assert (found.lines, found.others, found.unreadable) == (0, 2, 2)
    assert found.foreign == "Amazon Bedrock's own batch lines"
