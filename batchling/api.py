"""`batchify`: every option, its meaning and its default. Checks and assembles; contains no policy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from numbers import Real
from typing import Literal, Never

from batchling import credentials, registry
from batchling.batcher import Batcher, Options
from batchling.batches import Terms
from batchling.cache import open_footprints, open_store
from batchling.context import BatchingContext
from batchling.core import events
from batchling.core.budget import Budget
from batchling.core.model import Target
from batchling.core.retry import POLL_SECONDS, RESUBMISSIONS
from batchling.core.text import described
from batchling.display.hints import Hints
from batchling.display.live import CHOICES, Choice, Display
from batchling.display.plain import advise, log
from batchling.display.receipt import Report
from batchling.display.standing import Standing
from batchling.errors import OptionError
from batchling.family import Family
from batchling.gateways import known_gateways
from batchling.hooks import install_hooks
from batchling.listening import Call, Listeners
from batchling.money.meter import Meter
from batchling.money.quote import quoting, total
from batchling.program import program
from batchling.providers import Routes
from batchling.providers.base import Provider


def batchify(
    *target: Never,
    batch_size: int | None = None,
    batch_window_seconds: float = 2.0,
    batch_poll_interval_seconds: float = POLL_SECONDS,
    dry_run: bool = False,
    cache: bool | Literal["no-results"] = True,
    gateways: Mapping[str, str] | None = None,
    providers: Iterable[Provider] | None = None,
    duplicates: Literal["sample", "join"] = "sample",
    max_resubmissions: int = RESUBMISSIONS,
    max_batches_in_flight: int | None = None,
    max_batches_per_hour: int | None = None,
    display: Choice = "auto",
    on_event: Call | Iterable[Call] | None = None,
    budget_usd: float | None = None,
) -> BatchingContext:
    """A scope inside which LLM API calls are sent through the providers' Batch APIs.

        with batchify():                # or: async with batchify():
            answers = run_my_code()

    Yields None; takes no positional arguments. Scopes may be opened in several threads at once and nested (the inner
    one wins).

    - `batch_size`: the number of requests at which a queue is submitted as a batch; there is one queue per `(provider,
      endpoint, model)`. None means the provider's own maximum.
    - `batch_window_seconds`: a queue is submitted this long after its first request, full or not.
    - `batch_poll_interval_seconds`: how often a job's status is requested (less often if the provider asks for that,
      and at Together and Azure, which ask for 30 and 60 seconds, unless this is below 10).
    - `dry_run`: send no batch, write nothing; every call gets a synthetic response marked `x-batchling-dry-run: 1`.
      Calls that no batch can carry (a stream, say) go real time as usual, and are reported.
    - `cache`: keep records and results on disk (`BATCHLING_CACHE_DIR`, else the platform's cache folder), so a second
      run or a second process attaches to the batch already paid for. "no-results" keeps answers off the disk: a later
      run downloads them again. False does not use the disk.
    - `gateways`: base URLs that speak a provider's API, and that provider: `{"http://localhost:4000": "openai"}`.
      The environment variable `BATCHLING_GATEWAYS` adds more: `http://localhost:4000=openai,https://...=anthropic`.
      If a gateway has no batch API, batchling notices at the first submission; its calls then go real time, and are
      reported.
    - `providers`: your own providers, or built-in ones with your settings: `[Vertex(gcs_prefix="gs://b/f")]`,
      `[Azure(deployments={"gpt-5": "gpt-5-batch"})]`. They replace the providers of the same name.
    - `duplicates`: "sample" sends every one of several identical requests (ten samples are ten requests); "join" sends
      them once.
    - `max_resubmissions`: how many times a request is resubmitted when its batch ended without running it (expired,
      cancelled, overloaded), before the caller gets the failure.
    - `max_batches_in_flight`, `max_batches_per_hour`: how many batches this scope may have under way at a time, and may
      create in an hour, per account; further ones wait. None means the provider's own limits, where they are known.
    - `display`: what stderr shows while the scope is open; nothing is written to stdout. "live" draws a table on a
      terminal, below the program's own output, and in a Jupyter notebook; "plain" prints a few lines, if the program
      has not configured logging; "off" shows nothing. "auto" is live, but plain where stderr is not a terminal,
      `TERM=dumb` or `CI` is set, or stdout is a pipe. The report at the end is printed in any case.
    - `on_event`: a callable, or several, called with everything that happens, as objects of `batchling.events`; on its
      own thread, so it can neither slow down nor break a batch. `batchling.telemetry.OpenTelemetry()` is one.
    - `budget_usd`: US dollars that this scope may spend on batches. The most that a request can cost is reserved before
      it is submitted (input estimated, output by its own maximum, at the batch price) and corrected once the batch's
      true cost is known. A request that would exceed the budget is not sent: its caller gets 402, and the others
      continue. A request also gets 402 if its price is unknown, if it sets no maximum of output tokens, or if it
      contains media: it cannot be held to a budget. Answers from the cache cost nothing. Calls that go real time are
      reported, but not held to the budget; a dry run spends nothing. None: no limit.

    `.receipt` of the returned context says what was answered and what it cost, during the scope and after it.

    If the cache cannot be written (full disk, missing permissions), a warning says so and the run continues without it.

    Raises `OptionError` for an invalid value, naming the argument; `CacheError` when the cache folder is a file;
    `TypeError` when it is called with a function.
    """
    if target:
        raise TypeError(
            "batchify() takes no function: it is a scope. Write\n"
            "    with batchify():\n"
            "        answers = my_function()\n"
            "or, from a shell: batchling my_script.py:my_function"
        )
    listeners = Listeners(_callables(on_event))

    def prepare(provider: Provider) -> None:
        if not dry_run and provider.renew is not None:
            credentials.load(provider.renew)
        shown.prepare()

    options = Options(
        batch_size=_number("batch_size", batch_size),
        window_seconds=_seconds("batch_window_seconds", batch_window_seconds),
        dry_run=_boolean("dry_run", dry_run),
        join_duplicates=duplicates == "join",
        terms=Terms(
            _seconds("batch_poll_interval_seconds", batch_poll_interval_seconds),
            _whole("max_resubmissions", max_resubmissions, 0),
            _number("max_batches_in_flight", max_batches_in_flight),
            _number("max_batches_per_hour", max_batches_per_hour),
        ),
        observe=listeners.begin if listeners else None,
        prepare=prepare,
    )
    if duplicates not in ("sample", "join"):
        raise OptionError("duplicates", f'must be "sample" or "join"; not {described(duplicates)}')
    known = registry.providers(providers)
    routes = Routes(known_gateways(gateways, known), known)
    if not isinstance(cache, bool) and cache != "no-results":
        raise OptionError("cache", f'must be True, False or "no-results"; not {described(cache)}')
    store = open_store(cache, look=options.dry_run)
    if display not in CHOICES:
        raise OptionError("display", f'must be "auto", "live", "plain" or "off"; not {described(display)}')
    install_hooks()
    shown = Display(display)
    report = Report(partial(total, known))
    budget = None if budget_usd is None else Budget(_dollars("budget_usd", budget_usd), quoting(known))
    hints = Hints(partial(_saves_nothing, known))
    standing = Standing(kept=cache is not False)

    def listen(event: events.Event) -> None:
        report.add(event)
        standing.add(event)
        log(event)
        shown.add(event)
        advise(hints, event)
        if not isinstance(event, events.Settled):  # may come after the scope was left, and adds nothing new
            listeners.tell(event)

    def hear_of_child(event: events.Event) -> None:
        hints.nothing_happened = False
        report.add(event)

    family = Family(budget, hear_of_child)
    batcher = Batcher(options, routes, store, listen, Meter, family, open_footprints(cache, program()))
    return BatchingContext(batcher, report, shown, listeners, hints)


def _saves_nothing(known: Mapping[str, Provider], target: Target) -> bool:
    """Whether the provider is known to give no batch discount on a model."""
    return (provider := known.get(target.provider)) is not None and provider.limits.price_of(target.model) == 1.0


def _callables(value: object) -> list[Call]:
    if value is None:
        return []
    found = [value] if callable(value) else list(value) if isinstance(value, Iterable) else []
    if not found or not all(callable(call) for call in found):
        wanted = "must be a callable that takes one event, or several such callables"
        raise OptionError("on_event", f"{wanted}; not {described(value)}")
    return found


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or value <= 0:
        raise OptionError(name, f"must be a positive number of seconds; not {described(value)}")
    return float(value)


def _dollars(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or value < 0:
        raise OptionError(name, f"must be a number of US dollars, 0 or more, or None; not {described(value)}")
    return float(value)


def _number(name: str, value: object) -> int | None:
    return None if value is None else _whole(name, value, 1, ", or None")


def _whole(name: str, value: object, least: int, otherwise: str = "") -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise OptionError(name, f"must be a whole number of at least {least}{otherwise}; not {described(value)}")
    return value


def _boolean(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise OptionError(name, f"must be True or False; not {described(value)}")
    return value
