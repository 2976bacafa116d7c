"""Splits a command line into options for batchify and arguments for the function. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from batchling.core.text import described
from batchling.errors import ScriptError

OptionValue = int | float | bool | str
Token = tuple[str | None, str | None]
"""(name, value): name is None for a positional argument, value is None for an option without one."""


def _whole(text: str) -> int:
    return int(text)


_VALUED: dict[str, Callable[[str], int | float | str]] = {
    "--batch-size": _whole,
    "--batch-window-seconds": float,
    "--batch-poll-interval-seconds": float,
    "--max-resubmissions": _whole,
    "--max-batches-in-flight": _whole,
    "--max-batches-per-hour": _whole,
    "--max-waiting": _whole,
    "--display": str,
    "--budget-usd": float,
}
_FILES = frozenset({"--receipt"})
_SWITCHES: dict[str, tuple[str, bool | str]] = {
    "--dry-run": ("dry_run", True),
    "--cache": ("cache", True),
    "--no-cache": ("cache", False),
    "--cache-no-results": ("cache", "no-results"),
}


@dataclass(frozen=True, slots=True)
class CommandLine:
    """`options` are keyword arguments of batchify; `tokens` the function's arguments, in order."""

    path: str
    function: str
    options: dict[str, OptionValue] = field(default_factory=dict)
    tokens: tuple[str, ...] = ()
    """The function's words as they were given, without `--`."""
    receipt: str = ""
    """Where to write the receipt, as JSON; empty for nowhere."""


def scan(words: Sequence[str]) -> CommandLine:
    """Read a command line. Raises `ScriptError` with one clear sentence."""
    options: dict[str, OptionValue] = {}
    rest: list[str] = []
    receipt = ""
    queue = iter(words)
    for word in queue:
        if word == "--":
            rest.extend(queue)
            break
        name, equals, value = word.partition("=")
        if name in _SWITCHES and not equals:
            option, setting = _SWITCHES[name]
            options[option] = setting
        elif name in _VALUED:
            given = value if equals else next(queue, None)
            options[name[2:].replace("-", "_")] = _valued(name, given)
        elif name in _FILES:
            receipt = (value if equals else next(queue, "")) or ""
            if not receipt:
                raise ScriptError(f"{name} needs a file")
        elif name in _SWITCHES:
            raise ScriptError(f"{name} takes no value")
        else:
            rest.append(word)
    if not rest:
        raise ScriptError("name a script and a function: batchling my_script.py:main")
    path, colon, function = rest[0].rpartition(":")
    if not colon or not path or not function.isidentifier():
        raise ScriptError(f"{described(rest[0])} is not of the form script.py:function; see batchling --help")
    return CommandLine(path, function, options, tuple(rest[1:]), receipt)


def _valued(name: str, given: str | None) -> OptionValue:
    if given is None:
        raise ScriptError(f"{name} needs a value")
    try:
        return _VALUED[name](given)
    except ValueError:
        kind = "a whole number" if _VALUED[name] is _whole else "a number"
        raise ScriptError(f"{name} needs {kind}; not {described(given)}") from None


def pair(words: Sequence[str], flags: frozenset[str]) -> Iterator[Token]:
    """The function's arguments: positional ones, and names with their values. An option has no value if its name (with
    underscores) is in `flags`, or if it is followed by another option or by nothing."""
    place = 0
    while place < len(words):
        word = words[place]
        place += 1
        if not word.startswith("--") or word == "--":
            yield None, word
            continue
        name, equals, value = word[2:].partition("=")
        name = name.replace("-", "_")
        if not name.isidentifier():
            raise ScriptError(f"{described(word.partition('=')[0])} cannot be an argument's name")
        if equals:
            yield name, value
        elif name in flags or place == len(words) or words[place].startswith("--"):
            yield name, None
        else:
            yield name, words[place]
            place += 1


def plain(
    words: Sequence[str], usage: str, *, switches: Sequence[str] = (), valued: Sequence[str] = (), most: int = 0
) -> tuple[dict[str, str], list[str]]:
    """Read the words of a job command: its options with their values ("" for a switch), and at most `most` other words.
    Raises `ScriptError` with the usage."""
    found: dict[str, str] = {}
    rest: list[str] = []
    queue = iter(words)
    for word in queue:
        name, equals, value = word.partition("=")
        if name in switches and not equals:
            found[name] = ""
        elif name in valued and (given := value if equals else next(queue, "")):
            found[name] = given
        elif word.startswith("-") or len(rest) == most:
            raise ScriptError(f"usage: batchling {usage}; not {described(word.partition('=')[0])}")
        else:
            rest.append(word)
    return found, rest
