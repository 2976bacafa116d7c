"""What the embedded server's variants of OpenAI's dialect are made of, and OpenAI's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from batchling.testing.wordings import Words, same

ORDER = frozenset({"input_file_id", "endpoint", "completion_window", "metadata"})
_ROW = frozenset({"custom_id", "method", "url", "body"})


@dataclass(frozen=True, slots=True)
class ServerDialect:
    """One provider's variant. `base` is where its API begins, below the path where it is mounted; `endpoints` are the
    real-time paths below that; `prefix` is put before them in a batch."""

    name: str
    base: str
    endpoints: tuple[str, ...]
    other_bases: tuple[str, ...] = ()
    """Further bases at which its real-time calls are answered."""
    versioned_base: str = ""
    """A second base of its calls, which need an `api-version` there; chat calls may name their model in the path."""
    key_header: str = ""
    """A header in which a caller may send its key instead of a bearer token."""
    renews_tokens: bool = False
    """Whether tokens that begin with `ey` change over time; all of them belong to one account."""
    prefix: str = "/v1"
    windows: tuple[str | None, ...] = ("24h",)
    order: frozenset[str] = ORDER
    """The keys that a create call may have."""
    keyed: frozenset[str] = _ROW
    """The keys that a row may have."""
    needs: frozenset[str] = _ROW
    absent: frozenset[str] = frozenset()
    """Body keys that a row may not have."""
    uploads: str = "/files"
    purpose: str = "batch"
    needs_name: bool = False
    """Whether an upload gives its file's name in a separate part."""
    uploaded: int = 200
    """The status of a successful upload."""
    least: int = 1
    most: int = 50_000
    shortest_key: int = 1
    row_bytes: int = 200 * 1024 * 1024
    file_bytes: int = 200 * 1024 * 1024
    model_end: str = ""
    """How the name of a model that serves batches must end."""
    audio_method: str = "POST"
    """The method of rows for audio endpoints."""
    last_turn: str = ""
    """The role that the last message of a row must have."""
    mixed: bool = False
    """Whether rows of several endpoints share a job."""
    once: str = ""
    """The header that makes a repeated create call return the first one's job."""
    trusting: bool = False
    """Whether a create call accepts any file id, and the job then fails."""
    elsewhere: bool = False
    """Whether a file's content is behind a signed link, which accepts no credential."""
    first_line: int = 1
    created: int = 200
    """The status of a successful create call."""
    results: bool = False
    """Whether a job returns its rows itself instead of in files, and DELETE cancels it."""
    bare: bool = False
    """Whether a list is a bare array."""
    cursors: bool = False
    """Whether a list is paged with cursors."""
    pending: bool = False
    """Whether a new file is pending until a client looks at it, and no job accepts it before that."""
    answer: Callable[[str, Words], Words] | None = None
    """Answers a request to an endpoint; None: as OpenAI does."""
    complaint: Callable[[int, Words], Words | str] = lambda _, payload: payload
    """Makes the body of an error response from its status and OpenAI's body."""
    file: Callable[[Words], Words] = same
    job: Callable[[Words], Words] = same
    created_job: Callable[[Words], Words] = same
    line: Callable[[Words], Words] = same


OPENAI = ServerDialect(
    "openai",
    "/v1",
    (
        "/chat/completions",
        "/responses",
        "/embeddings",
        "/completions",
        "/moderations",
        "/images/generations",
        "/images/edits",
        "/videos",
    ),
    order=ORDER | {"output_expires_after"},
)
