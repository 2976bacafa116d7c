"""How long the engine waits for what, as one value that is passed to it. Immutable, so safe in any thread."""

from __future__ import annotations

from dataclasses import dataclass

from batchling.core.retry import POLL_SECONDS

REFUSALS = 3
"""How many refusals in a row of calls about one job it takes before the provider is believed, however much time has
passed."""


@dataclass(frozen=True, slots=True)
class Patience:
    """All values are in seconds."""

    poll: float = POLL_SECONDS
    """Between two polls of a job."""
    before_job: float = 900.0
    """How long a submission is retried while the provider cannot be reached, or has problems of its own."""
    limits: float = 86_400.0
    """How much longer calls answered 429 are retried: that passes with time, and says nothing about a job."""
    ids: float = 60.0
    """How long a 4xx is retried that may be momentary: a provider may not know yet what it was just given."""
    credential: float = 120.0
    """How long to wait for a fresh credential: its source may call other hosts."""
    listing: float = 120.0
    """How long a job that exists may be missing from the provider's list, after its create call was sent or, if the
    reply never came, after the wait for that reply ended."""
    unlisted: float = 600.0
    """How long the jobs of an account are polled one by one after a list call that failed."""
    files: float = 60.0
    """How long a finished job may have no files yet (seen at OpenAI)."""
    refusals: float = 300.0
    """How long calls about an existing job may be refused before the provider is believed: gateways, key checks and
    stores refuse single calls (freellmapi#1298). See `REFUSALS`."""
    pages: float = 1_800.0
    """The same if the refusal is a web page instead of JSON: it comes from something in between."""
    result_file: float = 15.0
    """How long one call for results is retried after an error response; the download as a whole is tried again after
    that."""
    rows: float = 15.0
    """How long result files with fewer rows than the provider counts must stay the same, download after download, to be
    taken as they are: a connection may have ended early, or a store may not show all rows yet."""
    results: float = 600.0
    """When to stop waiting for results to become complete: if they keep changing, or one of several files with answers
    cannot be read, they are taken as they are; if nothing in them is ours, the batch is given up. Also how long to wait
    for a list of jobs to become usable."""
    tidying: float = 3.0
    """How long a scope may stay open for what no caller waits for."""
    grace: float = 93_600.0
    """How long a job is still polled after its expiry: OpenAI expired jobs up to 24 hours late."""
    longest_job: float = 2_592_000.0
    """The longest expiry that is believed, counted from a job's submission: thirty days is the longest known."""
    follow: float = 1.0
    """Between two checks of a batch that another process drives."""
    room: float = 600.0
    """How long to wait for one of the batches that fill the account to end, before submitting again anyway."""
    disk: float = 60.0
    """How long reading a batch from the cache is retried."""
    line: float = 0.5
    """Between two checks whether another process has made room for a batch that waits in line."""

    @property
    def first_pause(self) -> float:
        """The pause after a first failure; each further pause is twice as long."""
        return min(1.0, self.poll)


USUAL = Patience()
"""The defaults of scopes and of `batchling.jobs`."""
