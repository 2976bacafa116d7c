"""How long the engine waits for what, in one value that is handed in.

Belongs to nobody; frozen, and safe in any thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from batchling.core.retry import POLL_SECONDS

REFUSALS = 3
"""How many refusals of calls about one job are worth another try, however much time has passed."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds, all of them."""

    poll: float = POLL_SECONDS
    """Between two looks at a job."""
    before_job: float = 900.0
    """A submission is tried while the provider cannot be reached, or has trouble of its own."""
    limits: float = 86_400.0
    """"Too many requests" is waited out: it is a matter of time, and says nothing about a job."""
    ids: float = 60.0
    """A provider may not know yet what it has just been given, and say so with a 4xx."""
    credential: float = 120.0
    """A fresh credential is waited for: whatever gives it may ask other hosts."""
    listing: float = 120.0
    """A job may be missing from the provider's list and exist all the same: after its create call left or, where its
    reply never came, after the wait for that reply ended."""
    files: float = 60.0
    """A finished job may be without files (seen at OpenAI)."""
    refusals: float = 300.0
    """A refusal of a call about a job that exists may be momentary: gateways, key checks and stores refuse single calls
    (freellmapi#1298). See `REFUSALS`."""
    pages: float = 1_800.0
    """The same for a web page from something in between, which is not JSON."""
    result_file: float = 15.0
    """A provider may have trouble with one file of results; the reader of the results keeps trying."""
    rows: float = 15.0
    """Result files with fewer rows than the provider counted have to stay the same, download after download: a
    connection may have ended early, or a store not show all rows yet."""
    results: float = 600.0
    """Results are then taken as they are, although they change all the time, one of several files with answers cannot
    be read, or nothing in them can; and a list that says nothing is given up."""
    tidying: float = 3.0
    """A scope may stay open for what no caller waits for."""
    grace: float = 93_600.0
    """A job is still asked for after its expiry: OpenAI expired jobs up to 24 hours late."""
    longest_job: float = 2_592_000.0
    """A job is given up whatever expiry it states: thirty days are the longest that is known."""
    follow: float = 1.0
    """Between two looks at a batch that another process drives."""
    room: float = 600.0
    """A submission is tried again although none of the batches that fill the account has ended."""
    disk: float = 60.0
    """A batch that the cache holds is tried to be read."""
    line: float = 0.5
    """Between two looks whether another process has made room for a batch that stands in line."""

    @property
    def first_pause(self) -> float:
        """After a first failure; later pauses double."""
        return min(1.0, self.poll)


USUAL = Patience()
"""What scopes and `batchling.jobs` start from."""
