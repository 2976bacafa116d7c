"""Text of a provider or of a record moves no cursor, forges no line and is no markup, wherever it is printed."""

from __future__ import annotations

import dataclasses
import logging
import typing

import pytest

from batchling.cache import cache_folder
from batchling.cache.files import FileStore
from batchling.cli import main
from batchling.core import events
from batchling.core.lifecycle import Phase, Progress, Record
from batchling.core.model import Job, Target
from batchling.core.text import printable
from batchling.display.plain import log

EVIL = "\x1b]0;title\x07\x1b[2J[red]x[/red]\r\nFORGED\u2028LINE\u202e\x9b[/]"
MARKUP = "[red]x[/red]"


def fit(text: str) -> bool:
    return all(letter.isprintable() for letter in text.replace("\n", ""))


def test_one_line_that_can_be_printed() -> None:
    assert printable(EVIL).isprintable()
    assert printable("é 漢 😀") == "é 漢 😀"
    assert printable("abc", 2) == "ab"


@pytest.mark.parametrize("phase", Phase)
def test_every_field_of_a_record(capsys: pytest.CaptureFixture[str], phase: Phase) -> None:
    store = FileStore(cache_folder())
    target = Target(EVIL, f"https://{EVIL}", EVIL, EVIL, EVIL, ((EVIL, EVIL),))
    record = Record("a" * 24, target, (EVIL,), 1.0, phase=phase, left_at=2.0, job=Job(EVIL), reason=EVIL)
    store.save(record)
    store.note(record.id, Progress(EVIL, 1, 1, 3.0))
    store.close()

    for words in (["jobs"], ["jobs", "--json"], ["show", "aa"], ["cache"], ["doctor"], ["watch"]):
        assert main(words) in (0, 1)
    main(["jobs", "--refresh"])
    main(["collect", "--once"])
    main(["cancel", "--all", "--yes"])
    main(["show", EVIL])
    main([EVIL])

    said = capsys.readouterr()
    assert fit(said.out)
    assert fit(said.err)
    assert "\nFORGED" not in said.out + said.err
    assert MARKUP in said.out


def _value(kind: object) -> object:
    """A value of a field, hostile where it is text."""
    if kind is str:
        return EVIL
    if kind is Target:
        return Target(EVIL, f"https://{EVIL}", EVIL, EVIL, EVIL)
    return {int: 1, float: 1.0, bool: False}.get(typing.cast(type, kind))


@pytest.mark.parametrize("kind", typing.get_args(events.Event))
def test_every_field_of_an_event(kind: type, caplog: pytest.LogCaptureFixture) -> None:
    hints = typing.get_type_hints(kind)
    fields = {field.name: _value(hints[field.name]) for field in dataclasses.fields(kind)}
    with caplog.at_level(logging.DEBUG, "batchling"):
        log(kind(**fields))

    assert all(record.getMessage().isprintable() for record in caplog.records)
