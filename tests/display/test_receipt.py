from __future__ import annotations

from batchling.core import events
from batchling.core.cost import Cost
from batchling.core.model import Target
from batchling.display.money import usd
from batchling.display.receipt import Report
from tests.display.targets import CHAT, CLAUDE


def report(*happened: events.Event, seconds: float = 1.0) -> str:
    receipt = Report()
    for event in happened:
        receipt.add(event)
    return receipt.text(seconds)


def answered(target: Target = CHAT, ok: bool = True, cached: bool = False) -> events.Answered:
    return events.Answered(target, ok, cached)


def test_nothing_happened() -> None:
    assert report() == ""


def test_one_line_when_all_is_simple() -> None:
    submitted = events.Submitted(CHAT, "b", "j", 1)

    assert report(submitted, answered()) == "batchling: 1 call batched in 1 batch, 0 from cache, 0 went real time (1 s)"
    assert (
        report(submitted, submitted, *[answered()] * 1500, *[answered(cached=True)] * 3, seconds=3725)
        == "batchling: 1,500 calls batched in 2 batches, 3 from cache, 0 went real time (1 h 2 min)"
    )


def test_errors_and_withdrawals_are_told() -> None:
    text = report(answered(), answered(ok=False), events.Withdrawn(CHAT), events.Died("b7", "failed: empty_file"))

    assert "1 answered with an error, 1 withdrawn" in text
    assert "  batch b7: failed: empty_file" in text


def test_queues_make_a_table() -> None:
    text = report(events.Submitted(CHAT, "b", "j", 2), answered(), answered(), answered(CLAUDE, cached=True))

    assert text.split("\n")[1:] == [
        "  provider   endpoint              model             batched  batches  from cache  errors",
        "  anthropic  /v1/messages          claude-haiku-4-5        0        0           1       0",
        "  openai     /v1/chat/completions  gpt-5-mini              2        1           0       0",
    ]


def test_real_time_calls_make_a_table() -> None:
    text = report(
        *[events.Bypassed("api.openai.com", "/v1/responses", "streaming")] * 3,
        events.Bypassed("api.openai.com", "/v1/audio/speech", "endpoint without a batch form"),
    )

    first, head, *rows = text.split("\n")
    assert first == "batchling: 0 calls batched, 0 from cache, 4 went real time (1 s)"
    assert head.startswith("  real time")
    assert [row.split("  ")[1] for row in rows] == ["api.openai.com/v1/responses", "api.openai.com/v1/audio/speech"]
    assert [row.rsplit(maxsplit=1)[1] for row in rows] == ["3", "1"]
    assert len({len(line) for line in [head, *rows]}) == 1


def test_a_dry_run_says_that_nothing_was_sent() -> None:
    text = report(events.Rehearsed(CHAT, 40), events.Rehearsed(CHAT, 2), events.Hit(CHAT, "b"), *[answered()] * 43)

    first, head, row, heading, priced, method, bound, price = text.split("\n")
    assert first == (
        "batchling dry run: nothing was sent. 42 requests would be sent in 2 batches, 1 request would come from cache"
    )
    assert head.split() == ["provider", "endpoint", "model", "requests", "batches", "cache", "hits"]
    assert row.split() == ["openai", "/v1/chat/completions", "gpt-5-mini", "43", "2", "1"]
    assert heading.split() == ["model", "tokens", "in", "out,", "at", "most", "real", "time", "batch", "saved"]
    assert priced.split()[0] == "gpt-5-mini"
    assert bound == "  out: the requests' own maximum"
    assert max(map(len, [head, row, heading, priced, method])) <= 80
    assert "estimated (UTF-8 bytes of the request's text / 4)" in method
    assert price == "  unknown price for model gpt-5-mini"


def test_a_dry_run_tells_what_was_sent_all_the_same() -> None:
    text = report(
        events.Rehearsed(CHAT, 1), answered(), events.Bypassed("api.openai.com", "/v1/responses", "streaming")
    )

    assert text.startswith("batchling dry run: no batch was sent. 1 request would be sent in 1 batch")
    assert text.split("\n")[-1].split() == ["api.openai.com/v1/responses", "streaming", "1"]


def test_leaving_early() -> None:
    text = report(events.Detached(jobs=1, unsent=2))

    assert text.split("\n")[-1] == (
        "batchling: left early. 1 job keeps running at the provider: run the same program again to collect the answers; "
        "2 requests were never sent"
    )


def test_money_is_told_where_it_is_known() -> None:
    happened = [
        events.Submitted(CHAT, "b1", "j", 2),
        events.Submitted(CLAUDE, "b2", "j", 1),
        *[answered(), answered(), answered(CLAUDE)],
        events.Ended("b1", 2, 0, Cost(2, 0, 1_000_000, 200, 0, 3_000, 2.5, 1.25)),
        events.Ended("b2", 1, 0, Cost(1, 0, 5, 0, 0, 1, None, None)),
        events.Ended("b1", 2, 0, None),
    ]

    lines = report(*happened).split("\n")
    assert lines[1] == (
        "  1,000,005 tokens in (200 cached), 3,001 out; paid $1.25 instead of $2.50, saved $1.25 where the price is known; "
        "unknown price for model claude-haiku-4-5"
    )
    assert lines[2].split()[-6:] == ["tokens", "in", "out", "paid", "real", "time"]
    assert lines[3].split()[-4:] == ["5", "1", "unknown", "unknown"]
    assert lines[4].split()[-4:] == ["1,000,000", "3,000", "$1.25", "$2.50"]


def test_small_amounts_keep_two_digits() -> None:
    assert [usd(amount) for amount in (0, 1234.5, 0.5, 0.0123, 0.000045)] == [
        "$0.00",
        "$1,234.50",
        "$0.50",
        "$0.012",
        "$0.000045",
    ]
