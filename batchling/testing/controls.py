"""The controls with which a test makes the embedded server misbehave."""

from __future__ import annotations

from collections.abc import Callable

from batchling.core.model import JSON
from batchling.testing.world import Fault, Predicate, RowFault, World


class Controls:
    """What `ProviderServer` can be told. Every control may be used from any thread."""

    _world: World

    def hold(self) -> None:
        """Keep every job running until `release`."""
        self._world.held = True

    def release(self) -> None:
        """Let jobs end again."""
        self._world.held = False

    def fail_rows(self, predicate: Predicate, status: int, error: JSON, times: float = float("inf")) -> None:
        """Answer requests whose JSON body the predicate picks with this status and error body, in batches and in
        real time."""
        self._world.row_faults.append(RowFault(predicate, status, error, times))

    def fail_job(self, code: str, message: str, line: int | None = None, param: str | None = None) -> None:
        """Fail the next OpenAI job in its validation; `line` is the 1-based row that is to blame."""
        self._world.job_faults.append({"code": code, "message": message, "param": param, "line": line})

    def expire_job(self, done: float = 0.5) -> None:
        """Expire the next job that ends, after this share of its rows."""
        self._world.endings.append(("expired", done))

    def cancel_job(self, done: float = 0.5) -> None:
        """Cancel the next job that ends, as its owner could at the provider's site, after this share of its rows."""
        self._world.endings.append(("cancelled", done))

    def limit_queue(self, rows: float) -> None:
        """Refuse OpenAI jobs with which more rows of a model than this would be under way, with
        `token_limit_exceeded`: after their creation, as OpenAI does."""
        self._world.most_rows_enqueued = rows

    def fail_call(
        self,
        method: str,
        part: str,
        status: int,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        times: int = 1,
    ) -> None:
        """Answer the next calls of a method ("*": any) whose path holds `part` with this, without acting."""
        self._world.faults.append(Fault(method, part, times, status, body, headers or {}))

    def lose_reply(self, method: str, part: str, status: int = 0, times: int = 1) -> None:
        """Act on the next such calls, then close the connection without an answer, or answer with an error
        status as a gateway in between would."""
        self._world.faults.append(Fault(method, part, times, status, acts=True))

    def lose_created(self, status: int, *, acts: bool = True) -> None:
        """Let the next call that creates a job, of whatever provider, lose its reply as `lose_reply` does; or, if it
        is not to act, answer it with this status."""
        self._world.faults.append(Fault("*", "", 1, status, acts=acts, creates=True))

    def show_per_page(self, most: int) -> None:
        """Let lists of jobs, and results that come in pages, have no more than this on a page."""
        self._world.most_per_page = most

    def revoke(self, key: str) -> None:
        """Refuse this key or token from now on, at the APIs that speak OpenAI's dialect."""
        self._world.revoked.add(key)

    def vary(self) -> None:
        """Answer identical rows of a batch differently, as a model that samples does: each by its key."""
        self._world.varied = True

    def recover(self) -> None:
        """Let no further call suffer what was asked for."""
        self._world.faults.clear()

    def drop_call(self, method: str, part: str, times: int = 1) -> None:
        """Close the connection of the next such calls without acting."""
        self._world.faults.append(Fault(method, part, times))

    def stall_call(self, method: str, part: str, *, acts: bool = False, times: int = 1) -> None:
        """Never answer the next such calls, with the work done or not; the connection stays open."""
        self._world.faults.append(Fault(method, part, times, acts=acts, stalls=True))

    def cut_reply(self, method: str, part: str, times: int = 1) -> None:
        """Act on the next such calls, and end the connection after half of the answer's body."""
        self._world.faults.append(Fault(method, part, times, acts=True, cuts=True))

    def change_reply(self, method: str, part: str, change: Callable[[bytes], bytes], times: int = 1) -> None:
        """Act on the next such calls, and answer with what `change` makes of the answer's body."""
        self._world.faults.append(Fault(method, part, times, acts=True, change=change))
