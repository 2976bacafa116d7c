"""Two processes and one provider, step by step in any order, with deaths in between: a key is bought once.

The steps are those of `batchling.engine.driver`, over two real stores on one folder. The model is the provider: what was created
there is paid for, whoever still knows of it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from batchling.cache.files import FileStore
from batchling.core.lifecycle import Phase, Record
from batchling.core.model import Job
from tests.cache.drafts import TARGET
from tests.cache.ids import holder

KEYS = ["k1", "k2", "k3", "k4"]
WHO = st.integers(0, 1)


class Life:
    """A process: its store, and the batches that it drives as it remembers them."""

    def __init__(self, folder: str) -> None:
        self.store = FileStore(folder)
        self.driven: dict[str, Record] = {}


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(prefix="batchling-machine-")
        self.lives = [Life(self.folder), Life(self.folder)]
        self.jobs: dict[str, frozenset[str]] = {}
        """What the provider has: the keys that a job was paid for, by the id of its batch."""
        self.number = 0

    def teardown(self) -> None:
        for life in self.lives:
            life.store.close()
        shutil.rmtree(self.folder)

    def pick(self, who: int, choice: int, *phases: Phase) -> Record | None:
        records = sorted((r for r in self.lives[who].driven.values() if r.phase in phases), key=lambda r: r.id)
        return records[choice % len(records)] if records else None

    def keep(self, who: int, record: Record) -> None:
        life = self.lives[who]
        life.store.save(record)
        life.driven[record.id] = record
        if record.phase in (Phase.ENDED, Phase.DEAD):
            life.store.release(record.id)
            del life.driven[record.id]

    @rule(who=WHO, keys=st.lists(st.sampled_from(KEYS), min_size=1, unique=True))
    def claim(self, who: int, keys: list[str]) -> None:
        self.number += 1
        claim = self.lives[who].store.claim(Record(f"{self.number:024x}", TARGET, tuple(keys), float(self.number)))
        if claim.record is not None:
            self.lives[who].driven[claim.record.id] = claim.record
        assert set(claim.theirs) | set(claim.record.members if claim.record else ()) == set(keys)

    @rule(who=WHO, choice=st.integers(0, 9), reply_lost=st.booleans())
    def create(self, who: int, choice: int, reply_lost: bool) -> None:
        """The create call leaves, after its record said so; a lost reply is looked for at once."""
        record = self.pick(who, choice, Phase.PLANNED)
        if record is None or record.id in self.jobs:
            return
        if record.left_at is None:
            self.keep(who, record := record.move(Phase.PLANNED, left_at=float(self.number)))
        self.jobs[record.id] = frozenset(record.members)
        if not reply_lost:
            self.keep(who, record.move(Phase.RUNNING, job=Job(f"job-{record.id}")))

    @rule(who=WHO, choice=st.integers(0, 9))
    def settle(self, who: int, choice: int) -> None:
        """A record without a job: the provider is asked."""
        record = self.pick(who, choice, Phase.PLANNED)
        if record is None:
            return
        if record.id in self.jobs:
            self.keep(who, record.move(Phase.RUNNING, job=Job(f"job-{record.id}")))
        elif record.left_at is not None:
            self.keep(who, record.move(Phase.DEAD, reason="never submitted"))

    @rule(who=WHO, choice=st.integers(0, 9), share=st.integers(0, 4))
    def end(self, who: int, choice: int, share: int) -> None:
        """The job is over; rows that did not run are not paid for, and free again."""
        record = self.pick(who, choice, Phase.RUNNING)
        if record is None:
            return
        freed = frozenset(record.members[share:])
        with self.lives[who].store.sink(record.id) as sink:
            sink.write(b"".join(b'{"k": "%s"}\n' % key.encode() for key in record.members[:share]))
            sink.commit()
        self.jobs[record.id] -= freed
        self.keep(who, record.move(Phase.ENDED, freed=freed))

    @rule(who=WHO, choice=st.integers(0, 9))
    def refuse(self, who: int, choice: int) -> None:
        """The job failed in its validation: nothing ran."""
        if (record := self.pick(who, choice, Phase.RUNNING)) is not None:
            self.jobs[record.id] = frozenset()
            self.keep(who, record.move(Phase.DEAD, reason="refused"))

    @rule(who=WHO)
    def die(self, who: int) -> None:
        """SIGKILL: what was in memory is gone, and the system takes the locks back."""
        self.lives[who].store.close()
        self.lives[who] = Life(self.folder)

    @rule(who=WHO, choice=st.integers(0, 9))
    def take_over(self, who: int, choice: int) -> None:
        """Whoever waits for a batch tries its lock; a living driver has it."""
        names = [f"{number:024x}" for number in range(1, self.number + 1)]
        if not names:
            return
        batch_id, life = names[choice % len(names)], self.lives[who]
        if batch_id in life.driven or not life.store.drive(batch_id):
            return
        assert batch_id not in self.lives[1 - who].driven
        record = life.store.load(batch_id)
        if record is None or record.phase in (Phase.ENDED, Phase.DEAD):
            life.store.release(batch_id)
        else:
            life.driven[batch_id] = record

    @precondition(lambda self: self.number)
    @invariant()
    def nothing_is_bought_twice(self) -> None:
        paid = Counter(key for keys in self.jobs.values() for key in keys)
        assert max(paid.values(), default=0) <= 1, paid

    @precondition(lambda self: self.number)
    @invariant()
    def every_key_has_one_holder_and_what_is_paid_is_held(self) -> None:
        fresh = FileStore(self.folder)
        records = [record for n in range(1, self.number + 1) if (record := fresh.load(f"{n:024x}")) is not None]
        held = Counter(key for record in records for key in record.holds)
        assert max(held.values(), default=0) <= 1, held
        for batch_id, keys in self.jobs.items():
            for key in keys:
                assert holder(fresh, key) == batch_id

    @precondition(lambda self: self.number)
    @invariant()
    def no_batch_has_two_drivers(self) -> None:
        assert not self.lives[0].driven.keys() & self.lives[1].driven.keys()


Machine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestMachine = Machine.TestCase
