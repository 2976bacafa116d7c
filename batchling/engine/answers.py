"""Which answer each caller gets, which requests are submitted again, and which go real time.

Belongs to the engine's loop thread, except for `reason_against`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from batchling.core import events, retry
from batchling.core.model import AccountKey, Fault, Response, Row, Target
from batchling.engine.access import Accesses
from batchling.engine.batch import FAILED, Outcome, gave_up
from batchling.engine.bulk import Bulk
from batchling.engine.callers import FINAL, Callers, resolve
from batchling.engine.waiter import Arrival, Stage, Waiter
from batchling.errors import outline
from batchling.providers.base import Provider, Verdict
from batchling.providers.reading import read_fault
from batchling.system.gate import RealTime

_log = logging.getLogger(__name__)


class Answers:
    """See the module docstring. `resubmissions` is how many times a request that never ran is submitted again."""

    def __init__(
        self,
        callers: Callers,
        accesses: Accesses,
        emit: Callable[[events.Event], None],
        resubmissions: int,
        again: Callable[[Waiter], None],
    ) -> None:
        self.callers = callers
        self.accesses = accesses
        self.emit = emit
        self.resubmissions = resubmissions
        self._again = again
        self._without: dict[Target | AccountKey, str] = {}
        """Targets and accounts whose requests turned out to have no batch form, and why."""

    def reason_against(self, target: Target) -> str | None:
        """Why requests of a target go real time, as learned from its provider; None if they do not. Any thread."""
        if not self._without:
            return None
        return self._without.get(target.account_key) or self._without.get(target)

    def answer(self, key: str, response: Response) -> None:
        """Give the callers of a key their response."""
        self.answer_all({key: response})

    def answer_all(self, responses: Mapping[str, Response]) -> None:
        """Give the callers of these keys their responses, if any are still waiting."""
        found = [(waiter, responses[key]) for key in responses if (waiter := self.callers.get(key)) is not None]
        bulk = Bulk(self.emit)
        for waiter, response in found:
            bulk.add(events.Answered, waiter.target, response.ok, waiter.followed, calls=len(waiter.calls))
        # Before the callers get them: a forked child may exit as soon as it has its answer.
        bulk.tell()
        for waiter, response in found:
            self.callers.answer(waiter, response)

    def answer_from(self, batch_id: str, key: str, response: Response) -> None:
        """Give the callers of a key its response from a batch, if any are still waiting."""
        if (waiter := self.callers.get(key)) is not None:
            waiter.batch = batch_id
            self.answer(key, response)

    def fail(self, keys: Iterable[str], why: str) -> None:
        """Give the callers of these keys an error response of our own."""
        responses: dict[str, Response] = {}
        for key in keys:
            if (waiter := self.callers.get(key)) is not None:
                responses[key] = gave_up(self.accesses[waiter.target].provider, why)
        self.answer_all(responses)

    def send_real_time(
        self, target: Target, keys: Iterable[str], reason: str, without: Target | AccountKey | None = None
    ) -> None:
        """Let requests go real time after all, and report them. `without` is a target or account that has no batch
        form: its later requests go real time, too."""
        if without is not None:
            self._without[without] = reason
        self.let_pass([arrival for key in keys for arrival in self.callers.release(key)], reason, target)

    def let_pass(self, arrivals: Sequence[Arrival], reason: str, target: Target | None = None) -> None:
        """Let calls go real time, and report them."""
        resolve(arrivals, RealTime())
        bulk = Bulk(self.emit)
        for arrival in arrivals:
            bulk.add_real_time(arrival.request.url, reason, target)
        bulk.tell()

    def deliver(self, batch_id: str, keys: Iterable[str], outcome: Outcome) -> None:
        """Answer those of these keys of a batch whose rows are final; submit the other requests again, as often as
        allowed."""
        good: dict[str, Response] = {}
        try:
            for key in keys:
                if (waiter := self.callers.get(key)) is None:
                    continue
                waiter.batch, row = batch_id, outcome.rows.get(key)
                if row is not None and row.response is not None and row.response.ok:
                    good[key] = row.response
                else:
                    self._deliver(waiter, row, outcome)
        finally:
            self.answer_all(good)

    def _deliver(self, waiter: Waiter, row: Row | None, outcome: Outcome) -> None:
        """What `deliver` does for a request without a good answer."""
        key = waiter.item.key
        response = row.response if row is not None else None
        if outcome.doubtful:
            waiter.tries = waiter.tries.doubtful()
        verdict = Verdict.NO if response is None or outcome.final else self._judge(waiter, response)
        if response is not None and verdict is Verdict.REAL_TIME:
            self.send_real_time(waiter.target, [key], "model without a batch form", waiter.target)
        elif response is not None and (verdict is not Verdict.LATER or not retry.passing(response.status)):
            # LATER for a status that is final concerns files and ids, not rows.
            self.answer(key, response)
        elif waiter.tries.allow(self.resubmissions, blameless=outcome.blameless):
            waiter.tries = waiter.tries.one_more(blameless=outcome.blameless)
            waiter.move(Stage.QUEUED)
            self._again(waiter)
        elif response is not None:
            self.answer(key, response)
        else:
            self.fail([key], _never_ran(waiter, row))

    def _judge(self, waiter: Waiter, response: Response) -> Verdict:
        return self.accesses[waiter.target].provider.judge(response.status, read_fault(response))


def broken(provider: Provider, fault: Exception) -> Response:
    """The answer to requests for which our code, or a third party's provider, raised an exception. Logs it."""
    _log.error("batchling failed to handle a request; please report this: %s", outline(fault))
    shown = Fault(f"batchling failed to handle this request ({type(fault).__name__})", FAILED)
    response = provider.failure(424, shown)
    return Response(response.status, (*response.headers, FINAL), response.body)


def _never_ran(waiter: Waiter, row: Row | None) -> str:
    """Why a request has no answer after all its tries, and what that may have cost."""
    why = row.reason if row is not None and row.reason else "no row in the results"
    tries = waiter.tries.counted + waiter.tries.blameless + 1
    if not waiter.tries.doubts:
        return f"never ran ({why:.80}; tries: {tries}), last in batch {waiter.batch}"
    return (
        f"no answer (tries: {tries}, last in batch {waiter.batch}): {waiter.tries.doubts} calls to create a job were "
        "sent and got an error or no answer, and the provider lists no such job. Each of these jobs may have run and "
        "been billed: check the provider's own list of batches before you run again"
    )
