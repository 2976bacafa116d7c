"""Other providers' variants of OpenAI's dialect at the embedded server, as strict as their documentation."""

from __future__ import annotations

from collections.abc import Mapping

from batchling.providers.samples import voyage
from batchling.testing import wordings
from batchling.testing.dialect import ORDER, ServerDialect

_CHAT = "/chat/completions"
_AUDIO = ("/audio/transcriptions", "/audio/translations")
_MB = 1_000_000
_PAIR = frozenset({"custom_id", "body"})
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
            needs=_PAIR,
            audio_method="FILE",
            uploads="/files/upload",
            purpose="batch-api",
            needs_name=True,
            created=201,
            row_bytes=10 * _MB,
            file_bytes=100 * _MB,
            trusting=True,
            bare=True,
            order=(ORDER - {"metadata"}) | {"model_id", "priority"},
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
            needs=_PAIR,
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
            order=ORDER | {"replace"},
            needs=_PAIR,
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
            order=ORDER | {"auto_delete_input_file"},
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
            order=ORDER | {"request_params"},
            keyed=_PAIR,
            needs=_PAIR,
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
