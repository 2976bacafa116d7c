"""`batchify`: every option, its meaning and its default. Checks and assembles; holds no policy."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from numbers import Real
from typing import Literal, Never
from urllib.parse import urlsplit

from batchling.batcher import Batcher, Options
from batchling.cache import open_store
from batchling.context import BatchingContext
from batchling.core import events
from batchling.display.plain import log
from batchling.display.receipt import Receipt
from batchling.errors import OptionError
from batchling.hooks import install_hooks
from batchling.providers import PROVIDERS, Routes

GATEWAYS_VARIABLE = "BATCHLING_GATEWAYS"


def batchify(
    *target: Never,
    batch_size: int | None = None,
    batch_window_seconds: float = 2.0,
    batch_poll_interval_seconds: float = 10.0,
    dry_run: bool = False,
    cache: bool = True,
    gateways: Mapping[str, str] | None = None,
    duplicates: Literal["sample", "join"] = "sample",
) -> BatchingContext:
    """A scope inside which LLM API calls are sent through the providers' Batch APIs.

        with batchify():                # or: async with batchify():
            answers = run_my_code()

    Yields None; takes no target. Scopes may be opened in several threads at once and nested (the inner one wins).

    - `batch_size`: requests after which a queue leaves as a batch, per `(provider, endpoint, model)`; None means
      the provider's own maximum.
    - `batch_window_seconds`: a queue leaves this long after its first request, full or not.
    - `batch_poll_interval_seconds`: how often the provider is asked how a job stands (less often if it asks for that).
    - `dry_run`: send nothing, write nothing; every call gets a synthetic response marked `x-batchling-dry-run: 1`.
    - `cache`: keep records and results on disk (`BATCHLING_CACHE_DIR`, else the platform's cache folder), so that
      a second run or a second process attaches to the batch already paid for. False touches no disk.
    - `gateways`: base URLs that speak a provider's API, by provider name: `{"http://localhost:4000": "openai"}`.
      The environment variable `BATCHLING_GATEWAYS` adds more: `http://localhost:4000=openai,https://...=anthropic`.
    - `duplicates`: "sample" asks identical requests once each (ten samples are ten requests); "join" asks them once.

    Raises `OptionError` for a value that cannot work, naming the argument; `CacheError` when the cache folder cannot
    be used; `TypeError` when it is called with a function.
    """
    if target:
        raise TypeError(
            "batchify() takes no function: it is a scope. Write\n"
            "    with batchify():\n"
            "        answers = my_function()\n"
            "or, from a shell: batchling my_script.py:my_function"
        )
    if batch_size is not None and (not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1):
        raise OptionError("batch_size", f"must be a whole number of at least 1, or None; not {batch_size!r}")
    options = Options(
        batch_size=batch_size,
        window_seconds=_seconds("batch_window_seconds", batch_window_seconds),
        poll_interval_seconds=_seconds("batch_poll_interval_seconds", batch_poll_interval_seconds),
        dry_run=_boolean("dry_run", dry_run),
        join_duplicates=duplicates == "join",
    )
    if duplicates not in ("sample", "join"):
        raise OptionError("duplicates", f'must be "sample" or "join"; not {duplicates!r}')
    routes = Routes(_gateways(gateways))
    store = open_store(cache=_boolean("cache", cache))
    install_hooks()
    receipt = Receipt()

    def listen(event: events.Event) -> None:
        receipt.add(event)
        log(event)

    return BatchingContext(Batcher(options, routes, store, listen), receipt)


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or value <= 0:
        raise OptionError(name, f"must be a positive number of seconds; not {value!r}")
    return float(value)


def _boolean(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise OptionError(name, f"must be True or False; not {value!r}")
    return value


def _gateways(given: object) -> dict[str, str]:
    """The gateways of the environment and, overriding them, of the argument."""
    found: dict[str, str] = {}
    for entry in os.environ.get(GATEWAYS_VARIABLE, "").replace(",", " ").split():
        base, _, name = entry.rpartition("=")
        found[_base_url(GATEWAYS_VARIABLE, base)] = _provider(GATEWAYS_VARIABLE, name)
    if given is None:
        return found
    if not isinstance(given, Mapping):
        raise OptionError(
            "gateways", f'must map base URLs to provider names, {{"http://localhost:4000": "openai"}}; not {given!r}'
        )
    for base, name in given.items():
        found[_base_url("gateways", base)] = _provider("gateways", name)
    return found


def _base_url(name: str, base: object) -> str:
    parts = urlsplit(base) if isinstance(base, str) else urlsplit("")
    if (
        parts.scheme not in ("http", "https")
        or not parts.netloc
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        raise OptionError(name, "a base URL must look like http://localhost:4000 or https://host/path")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def _provider(name: str, provider: object) -> str:
    if provider not in PROVIDERS or not isinstance(provider, str):
        raise OptionError(name, f"unknown provider {provider!r}; known are {', '.join(sorted(PROVIDERS))}")
    return provider
