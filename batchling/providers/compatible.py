"""Providers that speak variants of OpenAI's file dialect, each defined as a value.

Facts: the providers' documentation and SDKs as of November 2026; what they leave open is listed as a quirk. Only Groq's
shapes are known from a recorded batch. The following is uncertain; in each case we assume what costs least if it is
wrong:

- Groq names chat completions as the endpoint of every job, even when its rows are audio.
- Parasail may not show a job's metadata; in that case its file is checked. Its size limit is the smallest of three.
- Novita's window is 24h on its newest page and 48h on older ones: when the first is refused, the second is requested.
- Perplexity names no limits, Kimi no number of rows, Zhipu and SiliconFlow their models in several ways: when a job is
  refused because of its model, its calls go real time.
- Doubleword's one-hour window may be gone, and its format of a row's error varies: a missing status counts as 500.
- Together shows no counts, and its first download may fail: it is tried again.

Input files are deleted (`DELETE /files/{id}`) where the provider's page on files or batches documents that call: Groq,
Kimi (which keeps 1,000 files), Model Studio (10,000), DeepInfra (2 GB; a job keeps the ids of deleted files) and
Perplexity. Parasail documents it, too, but there a lost job may be identifiable only by its file. Doubleword and Novita
drop files on their own, after a day and after 15 days; nothing is known about the others.
"""

from __future__ import annotations

from batchling.core.neutral import Neutral
from batchling.providers.base import Facts, Limits
from batchling.providers.files import FileDialect
from batchling.providers.neutral import OPENAI_DIALECT, OPENAI_LABELS

_CHAT = "/chat/completions"
_AUDIO = ("/audio/transcriptions", "/audio/translations")
_ALIBABA = "https://%s.aliyuncs.com/compatible-mode/v1"

_ZHIPU = Neutral((*OPENAI_LABELS, "request_id", "user_id"), OPENAI_DIALECT.ids)
"""`request_id` tells requests apart, `user_id` end users (zhipuai 2.1)."""

_GUESSED = "limits are not documented: ours are a guess"

_AT_TOGETHER = ("meta-llama/Llama-3.3-70B-Instruct-Turbo", "openai/whisper-large-v3")
"""The models that have cost half in Together's batches since September 2026."""

GROQ = FileDialect(
    name="groq",
    roots=("https://api.groq.com/openai/v1",),
    endpoints=(_CHAT, *_AUDIO),
    limits=Limits(rows=50_000, bytes=199_000_000, cached="lost"),
    facts=Facts(
        "Groq",
        "24 h",
        "metadata",
        "30 days",
        ("GROQ_API_KEY",),
        quirks=(
            "needs a paid plan",
            'up to `replace(GROQ, window="7d")`',
            "audio by a `url` in a JSON body only",
            "about 1,000 rows per batch are recommended, so that it does not expire",
            "no cache discount in a batch",
        ),
        prices="groq",
        neutral=OPENAI_DIALECT,
    ),
    order={"endpoint": "/v1/chat/completions"},
    listing="",  # cursors only
    recording=("url", "POST"),
    deletes=True,
)
TOGETHER = FileDialect(
    name="together",
    roots=("https://api.together.ai/v1", "https://api.together.xyz/v1", "https://api-inference.together.ai/v1"),
    endpoints=(_CHAT, *_AUDIO),
    # Where together 3.1 sends its chats; its files and jobs are on the other host.
    elsewhere={"https://api-inference.together.ai/v1": "https://api.together.ai/v1"},
    limits=Limits(rows=50_000, bytes=99_000_000, row=10_000_000, poll=30.0, discounted=_AT_TOGETHER),
    facts=Facts(
        "Together AI",
        "24 h, best effort",
        "name of the uploaded file",
        "unknown",
        ("TOGETHER_API_KEY",),
        discount="50 % off for two models, none for others",
        quirks=(
            "the discount is for Llama-3.3-70B-Instruct-Turbo and whisper-large-v3",
            "audio by the address of a `file` in a JSON body only",
            "failed rows are free",
        ),
        prices="together",
        neutral=OPENAI_DIALECT,
    ),
    tag="",
    listing="",  # one bare array
    uploads="/files/upload",
    purpose="batch-api",
    recording=("file", "FILE"),
)
DOUBLEWORD = FileDialect(
    name="doubleword",
    roots=("https://api.doubleword.ai/v1",),
    endpoints=(_CHAT, "/completions", "/embeddings", "/responses", "/messages"),
    limits=Limits(rows=50_000, bytes=199_000_000, price=None),
    facts=Facts(
        "Doubleword",
        "24 h, continues after that",
        "metadata, searched by the server",
        "24 h for inputs, unknown for results",
        ("DOUBLEWORD_API_KEY",),
        discount="40 to 75 % off, by model",
        quirks=(
            '`replace(DOUBLEWORD, window="1h")` where the account still has it',
            "late rows still arrive",
            "unverified accounts: 1,000 requests an hour",
        ),
        prices="doubleword",
        neutral=OPENAI_DIALECT,
        separates=("authorization", "x-api-key"),
    ),
    identity=("authorization", "x-api-key"),
    listing="limit=100&search=%s",
)
DEEPINFRA = FileDialect(
    name="deepinfra",
    roots=("https://api.deepinfra.com/v1/openai",),
    endpoints=(_CHAT, "/completions", "/embeddings"),
    limits=Limits(rows=50_000, bytes=199_000_000, inputs=50_000, in_flight=100, price=0.8),
    facts=Facts(
        "DeepInfra",
        "24 h",
        "metadata",
        "30 days",
        ("DEEPINFRA_API_KEY", "DEEPINFRA_TOKEN"),
        quirks=("failed rows are free", "a cancel may come too late", "2 GB of files an account"),
        neutral=OPENAI_DIALECT,
    ),
    first_line=0,
    deletes=True,
)
PARASAIL = FileDialect(
    name="parasail",
    roots=("https://api.parasail.io/v1", "https://api.saas.parasail.io/v1"),
    endpoints=(_CHAT, "/embeddings"),
    limits=Limits(rows=50_000, bytes=99_000_000),
    facts=Facts(
        "Parasail",
        "24 h",
        "metadata or, since the list may not show it, name of the uploaded file",
        "unknown",
        ("PARASAIL_API_KEY",),
        quirks=(
            "100 MB to 1 GB a file, depending on the page of its docs",
            "FP16 costs 30 % more",
            "more than 16,384 output tokens go real time; answers without a limit stop at 8,192 in a batch",
        ),
        neutral=OPENAI_DIALECT,
    ),
    longest=16_384,
    echo=False,
)
NOVITA = FileDialect(
    name="novita",
    roots=("https://api.novita.ai/openai/v1", "https://api.novita.ai/v3/openai"),
    endpoints=(_CHAT, "/completions"),
    elsewhere={"https://api.novita.ai/v3/openai": "https://api.novita.ai/openai/v1"},  # its older form
    limits=Limits(rows=50_000, bytes=99_000_000, window=172_800.0, price=None),
    facts=Facts(
        "Novita",
        "24 h; 48 h where that is refused",
        "name of the uploaded file",
        "30 days",
        ("NOVITA_API_KEY",),
        discount="50 % off (unconfirmed)",
        quirks=("only models that are marked as available in batches",),
        prices="novita",
        neutral=OPENAI_DIALECT,
    ),
    window="24h",
    second_window="48h",
    tag="",
)
SILICONFLOW = FileDialect(
    name="siliconflow",
    roots=("https://api.siliconflow.cn/v1",),
    endpoints=(_CHAT,),
    limits=Limits(rows=5_000, bytes=999_000_000),
    facts=Facts(
        "SiliconFlow",
        "24 h",
        "metadata",
        "30 days",
        ("SILICONFLOW_API_KEY",),
        quirks=(
            "a few models only",
            "rows whose last message is not the user's go real time",
            'up to `replace(SILICONFLOW, window="336h")`',
        ),
        neutral=OPENAI_DIALECT,
    ),
    last_turn="user",
)
DASHSCOPE = FileDialect(
    name="dashscope",
    roots=tuple(_ALIBABA % at for at in ("dashscope", "dashscope-intl", "*.cn-beijing.maas", "*.ap-southeast-1.maas")),
    endpoints=(_CHAT, "/embeddings"),
    limits=Limits(
        50_000, 499_000_000, row=6_000_000, creates_per_hour=60_000, in_flight=1_000, cached="lost", poll=60.0
    ),
    facts=Facts(
        "Alibaba Model Studio",
        "24 h",
        "metadata, searched by the server",
        "30 days",
        ("DASHSCOPE_API_KEY",),
        quirks=(
            "Beijing and Singapore only",
            "not with the context cache's discount",
            "at most 256,000 tokens of context",
            'up to `replace(DASHSCOPE, window="336h")`',
            "batch.dashscope.aliyuncs.com is left alone",
        ),
        neutral=OPENAI_DIALECT,
        separates=("authorization", "x-dashscope-workspace"),
    ),
    identity=("authorization", "x-dashscope-workspace"),
    tag="ds_name",
    listing="limit=100&ds_name=%s",
    deletes=True,
)
ZHIPU = FileDialect(
    name="zhipu",
    roots=("https://open.bigmodel.cn/api/paas/v4",),
    endpoints=(_CHAT,),
    limits=Limits(rows=50_000, bytes=99_000_000),
    facts=Facts(
        "Zhipu",
        "24 h",
        "metadata",
        "30 days (unconfirmed)",
        ("ZHIPUAI_API_KEY",),
        quirks=(
            "needs a verified account",
            "the newest models may be refused",
            "calls with signed tokens instead of the key go real time: such tokens last minutes",
            "not at api.z.ai",
        ),
        prices="zhipuai",
        neutral=_ZHIPU,
    ),
    passing_tokens=True,
    prefix="/v4",
    window="",
    order={"auto_delete_input_file": False},
)
KIMI = FileDialect(
    name="kimi",
    roots=("https://api.moonshot.ai/v1", "https://api.moonshot.cn/v1"),
    endpoints=(_CHAT,),
    limits=Limits(rows=50_000, bytes=99_000_000, price=0.6),
    facts=Facts(
        "Moonshot Kimi",
        "24 h",
        "metadata",
        "unknown",
        ("MOONSHOT_API_KEY",),
        quirks=(
            "two models at a time",
            "no sampling parameters in a batch: such calls go real time",
            "the number of rows is not documented: ours is a guess",
            'from `replace(KIMI, window="12h")` to 7d',
        ),
        prices="moonshotai",
        telemetry="moonshot_ai",
        neutral=OPENAI_DIALECT,
    ),
    absent=("temperature", "top_p", "n", "presence_penalty", "frequency_penalty"),
    models=("kimi-k2.5", "kimi-k2.6", "kimi-k2.7-code"),
    deletes=True,
)
PERPLEXITY = FileDialect(
    name="perplexity",
    roots=("https://api.perplexity.ai/v1", "https://api.perplexity.ai"),
    endpoints=("/responses",),
    elsewhere={"https://api.perplexity.ai": "https://api.perplexity.ai/v1"},
    limits=Limits(rows=50_000, bytes=99_000_000, price=None),
    facts=Facts(
        "Perplexity",
        "24 h",
        "metadata; a repeated create is harmless",
        "30 days",
        ("PERPLEXITY_API_KEY", "PPLX_API_KEY"),
        discount="no discount stated",
        quirks=("the Agent API only, not Sonar", "not for zero-retention organisations", _GUESSED),
        prices="perplexity",
        neutral=OPENAI_DIALECT,
    ),
    once="idempotency-key",
    deletes=True,
)
CEREBRAS = FileDialect(
    name="cerebras",
    roots=("https://api.cerebras.ai/v1",),
    endpoints=(_CHAT,),
    limits=Limits(rows=50_000, bytes=199_000_000, row=1_000_000, in_flight=10, least=10),
    facts=Facts(
        "Cerebras",
        "24 h",
        "metadata",
        "7 days",
        ("CEREBRAS_API_KEY",),
        quirks=("private preview", "fewer than 10 requests go real time"),
        prices="cerebras",
        neutral=OPENAI_DIALECT,
    ),
    results="/results",
    cancelling=("DELETE", ""),
)

COMPATIBLE = (
    GROQ,
    TOGETHER,
    DOUBLEWORD,
    DEEPINFRA,
    PARASAIL,
    NOVITA,
    SILICONFLOW,
    DASHSCOPE,
    ZHIPU,
    KIMI,
    PERPLEXITY,
    CEREBRAS,
)
"""All of them."""
