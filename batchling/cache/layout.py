"""Where everything in a cache folder is: the names that we generate, and no others.

    CACHEDIR.TAG, secret       whose the folder is, and what seals its records (see `folder`)
    index.lock                 held for short sections only, never during network calls
    index.spare.lock           replaces it while a suspended process holds it
    batches/<id>.json          the record of one batch, sealed
    batches/<id>.lock          held by the process that drives the batch, as long as that process lives
    changes                    the batches whose records were changed of late (see `changes`)
    results/<id>.jsonl         the provider's result lines, once downloaded
    notes/<id>.note            the status of its job as the provider last reported it
    programs/<digest>.json     the requests of a program's last run, as digests (see `footprints`)

A file that is being written ends in `.<8 hex digits>.tmp`, one that was set aside in `.damaged`. Records are written in
the folder itself, so that the time of `batches` changes when a record does, and at no other time.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path

MARK = "CACHEDIR.TAG"
SECRET = "secret"  # noqa: S105  # its file name
CHANGES = "changes"
LOCK = "index.lock"
SPARE_LOCK = "index.spare.lock"
BATCHES = "batches"
RESULTS = "results"
NOTES = "notes"
PROGRAMS = "programs"

ID = re.compile(r"[0-9a-f]{24}")
"""A batch's id."""
TEMPORARY = re.compile(r".+\.[0-9a-f]{8}\.tmp")
TOP = re.compile(
    r"(CACHEDIR\.TAG|secret|changes)(\.[0-9a-f]{8}\.tmp)?|index(\.spare)?\.lock|[0-9a-f]{24}\.json\.[0-9a-f]{8}\.tmp"
)
"""The names that we generate in the folder itself."""
BELOW = {
    BATCHES: re.compile(r"[0-9a-f]{24}\.(lock|(json|note)(\.[0-9a-f]{8}\.tmp)?|json(\.[0-9a-f]{8})?\.damaged)"),
    RESULTS: re.compile(r"[0-9a-f]{24}\.jsonl(\.[0-9a-f]{8}\.tmp|\.damaged)?"),
    NOTES: re.compile(r"[0-9a-f]{24}\.note(\.[0-9a-f]{8}\.tmp)?"),
    PROGRAMS: re.compile(r"[0-9a-f]{32}\.json(\.[0-9a-f]{8}\.tmp)?"),
}
"""The names that we generate in each folder inside it. Older versions wrote notes in `batches`."""

LEFT_BEHIND = 3_600.0
"""Seconds after which a temporary file, or a lock without a record, is assumed to be from a process that was killed."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below a cache folder. A path made from an id raises `ValueError` for what is not one."""

    folder: Path

    @property
    def batches(self) -> Path:
        return self.folder / BATCHES

    @property
    def results(self) -> Path:
        return self.folder / RESULTS

    @property
    def programs(self) -> Path:
        return self.folder / PROGRAMS

    @property
    def changes(self) -> Path:
        return self.folder / CHANGES

    def record(self, batch_id: str) -> Path:
        return self.batches / f"{checked(batch_id)}.json"

    def new_record(self, batch_id: str) -> Path:
        """The name, without the ending of a temporary file, under which a record is written."""
        return self.folder / f"{checked(batch_id)}.json"

    def lock(self, batch_id: str) -> Path:
        return self.batches / f"{checked(batch_id)}.lock"

    def note(self, batch_id: str) -> Path:
        return self.folder / NOTES / f"{checked(batch_id)}.note"

    def rows(self, batch_id: str) -> Path:
        return self.results / f"{checked(batch_id)}.jsonl"

    def requests(self, digest: str) -> Path:
        return self.programs / f"{digest}.json"


def checked(batch_id: str) -> str:
    """The id itself if it is valid as part of a file name. Raises `ValueError` for anything else."""
    if not ID.fullmatch(batch_id):
        raise ValueError(f"not a batch id: {batch_id!r}")
    return batch_id


def temporary(path: Path) -> Path:
    """A fresh name beside a file, for its next content while that is being written."""
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")


def set_aside(path: Path, *, again: bool = False) -> Path:
    """The name of a damaged file; `again` for one of a name that has been set aside before."""
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}.damaged" if again else f"{path.name}.damaged")
