"""Loads a script, fits the command line to its function, and runs the function inside a scope."""

from __future__ import annotations

import asyncio
import inspect
import os
import runpy
import sys
import traceback
import types
import typing
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from batchling.cache.durable import replace_file
from batchling.cli.arguments import CommandLine, pair
from batchling.core.text import described
from batchling.errors import ScriptError

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def run(line: CommandLine) -> int:
    """Run the function that a command line names, and print what it returns. Returns 0, or 1 when it raised.

    Raises `ScriptError` for anything that is wrong before the program starts to run in the scope.
    """
    from batchling.scope.api import batchify

    scope = batchify(**line.options)  # type: ignore[arg-type]  # each option was checked by its name
    receipt = Path(line.receipt) if line.receipt else None
    if receipt is not None:
        _check_writable(receipt)
    path = Path(line.path)
    if not path.is_file():
        raise ScriptError(f"no such file: {line.path}")
    sys.argv = [line.path]
    # As `python script.py` does: the script's own folder comes first.
    sys.path.insert(0, str(path.resolve().parent))
    try:
        names = runpy.run_path(line.path, run_name="batchling.runtime")
    except Exception as fault:
        return _report(fault, line.path)
    function = names.get(line.function)
    if function is None:
        raise ScriptError(f"{line.path} has no function {line.function!r}")
    if not callable(function):
        raise ScriptError(f"{line.function!r} in {line.path} is not callable")
    positional, named = fit(function, line.tokens)
    try:
        with scope:
            result = function(*positional, **named)
            if inspect.isawaitable(result):
                result = asyncio.run(_awaited(result))
    except Exception as fault:
        return _report(fault, line.path)
    finally:
        if receipt is not None:
            _write_receipt(receipt, scope.receipt.to_json())
    if result is not None:
        print(result)
    return 0


def _check_writable(path: Path) -> None:
    """Raise `ScriptError` if no receipt could be written here: reported before anything is sent, not afterwards."""
    if path.is_dir():
        raise ScriptError(f"--receipt {path} is a folder; name a file")
    folder = path.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise ScriptError(f"--receipt {path} cannot be written: its folder does not exist or is not writable")


def _write_receipt(path: Path, content: bytes) -> None:
    try:
        replace_file(path, content)
    except OSError as fault:
        print(f"batchling: the receipt cannot be written to {path} ({fault.strerror})", file=sys.stderr)


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def fit(function: Callable[..., Any], words: tuple[str, ...]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments for a function, converted according to its annotations. Raises `ScriptError` if they do not fit."""
    try:
        signature = inspect.signature(function)
    except ValueError:
        signature = inspect.Signature([inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)])
    kinds = _annotations(function, signature)
    flags = frozenset(name for name, kind in kinds.items() if kind is bool)
    positional: list[str] = []
    named: dict[str, Any] = {}
    for name, value in pair(words, flags):
        if name is None:
            positional.append(value or "")
        elif name in named:
            raise ScriptError(f"--{name.replace('_', '-')} is given twice")
        else:
            named[name] = True if value is None else _converted(name, value, kinds.get(name))
    places = [p.name for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_POSITIONAL), None)
    values = []
    for number, text in enumerate(positional):
        name = places[number] if number < len(places) else rest
        values.append(_converted(name or "", text, kinds.get(name or "")))
    try:
        signature.bind(*values, **named)
    except TypeError as fault:
        raise ScriptError(f"{getattr(function, '__name__', 'the function')}{_outline(signature)}: {fault}") from None
    return values, named


def _outline(signature: inspect.Signature) -> str:
    """A signature without the values of defaults: one may be a credential from the environment."""
    outlined = [
        each if each.default is each.empty else each.replace(default=...) for each in signature.parameters.values()
    ]
    return str(signature.replace(parameters=outlined)).replace("Ellipsis", "...")


def _annotations(function: Callable[..., Any], signature: inspect.Signature) -> dict[str, type]:
    """Which of int, float and bool each parameter is annotated with, also as Optional or as a string."""
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # the script's own annotations may name anything
        hints = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    found: dict[str, type] = {}
    for name, hint in hints.items():
        options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
        simple = [option for option in options if option in (int, float, bool)]
        if simple and str not in options:
            found[name] = simple[0]
    return found


def _converted(name: str, text: str, kind: type | None) -> Any:
    if kind is None:
        return text
    try:
        if kind is bool:
            return _truth(text)
        return kind(text)
    except ValueError:
        expected = {int: "a whole number", float: "a number", bool: "true or false"}[kind]
        raise ScriptError(f"{name} must be {expected}; not {described(text)}") from None


def _truth(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(text)


def _report(fault: Exception, path: str) -> int:
    """Print the traceback of the user's program, from its own first frame on."""
    frames = fault.__traceback__
    if (first := _first_frame(frames, path)) is not None:
        frames = first
    traceback.print_exception(type(fault), fault, frames)
    # As the interpreter does: code that prints something at exit can see that there was a traceback.
    sys.last_value = fault
    return 1


def _first_frame(frames: TracebackType | None, path: str) -> TracebackType | None:
    while frames is not None and frames.tb_frame.f_code.co_filename != path:
        frames = frames.tb_next
    return frames
