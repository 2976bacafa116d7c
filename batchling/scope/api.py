"""`batchify`: every option, its meaning and its default. Checks and assembles; contains no policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Literal, Never

from batchling.cache import open_footprints, open_store
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
from batchling.engine import patience
from batchling.engine.batcher import Batcher
from batchling.engine.family import Family
from batchling.engine.options import Options, Ports
from batchling.environment import cloud_tokens, registry
from batchling.environment.gateways import known_gateways
from batchling.environment.program import program
from batchling.errors import OptionError
from batchling.hooks import install_hooks
from batchling.money.meter import Meter
from batchling.money.quote import quoting, total
from batchling.providers.base import Provider
from batchling.providers.routes import Routes
from batchling.scope import options
from batchling.scope.context import BatchingContext
from batchling.scope.listening import Call, Listeners


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
    max_waiting: int | None = None,
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
    - `max_waiting`: how many calls may wait for an answer at a time; a further call waits (its thread blocks, its task
      is suspended) until another one is answered, first come, first served. If all of them wait in windows, the windows
      are submitted at once. Calls that go real time never wait. None means no limit.
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
    listeners = Listeners(options.callables(on_event))

    def prepare(provider: Provider) -> None:
        if not dry_run and provider.renew is not None:
            cloud_tokens.load(provider.renew)
        shown.prepare()

    asked = Options(
        batch_size=options.number("batch_size", batch_size),
        window_seconds=options.seconds("batch_window_seconds", batch_window_seconds),
        dry_run=options.boolean("dry_run", dry_run),
        join_duplicates=duplicates == "join",
        patience=replace(
            patience.USUAL, poll=options.seconds("batch_poll_interval_seconds", batch_poll_interval_seconds)
        ),
        resubmissions=options.whole("max_resubmissions", max_resubmissions, 0),
        in_flight=options.number("max_batches_in_flight", max_batches_in_flight),
        per_hour=options.number("max_batches_per_hour", max_batches_per_hour),
        max_waiting=options.number("max_waiting", max_waiting),
    )
    if duplicates not in ("sample", "join"):
        raise OptionError("duplicates", f'must be "sample" or "join"; not {described(duplicates)}')
    known = registry.providers(providers)
    routes = Routes(known_gateways(gateways, known), known)
    if not isinstance(cache, bool) and cache != "no-results":
        raise OptionError("cache", f'must be True, False or "no-results"; not {described(cache)}')
    store = open_store(cache, look=asked.dry_run)
    if display not in CHOICES:
        raise OptionError("display", f'must be "auto", "live", "plain" or "off"; not {described(display)}')
    install_hooks()
    shown = Display(display)
    report = Report(partial(total, known))
    budget = None if budget_usd is None else Budget(options.dollars("budget_usd", budget_usd), quoting(known))
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

    def on_event_of_child(event: events.Event) -> None:
        hints.nothing_happened = False
        report.add(event)

    family = Family(budget, on_event_of_child)
    ports = Ports(listen, listeners.begin if listeners else None, prepare, Meter, open_footprints(cache, program()))
    batcher = Batcher(asked, routes, store, ports, family)
    return BatchingContext(batcher, report, shown, listeners, hints)


def _saves_nothing(known: Mapping[str, Provider], target: Target) -> bool:
    """Whether the provider is known to give no batch discount on a model."""
    return (provider := known.get(target.provider)) is not None and provider.limits.price_of(target.model) == 1.0
