"""The controls that let a test make the embedded server misbehave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from batchling.testing.faults import (
    Body,
    Fault,
    JobFault,
    ListFault,
    Objection,
    Predicate,
    Row,
    RowFault,
    RowLoss,
    Stage,
)
from batchling.testing.replies import error
from batchling.testing.state import ServerState

FOREVER = float("inf")


class Controls:
    """The controls of `ProviderServer`. Each may be used from any thread."""

    _shared: ServerState

    def hold(self) -> None:
        """Keep every job running until `release`."""
        self._shared.held = True

    def release(self) -> None:
        """Let jobs end again."""
        self._shared.held = False

    def pending_faults(self) -> int:
        """The number of requested faults (`fail_call`, `lose_reply` and the like) that have not happened yet."""
        return sum(1 for fault in self._shared.faults if fault.times)

    def forget_faults(self) -> None:
        """Drop all faults that have not happened yet."""
        self._shared.faults.clear()

    def fail_rows(self, predicate: Predicate, status: int, error: Any, times: float = FOREVER) -> None:
        """Answer requests whose JSON body matches the predicate with this status and error body, in batches and in
        real time."""
        self._shared.row_faults.append(RowFault(predicate, status, error, times))

    def lose_rows(self, predicate: Predicate, times: float = FOREVER) -> None:
        """Run and bill the requests that match the predicate, count them as completed, and leave them out of the
        results. A result file is named even if it would be empty."""
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
        """Refuse every batch that contains a request which matches the predicate: with this status when its rows are
        uploaded or its job is created, or by letting the job fail. In `message`, `{key}`, `{index}` (from 0) and
        `{line}` (from 1) stand for the first such row; without them, no row is named. In real time, only such a request
        itself is refused.

        Where rows come with the create call, "upload" means that call, as "job" does at Anthropic, where no job fails.
        Vertex's storage accepts any file, so there "upload" means the job.
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
        """Refuse every batch with fewer or more requests than these numbers, as `refuse_batches_with` does; `{count}`
        in `message` stands for the number of its requests."""

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
        number of the row at fault, where a provider names one. For Google, `code` is a gRPC code or its name; anything
        else becomes INVALID_ARGUMENT. Without code and message, a job gives no reason.

        No job fails at Anthropic. Sference checks the rows when the job is created, so a job of which nothing has run
        is refused at that point, with 400.
        """
        self._shared.job_faults += [JobFault(code, message, param, line, done)] * times

    def call_success(self, word: str) -> None:
        """From now on, let jobs that succeed report this word as their status instead of the provider's own; their
        counts and files stay the same. xAI's jobs have no such word."""
        self._shared.end_word = word

    def shift_clock(self, seconds: float) -> None:
        """Shift the server's clock by this much from this machine's: in Date headers and in everything that it reports
        about jobs and files."""
        self._shared.clock_error = seconds

    def expire_job(self, done: float = 0.5) -> None:
        """Expire the next job that ends, after this share of its rows."""
        self._shared.endings.append(("expired", done))

    def cancel_job(self, done: float = 0.5) -> None:
        """Cancel the next job that ends, as its owner could on the provider's website, after this share of its rows."""
        self._shared.endings.append(("cancelled", done))

    def limit_queue(self, rows: float) -> None:
        """Refuse OpenAI jobs that would bring the rows in progress of one model above this number, with
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
        """Answer the next calls of a method ("*": any) whose path contains `part` with this, without acting.

        The ids of a job's result files end with `_output` and `_error`: `fail_call("GET", "_error", 403, times=inf)`
        locks the one that says which requests failed and why. Fireworks calls them `BIJOutputSet` and `error-data`.
        """
        self._shared.faults.append(Fault(method, part, times, status, body, headers or {}))

    def lose_reply(self, method: str, part: str, status: int = 0, times: float = 1) -> None:
        """Act on the next such calls, then close the connection without an answer, or answer with an error
        status as a gateway in between would do."""
        self._shared.faults.append(Fault(method, part, times, status, acts=True))

    def lose_created(self, status: int, body: bytes = b"", *, acts: bool = True, times: float = 1) -> None:
        """Let the next calls that create a job, of any provider, lose their reply as `lose_reply` does; or, without
        `acts`, answer them with this status. With status 200, `body` is a success that names no job."""
        self._shared.faults.append(Fault("*", "", times, status, body, acts=acts, creates=True))

    def redirect_call(
        self, method: str, part: str, status: int, to: Literal["slash", "host"] = "slash", times: float = 1
    ) -> None:
        """Redirect the next such calls, without acting: to the same path with a slash at its end, or to another host
        name of this server. A call sent there is answered as it would have been without the redirect."""
        self._shared.slashes |= to == "slash"
        self._shared.faults.append(Fault(method, part, times, status, moved=to))

    def spoil_lists(self, shows: Literal["nothing", "unreadable", "repeating"], times: float = FOREVER) -> None:
        """Let the next lists of jobs be wrong: empty; a page without jobs that says that more follow; or the first page
        over and over, which also says that more follow. A list without pages is empty, or correct in the last case."""
        self._shared.list_faults.append(ListFault(shows, times))

    def show_per_page(self, most: int) -> None:
        """Limit lists of jobs, and results that come in pages, to this many entries per page."""
        self._shared.most_per_page = most

    def revoke(self, key: str) -> None:
        """Refuse this key or token from now on, at the APIs that speak OpenAI's dialect."""
        self._shared.revoked.add(key)

    def vary(self) -> None:
        """Answer identical rows of a batch differently, depending on their keys, as a model that samples does."""
        self._shared.varied = True

    def recover(self) -> None:
        """Drop all requested faults, and refuse no further batch."""
        self._shared.faults.clear()
        self._shared.list_faults.clear()
        self._shared.objections.clear()

    def drop_call(self, method: str, part: str, times: float = 1) -> None:
        """Close the connection of the next such calls without acting."""
        self._shared.faults.append(Fault(method, part, times))

    def stall_call(self, method: str, part: str, *, acts: bool = False, times: float = 1) -> None:
        """Never answer the next such calls, whether or not the work is done; the connection stays open."""
        self._shared.faults.append(Fault(method, part, times, acts=acts, stalls=True))

    def cut_reply(self, method: str, part: str, times: float = 1) -> None:
        """Act on the next such calls, and close the connection after half of the answer's body."""
        self._shared.faults.append(Fault(method, part, times, acts=True, cuts=True))

    def change_reply(self, method: str, part: str, change: Callable[[bytes], bytes], times: float = 1) -> None:
        """Act on the next such calls, and answer with the body that `change` makes from the original one."""
        self._shared.faults.append(Fault(method, part, times, acts=True, change=change))
