from __future__ import annotations

import json
from dataclasses import replace
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from batchling.core.lifecycle import (
    MOVES,
    IllegalMove,
    NewerSchema,
    Phase,
    Progress,
    Record,
    Unsealed,
    from_json,
    to_json,
)
from batchling.core.model import Job, Target
from batchling.core.seal import Seal

SEAL = Seal(b"secret")

names = st.text(min_size=1, max_size=20)
targets = st.builds(Target, names, names, names, names, names, st.lists(st.tuples(names, names), max_size=3).map(tuple))
members = st.lists(names, max_size=8, unique=True).map(tuple)
records = st.builds(
    Record,
    id=names,
    target=targets,
    members=members,
    created_at=st.floats(0, 1e10),
    phase=st.sampled_from(Phase),
    job=st.none() | st.builds(Job, names, st.dictionaries(names, names, max_size=3)),
    expires_at=st.none() | st.floats(0, 1e10),
    freed=st.frozensets(names, max_size=4),
    reason=st.text(max_size=30),
)


@pytest.mark.thorough
@given(records)
def test_a_record_survives_the_disk(record: Record) -> None:
    document = to_json(record, SEAL)

    assert from_json(document, SEAL) == record
    assert b"\n" not in document


@pytest.mark.thorough
@given(records, st.randoms())
def test_equal_records_have_equal_documents(record: Record, random: Random) -> None:
    freed = list(record.freed)
    random.shuffle(freed)

    assert to_json(replace(record, freed=frozenset(freed)), SEAL) == to_json(record, SEAL)
    assert json.loads(to_json(record, SEAL))["record"]["freed"] == sorted(record.freed)


def test_a_bottomless_document_is_one_named_error() -> None:
    for document in (b"[" * 200_000, b'{"a":' * 200_000, b'{"schema":1,"record":' + b"[" * 200_000):
        with pytest.raises(ValueError):
            from_json(document, SEAL)


def test_a_field_of_the_future_is_passed_over() -> None:
    record = Record("b", Target("p", "u", "e", "m", "a"), ("k",), 0.0)
    document = json.loads(to_json(record, SEAL))
    inner = msgspec.json.encode({**document["record"], "colour": {"is": ["new"]}})
    document = msgspec.json.encode({**document, "seal": SEAL.sign(inner), "record": msgspec.Raw(inner)})

    assert b"colour" in document
    assert from_json(document, SEAL) == record


@given(st.binary(max_size=200))
def test_a_damaged_document_is_one_named_error(document: bytes) -> None:
    with pytest.raises(ValueError):
        from_json(document, SEAL)


@pytest.mark.thorough
@given(records, st.data())
def test_a_cut_off_document_is_one_named_error(record: Record, data: st.DataObject) -> None:
    document = to_json(record, SEAL)
    with pytest.raises(ValueError):
        from_json(document[: data.draw(st.integers(0, len(document) - 1))], SEAL)


@pytest.mark.thorough
@given(records, st.data())
def test_an_edited_record_is_not_believed(record: Record, data: st.DataObject) -> None:
    document = to_json(record, SEAL)
    place = data.draw(st.integers(document.index(b'"record":') + 9, len(document) - 2))
    edited = document[:place] + bytes([document[place] ^ data.draw(st.integers(1, 255))]) + document[place + 1 :]
    with pytest.raises(ValueError):
        from_json(edited, SEAL)
    with pytest.raises(Unsealed, match="another cache"):
        from_json(document, Seal(b"another"))


def test_an_older_record_has_no_seal() -> None:
    with pytest.raises(Unsealed, match="older"):
        from_json(b'{"schema": 1, "record": {"id": "b"}}', SEAL)


def test_a_newer_schema_is_told_apart() -> None:
    with pytest.raises(NewerSchema, match="newer"):
        from_json(b'{"schema": 99, "record": {"something": "else"}}', SEAL)


@pytest.mark.thorough
@given(records)
def test_a_record_holds_what_is_neither_freed_nor_dead(record: Record) -> None:
    held = set(record.holds)

    assert held == (set() if record.phase is Phase.DEAD else set(record.members) - record.freed)


class Life(RuleBasedStateMachine):
    """Any moves in any order: a legal one changes the phase, an illegal one raises and changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.record = Record("b", Target("p", "u", "e", "m", "a"), ("k",), 0.0)
        self.path = [Phase.PLANNED]

    @rule(phase=st.sampled_from(Phase))
    def move(self, phase: Phase) -> None:
        before = self.record
        if phase in MOVES[before.phase]:
            self.record = before.move(phase, reason="because")
            self.path.append(phase)
            assert self.record.reason == "because"
        else:
            with pytest.raises(IllegalMove):
                before.move(phase)
            assert self.record is before

    @invariant()
    def never_back(self) -> None:
        order = [Phase.PLANNED, Phase.RUNNING, Phase.ENDED, Phase.DEAD]
        assert [order.index(phase) for phase in self.path] == sorted(order.index(phase) for phase in self.path)


TestLife = Life.TestCase


def test_the_status_of_a_job_is_stored_when_it_changes_and_once_a_minute() -> None:
    stored = Progress("in_progress", 3, 10, 1_000.0, 9_000.0)
    assert stored.outdates(None)
    assert not replace(stored, asked_at=1_059.9).outdates(stored)
    assert replace(stored, asked_at=1_060.0).outdates(stored)
    assert replace(stored, asked_at=990.0).outdates(stored)  # the clock was set back
    for changed in ({"word": "finalizing"}, {"done": 4}, {"total": 11}, {"expires_at": None}):
        assert replace(stored, asked_at=1_010.0, **changed).outdates(stored)
