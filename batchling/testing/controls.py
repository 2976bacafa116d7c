"""The controls with which a test makes the embedded server misbehave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from batchling.core.model import JSON
from batchling.testing.openai_files import error
from batchling.testing.state import (
    Body,
    Fault,
    JobFault,
    ListFault,
    Objection,
    Predicate,
    Row,
    RowFault,
    RowLoss,
    ServerState,
    Stage,
)

FOREVER = float("inf")


class Controls:
    """What `ProviderServer` can be told. Every control may be used from any thread."""

    _shared: ServerState

    def hold(self) -> None:
        """Keep every job running until `release`."""
        self._shared.held = True

    def release(self) -> None:
        """Let jobs end again."""
        self._shared.held = False

    def pending_faults(self) -> int:
        """How many faults were asked for (`fail_call`, `lose_reply` and the like) and have not happened yet."""
        return sum(1 for fault in self._shared.faults if fault.times)

    def forget_faults(self) -> None:
        """Have no fault happen any more."""
        self._shared.faults.clear()

    def fail_rows(self, predicate: Predicate, status: int, error: JSON, times: float = FOREVER) -> None:
        """Answer requests whose JSON body the predicate picks with this status and error body, in batches and in
        real time."""
        self._shared.row_faults.append(RowFault(predicate, status, error, times))

    def lose_rows(self, predicate: Predicate, times: float = FOREVER) -> None:
        """Run and bill the requests that the predicate picks, count them as completed, and leave them out of the
        results. A result file is named even if nothing is left for it."""
        self._shared.losses.append(RowLoss(predicate, times))

    def refuse_batches_with(
        self,
        predicate: Predicate,
        status: int,
        message: str,
        *,
        at: Stage = "create",
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        """Refuse every batch that holds a request which the predicate picks: with this status when its rows are
        uploaded or its job is created, or by letting the job fail. In `message`, `{key}`, `{index}` (from 0) and
        `{line}` (from 1) stand for the first such row; without them nobody is named. In real time, only such a request
        itself is refused.

        Where rows come with the create call, "upload" means that call, as "job" does at Anthropic, where no job fails.
        Vertex's storage takes any file: "upload" means the job there.
        """

        def blames(rows: Sequence[Row]) -> Body | None:
            found = ((place, key) for place, (key, body) in enumerate(rows) if predicate(body))
            place, key = next(found, (-1, ""))
            return None if place < 0 else {"key": key, "index": place, "line": place + 1}

        self._shared.objections.append(Objection(at, blames, status, message, code, param))
        alone = error(message.format(key="request", index=0, line=1), param, code)
        self._shared.row_faults.append(RowFault(predicate, status, {"type": "error", **alone}, FOREVER))

    def refuse_batches_of(
        self,
        status: int,
        message: str,
        *,
        fewer_than: float = 0,
        more_than: float = FOREVER,
        at: Stage = "create",
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        """Refuse every batch of fewer or of more requests than these, as `refuse_batches_with` does; `{count}` in
        `message` stands for their number."""

        def blames(rows: Sequence[Row]) -> Body | None:
            return {"count": len(rows)} if len(rows) < fewer_than or len(rows) > more_than else None

        self._shared.objections.append(Objection(at, blames, status, message, code, param))

    def fail_job(
        self,
        code: str | int = "",
        message: str = "",
        line: int | None = None,
        param: str | None = None,
        *,
        times: int = 1,
        done: float = 0.0,
    ) -> None:
        """Fail the next jobs as a whole, after this share of their rows, whose results they keep. `line` is the 1-based
        row that is to blame, where a provider names one. Google's `code` is a gRPC code or its name; others become
        INVALID_ARGUMENT. Without code and message a job says nothing about why.

        No job fails at Anthropic. Sference checks the rows when the job is created: a job of which nothing has run is
        refused there, with 400.
        """
        self._shared.job_faults += [JobFault(code, message, param, line, done)] * times

    def call_success(self, word: str) -> None:
        """Let jobs that end well from now on say so with this word, instead of the provider's own; their counts and
        files are as ever. xAI's jobs have no such word."""
        self._shared.end_word = word

    def shift_clock(self, seconds: float) -> None:
        """Let the server's clock differ by so much from this machine's: in Date headers and in all that it says about
        jobs and files."""
        self._shared.clock_error = seconds

    def expire_job(self, done: float = 0.5) -> None:
        """Expire the next job that ends, after this share of its rows."""
        self._shared.endings.append(("expired", done))

    def cancel_job(self, done: float = 0.5) -> None:
        """Cancel the next job that ends, as its owner could at the provider's site, after this share of its rows."""
        self._shared.endings.append(("cancelled", done))

    def limit_queue(self, rows: float) -> None:
        """Refuse OpenAI jobs with which more rows of a model than this would be under way, with
        `token_limit_exceeded`: after their creation, as OpenAI does."""
        self._shared.most_rows_enqueued = rows

    def fail_call(
        self,
        method: str,
        part: str,
        status: int,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        times: float = 1,
    ) -> None:
        """Answer the next calls of a method ("*": any) whose path holds `part` with this, without acting.

        The ids of a job's result files end with `_output` and `_error`: `fail_call("GET", "_error", 403, times=inf)`
        locks the one that says which requests failed and why. Fireworks calls them `BIJOutputSet` and `error-data`.
        """
        self._shared.faults.append(Fault(method, part, times, status, body, headers or {}))

    def lose_reply(self, method: str, part: str, status: int = 0, times: float = 1) -> None:
        """Act on the next such calls, then close the connection without an answer, or answer with an error
        status as a gateway in between would."""
        self._shared.faults.append(Fault(method, part, times, status, acts=True))

    def lose_created(self, status: int, body: bytes = b"", *, acts: bool = True, times: float = 1) -> None:
        """Let the next calls that create a job, of whatever provider, lose their reply as `lose_reply` does; or, if
        they are not to act, answer them with this status. With status 200, `body` is a success that names no job."""
        self._shared.faults.append(Fault("*", "", times, status, body, acts=acts, creates=True))

    def redirect_call(
        self, method: str, part: str, status: int, to: Literal["slash", "host"] = "slash", times: float = 1
    ) -> None:
        """Redirect the next such calls, without acting: to the same path with a slash behind it, or to another host
        name of this server. What is sent there is answered as it would have been at once."""
        self._shared.slashes |= to == "slash"
        self._shared.faults.append(Fault(method, part, times, status, moved=to))

    def spoil_lists(self, shows: Literal["nothing", "unreadable", "repeating"], times: float = FOREVER) -> None:
        """Let the next lists of jobs be wrong: empty; a page without jobs that says that more follow; or the first page
        over and over, which says the same. A list that has no pages is empty, or right in the last case."""
        self._shared.list_faults.append(ListFault(shows, times))

    def show_per_page(self, most: int) -> None:
        """Let lists of jobs, and results that come in pages, have no more than this on a page."""
        self._shared.most_per_page = most

    def revoke(self, key: str) -> None:
        """Refuse this key or token from now on, at the APIs that speak OpenAI's dialect."""
        self._shared.revoked.add(key)

    def vary(self) -> None:
        """Answer identical rows of a batch differently, as a model that samples does: each by its key."""
        self._shared.varied = True

    def recover(self) -> None:
        """Let no further call suffer what was asked for, and object to no further batch."""
        self._shared.faults.clear()
        self._shared.list_faults.clear()
        self._shared.objections.clear()

    def drop_call(self, method: str, part: str, times: float = 1) -> None:
        """Close the connection of the next such calls without acting."""
        self._shared.faults.append(Fault(method, part, times))

    def stall_call(self, method: str, part: str, *, acts: bool = False, times: float = 1) -> None:
        """Never answer the next such calls, with the work done or not; the connection stays open."""
        self._shared.faults.append(Fault(method, part, times, acts=acts, stalls=True))

    def cut_reply(self, method: str, part: str, times: float = 1) -> None:
        """Act on the next such calls, and end the connection after half of the answer's body."""
        self._shared.faults.append(Fault(method, part, times, acts=True, cuts=True))

    def change_reply(self, method: str, part: str, change: Callable[[bytes], bytes], times: float = 1) -> None:
        """Act on the next such calls, and answer with what `change` makes of the answer's body."""
        self._shared.faults.append(Fault(method, part, times, acts=True, change=change))
