"""Other providers' variants of OpenAI's dialect at the embedded server, as strict as their documentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from batchling.providers.samples import voyage
from batchling.testing import wordings
from batchling.testing.wordings import Words, same

_ORDER = frozenset({"input_file_id", "endpoint", "completion_window", "metadata"})
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
    order: frozenset[str] = _ORDER
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
    order=_ORDER | {"output_expires_after"},
)

_CHAT = "/chat/completions"
_AUDIO = ("/audio/transcriptions", "/audio/translations")
_MB = 1_000_000
_TWO_WEEKS = tuple(f"{hours}h" for hours in range(24, 337))

DIALECTS: Mapping[str, ServerDialect] = {
    dialect.name: dialect
    for dialect in (
        ServerDialect(
            "groq",
            "/openai/v1",
            (_CHAT, *_AUDIO),
            windows=(*(f"{hours}h" for hours in range(24, 169)), "7d"),
            mixed=True,
            cursors=True,
            job=wordings.groq_job,
        ),
        ServerDialect(
            "together",
            "/v1",
            (_CHAT, *_AUDIO),
            windows=(None, "24h"),
            needs=frozenset({"custom_id", "body"}),
            audio_method="FILE",
            uploads="/files/upload",
            purpose="batch-api",
            needs_name=True,
            created=201,
            row_bytes=10 * _MB,
            file_bytes=100 * _MB,
            trusting=True,
            bare=True,
            order=(_ORDER - {"metadata"}) | {"model_id", "priority"},
            complaint=wordings.in_error,
            job=wordings.together_job,
            created_job=wordings.together_created,
            line=wordings.together_line,
        ),
        ServerDialect(
            "doubleword",
            "/v1",
            (_CHAT, "/completions", "/embeddings", "/responses", "/messages"),
            windows=("24h", "1h"),
            uploaded=201,
            created=201,
            mixed=True,
            complaint=wordings.in_words,
            job=wordings.doubleword_job,
            line=wordings.doubleword_line,
        ),
        ServerDialect(
            "deepinfra",
            "/v1/openai",
            (_CHAT, "/completions", "/embeddings"),
            first_line=0,
            complaint=wordings.in_detail,
            job=wordings.deepinfra_job,
            line=wordings.deepinfra_line,
        ),
        ServerDialect(
            "parasail",
            "/v1",
            (_CHAT, "/embeddings"),
            file_bytes=100 * _MB,
            elsewhere=True,
            complaint=wordings.in_words_401,
            job=wordings.parasail_job,
        ),
        ServerDialect(
            "novita",
            "/openai/v1",
            (_CHAT, "/completions"),
            other_bases=("/v3/openai",),
            windows=("48h", "24h"),
            file_bytes=100 * _MB,
            needs=frozenset({"custom_id", "body"}),
            job=wordings.novita_job,
        ),
        ServerDialect(
            "siliconflow",
            "/v1",
            (_CHAT,),
            windows=_TWO_WEEKS,
            most=5_000,
            file_bytes=1_000 * _MB,
            last_turn="user",
            order=_ORDER | {"replace"},
            needs=frozenset({"custom_id", "body"}),
            file=wordings.siliconflow_file,
            job=wordings.siliconflow_job,
        ),
        ServerDialect(
            "dashscope",
            "/compatible-mode/v1",
            (_CHAT, "/embeddings"),
            windows=_TWO_WEEKS + tuple(f"{days}d" for days in range(1, 15)),
            row_bytes=6 * _MB,
            file_bytes=500 * _MB,
        ),
        ServerDialect(
            "zhipu",
            "/api/paas/v4",
            (_CHAT,),
            prefix="/v4",
            windows=(None, "24h"),
            shortest_key=6,
            file_bytes=100 * _MB,
            order=_ORDER | {"auto_delete_input_file"},
            job=wordings.zhipu_job,
            line=wordings.zhipu_line,
        ),
        ServerDialect(
            "kimi",
            "/v1",
            (_CHAT,),
            windows=("12h", "24h", "1d", "3d", "7d"),
            file_bytes=100 * _MB,
            absent=frozenset({"temperature", "top_p", "n", "presence_penalty", "frequency_penalty"}),
            line=wordings.kimi_line,
        ),
        ServerDialect(
            "perplexity",
            "/v1",
            ("/responses",),
            other_bases=("",),
            windows=(None, "24h"),
            once="idempotency-key",
            job=wordings.perplexity_job,
        ),
        ServerDialect(
            "cerebras",
            "/v1",
            (_CHAT,),
            least=10,
            row_bytes=_MB,
            results=True,
            job=wordings.cerebras_job,
            line=wordings.cerebras_line,
        ),
        ServerDialect(
            "voyage",
            "/v1",
            ("/embeddings", "/contextualizedembeddings", "/rerank"),
            windows=("12h",),
            most=100_000,
            file_bytes=1_000 * _MB,
            order=_ORDER | {"request_params"},
            keyed=frozenset({"custom_id", "body"}),
            needs=frozenset({"custom_id", "body"}),
            answer=voyage.answer,
            complaint=wordings.in_detail,
            job=wordings.voyage_job,
            line=wordings.voyage_line,
        ),
        ServerDialect(
            "azure",
            "/openai/v1",
            (_CHAT, "/responses"),
            versioned_base="/openai",
            key_header="api-key",
            renews_tokens=True,
            model_end="-batch",
            pending=True,
            job=wordings.azure_job,
            line=wordings.azure_line,
        ),
    )
}
"""By the provider's name."""
