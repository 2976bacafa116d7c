"""`batchling cache` and `batchling cache prune`: show what is on the disk, and remove old parts of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from batchling import jobs
from batchling.cli.arguments import plain
from batchling.cli.tables import say
from batchling.core.lifecycle import Phase
from batchling.core.text import described
from batchling.display.text import count, size
from batchling.errors import ScriptError

_USAGE = "cache [prune --older-than 30d]"
_UNITS = {"m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}


def cache(words: Sequence[str]) -> int:
    """Print where the cache is and what it holds, or remove what is old. Returns 0."""
    options, rest = plain(words, _USAGE, valued=("--older-than",), most=1)
    if rest == ["prune"] and "--older-than" in options:
        return _prune(_age(options["--older-than"]))
    if rest or options:
        raise ScriptError(f"usage: batchling {_USAGE}")
    for name, text in facts():
        say(f"{name:<10}{text}")
    return 0


def facts() -> list[tuple[str, str]]:
    """What the cache folder holds, in words."""
    found = jobs.contents()
    phases = ", ".join(f"{found.batches[phase]:,} {phase.value}" for phase in Phase if phase in found.batches)
    lines = [
        ("folder", found.path),
        ("size", size(found.bytes)),
        ("batches", phases or "none"),
        ("results", f"of {count(found.results, 'batch', 'batches')}, {size(found.result_bytes)}"),
    ]
    if found.damaged:
        lines.append(("damaged", f"{count(found.damaged, 'file')} set aside"))
    if found.leftovers:
        lines.append(("leftovers", f"{count(found.leftovers, 'file')} being written, or left by killed programs"))
    if found.newer:
        lines.append(("newer", f"{count(found.newer, 'record')} that this version cannot read, and leaves alone"))
    return lines


def _prune(seconds: float) -> int:
    removed = jobs.prune(seconds)
    parts = [
        count(removed.records, "record"),
        count(removed.results, "result file"),
        count(removed.damaged, "damaged file"),
        count(removed.leftovers, "leftover"),
    ]
    print(f"batchling: removed {', '.join(parts)}: {size(removed.bytes)}")
    if removed.kept:
        print(f"batchling: {count(removed.kept, 'batch', 'batches')} kept, in use by a program")
    return 0


def _age(text: str) -> float:
    found = re.fullmatch(r"(\d+)([mhdw])", text)
    if found is None:
        raise ScriptError(f"--older-than needs a time like 12h, 30d or 8w; not {described(text)}")
    return int(found[1]) * _UNITS[found[2]]
