"""Paginated lists, in which many jobs are polled at once, and a lost one is looked for: by its tag or, where a provider
stores none, by its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from batchling.core.model import JSON, Call, Flow, Job, Request, State, Status
from batchling.providers.asking import segment
from batchling.providers.base import CLOCK_SLACK, LONGEST_CREATE, MOST_PAGES, Garbled, Unlisted, Unsettled
from batchling.providers.dialect import read_page
from batchling.providers.reading import read_id, read_json, read_moment, read_objects, read_text

T = TypeVar("T")

Page = dict[str, JSON]

_MOST_IN_VAIN = 5
"""The maximum number of pages without any of our jobs that are read to poll them."""
_MOST_BYTES = 50_000
"""A page with more bytes than this for each of our jobs is not worth reading again: it has results in it, or the whole
past of the account."""


def page_size(jobs: Sequence[Job], most: int = 100) -> int:
    """How many jobs to request on a page in which these are looked for, among others that may be newer."""
    return min(max(20, 2 * len(jobs)), most)


def statuses(
    jobs: Sequence[Job],
    request: Callable[[str], Request],
    listed: str,
    read: Callable[[Page, Job], Status | None],
    following: Callable[[Page, list[Page]], str | None],
    name: str = "id",
) -> Flow[Mapping[str, Status]]:
    """The statuses of those of these jobs that a list shows, by id; see `Lists.poll_all`.

    `request` makes the call for a place in the list (empty: its beginning), which is what `following` returns for a
    page and its entries. `read` returns the status of a listed job, None where only a poll of its own can tell. A
    further page is read only as long as that is cheaper than polling the missing jobs one by one.
    """
    missing = {job.id: job for job in jobs}
    found: dict[str, Status] = {}
    place, in_vain = "", 0
    while True:
        response = yield Call(request(place))
        page = read_page(response)
        if len(response.body) > _MOST_BYTES * len(jobs):
            raise Unlisted("its list is too long")
        entries, before = read_objects(page.get(listed)), len(missing)
        for entry in entries:
            if (job := missing.pop(read_text(entry.get(name)) or "", None)) and (status := read(entry, job)):
                found[job.id] = status
        in_vain += len(missing) == before
        if in_vain + 1 >= len(missing) or in_vain >= _MOST_IN_VAIN or not entries:
            return found
        if (later := following(page, entries)) is None or later == place:
            return found
        place = later


def named_statuses(
    jobs: Sequence[Job],
    request: Callable[[str], Request],
    listed: str,
    read: Callable[[Page, Job], Status | None],
) -> Flow[Mapping[str, Status]]:
    """`statuses` of a list in Google's style: jobs have a `name`, and pages a token."""
    return statuses(jobs, request, listed, read, by_token(), "name")


def by_token(following: str = "nextPageToken", place: str = "pageToken") -> Callable[[Page, list[Page]], str | None]:
    """Returns the place after a page, where the page itself has it as a token."""

    def after(page: Page, entries: list[Page]) -> str | None:
        later = read_text(page.get(following))
        return later and f"&{place}={segment(later)}"

    return after


def last_id(page: Page, entries: list[Page]) -> str | None:
    """The place after a page, where it is the id of its last job."""
    return segment(read_id(entries[-1])) if page.get("has_more") else None


def is_new(listed: list[Page], known: set[str]) -> bool:
    """Whether a page contains anything that no earlier page had; if not, the list does not advance (litellm#37150), and
    this counts as its end. Adds the page's ids to `known`."""
    ids = {read_id(each) for each in listed}
    new = ids - known
    known |= ids
    return bool(new) or not ids


def search(
    request: Callable[[str], Request],
    found: Callable[[Page], T | None],
    following: str = "nextPageToken",
    place: str = "pageToken",
) -> Flow[T | None]:
    """The first result of `found` that is not None, page by page; None at the end of the list.

    `request` makes the call for what follows a place, which is `&pageToken=...` or empty. The list is read to its
    end, since few providers document how it is sorted: an overlooked job would be paid for a second time.
    """
    after = ""
    places = {after}
    place_after = by_token(following, place)
    for _ in range(MOST_PAGES):
        page = read_json((yield Call(request(after))))
        if (value := found(page)) is not None:
            return value
        later = place_after(page, [])
        if later is None or later in places:
            return None
        places.add(after := later)
    raise Garbled("a list that never ends")


def find_untagged(
    request: Callable[[str], Request],
    listed: str,
    cursor: str,
    read: Callable[[Page], Status | None],
    is_ours: Callable[[str], Flow[bool]],
    rows: int,
    since: float,
    taken: frozenset[str],
) -> Flow[Job | None]:
    """Find a job without a tag in a list, newest first: by its time, its number of rows and, once ended, its keys.

    `read` returns the status of a listed job, None for one that cannot be ours; `is_ours` checks the results of one
    that has ended. Raises `Unsettled` while one of the running jobs could be ours.
    """
    place, running = "", 0
    known: set[str] = set()
    for _ in range(MOST_PAGES):
        page = read_json((yield Call(request(place))))
        jobs = read_objects(page.get(listed))
        recent = [job for job in jobs if read_moment(job.get("created_at")) >= since - CLOCK_SLACK]
        for job in recent:
            job_id, status = read_id(job), read(job)
            if status is None or job_id in taken or status.total != rows:
                continue
            if read_moment(job.get("created_at")) > since + LONGEST_CREATE + CLOCK_SLACK:
                continue
            if status.state is State.RUNNING:
                running += 1
            elif status.state is State.ENDED and (yield from is_ours(job_id)):
                return Job(job_id)
        if not jobs and page.get("has_more"):
            raise Unlisted("its list has an empty page, with more pages after it")
        if not page.get("has_more") or len(recent) < len(jobs) or not is_new(jobs, known):
            if running:
                raise Unsettled(f"{running} running jobs of {rows} rows could be ours; their results will tell")
            return None
        place = f"&{cursor}={segment(read_id(jobs[-1]))}"
    raise Garbled("a list of jobs that never ends")
