"""`batchling demo`: a complete run against the embedded provider server, without a key and without a network."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections import Counter
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from batchling.cli import demo_program
from batchling.core.text import described
from batchling.display.text import usd
from batchling.errors import ScriptError
from batchling.providers.openai import OPENAI
from batchling.scope.api import batchify
from batchling.testing.ledger import Bill
from batchling.testing.server import ProviderServer

# The list price of gpt-5-mini in dollars per million tokens, as of 2026; the batch price is the provider's factor.
_DOLLARS_IN = 0.25
_DOLLARS_OUT = 2.00
_MOST_ROWS = 1000


@dataclass(frozen=True, slots=True)
class _Run:
    """One run of the program, and what the server saw of it."""

    labels: list[str]
    seconds: float
    creates: int
    bills: list[Bill]


def demo(words: list[str]) -> int:
    """Run the demo; `words` may hold `--rows N`. Returns 0, or 1 when the demo did not do what it claims."""
    rows = _rows(words)
    console = Console(highlight=False)
    console.print(
        f"A program classifies [bold]{rows} support tickets[/bold]: "
        "half with async httpx, half with requests in threads.\n"
        "It talks to a provider server on this machine (no key, no network, no cost).\n"
        "Nothing in it knows about batching; it runs inside [bold]with batchify():[/bold]\n"
    )
    with tempfile.TemporaryDirectory() as folder, ProviderServer() as server:
        earlier = os.environ.get("BATCHLING_CACHE_DIR")
        os.environ["BATCHLING_CACHE_DIR"] = os.path.join(folder, "cache")
        try:
            console.rule("[bold]first run")
            first = _run(server, rows)
            console.rule("[bold]second run of the same program")
            second = _run(server, rows)
        finally:
            if earlier is None:
                del os.environ["BATCHLING_CACHE_DIR"]
            else:
                os.environ["BATCHLING_CACHE_DIR"] = earlier
    console.print()
    console.print(_runs_table(first, second))
    console.print(_labels_table(first))
    console.print(_money_table(first, second))
    same = first.labels == second.labels
    console.print(
        "Both runs printed the same answers; the second was free."
        if same
        else "[bold red]The two runs differ: this is a bug, please report it."
    )
    console.print(
        "Next: put [bold]with batchify():[/bold] around your own program, or see [bold]batchling --help[/bold]."
    )
    return 0 if same and not second.bills else 1


def _rows(words: list[str]) -> int:
    text = "300"
    match words:
        case []:
            pass
        case ["--rows", value]:
            text = value
        case [word] if word.startswith("--rows="):
            text = word.removeprefix("--rows=")
        case _:
            raise ScriptError("usage: batchling demo [--rows N]")
    if not text.isdecimal() or not 2 <= int(text) <= _MOST_ROWS:
        raise ScriptError(f"--rows needs a whole number from 2 to {_MOST_ROWS}; not {described(text)}")
    return int(text)


def _run(server: ProviderServer, rows: int) -> _Run:
    creates, bills = len(server.creates()), len(server.billed())
    started = time.monotonic()
    with batchify(gateways=server.gateways, batch_window_seconds=1.0, batch_poll_interval_seconds=0.2):
        labels = asyncio.run(demo_program.main(server.openai_url, "demo-key", rows))
    seconds = time.monotonic() - started
    return _Run(labels, seconds, len(server.creates()) - creates, server.billed()[bills:])


def _runs_table(first: _Run, second: _Run) -> Table:
    table = _table("What the provider saw", "", "first run", "second run")
    batch = [sum(bill.job is not None for bill in run.bills) for run in (first, second)]
    real = [sum(bill.job is None for bill in run.bills) for run in (first, second)]
    table.add_row("answers", str(len(first.labels)), str(len(second.labels)))
    table.add_row("batches created", str(first.creates), str(second.creates))
    table.add_row("requests billed at batch price", *map(str, batch))
    table.add_row("requests billed at full price", *map(str, real))
    table.add_row("seconds", f"{first.seconds:.1f}", f"{second.seconds:.1f}")
    return table


def _labels_table(run: _Run) -> Table:
    table = _table("Some answers (made up by the server)", "ticket", "answer")
    for text, answer in list(zip(demo_program.tickets(len(run.labels)), run.labels, strict=True))[:3]:
        table.add_row(escape(text), escape(answer))
    counts = Counter(run.labels).most_common(1)[0]
    table.add_row("most frequent", f"{escape(counts[0])} ({counts[1]} times)")
    return table


def _money_table(first: _Run, second: _Run) -> Table:
    table = _table("What it would have cost with gpt-5-mini", "", "tokens in", "tokens out", "dollars")
    price = OPENAI.limits.price or 1.0
    prices = f"list price {usd(_DOLLARS_IN)} in, {usd(_DOLLARS_OUT)} out per million tokens"
    table.caption = f"{prices}; batches {price:.0%} of that"
    sums = [
        (sum(b.input_tokens for b in run.bills), sum(b.output_tokens for b in run.bills)) for run in (first, second)
    ]
    full = [(tokens[0] * _DOLLARS_IN + tokens[1] * _DOLLARS_OUT) / 1e6 for tokens in sums]
    for name, tokens, dollars in (
        ("real time", sums[0], full[0]),
        ("with batchling", sums[0], full[0] * price),
        ("the second run", sums[1], full[1] * price),
    ):
        table.add_row(name, f"{tokens[0]:,}", f"{tokens[1]:,}", usd(dollars))
    return table


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", caption_justify="left")
    table.add_column(first)
    for other in others:
        table.add_column(other, justify="left" if other == "answer" else "right")
    return table
