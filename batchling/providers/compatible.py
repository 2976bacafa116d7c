"""Providers that speak variants of OpenAI's file dialect, each defined as a value.

Facts: the providers' documentation and SDKs as of November 2026. Only Groq's shapes are known from a recorded batch.
The following is uncertain; in each case we assume what costs least if it is wrong:

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

from batchling.providers.base import Limits
from batchling.providers.compatible_facts import FACTS
from batchling.providers.files import FileDialect

_CHAT = "/chat/completions"
_AUDIO = ("/audio/transcriptions", "/audio/translations")
_ALIBABA = "https://%s.aliyuncs.com/compatible-mode/v1"

_AT_TOGETHER = ("meta-llama/Llama-3.3-70B-Instruct-Turbo", "openai/whisper-large-v3")
"""The models that have cost half in Together's batches since September 2026."""

GROQ = FileDialect(
    name="groq",
    roots=("https://api.groq.com/openai/v1",),
    endpoints=(_CHAT, *_AUDIO),
    limits=Limits(rows=50_000, bytes=199_000_000, cached="lost"),
    facts=FACTS["groq"],
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
    facts=FACTS["together"],
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
    facts=FACTS["doubleword"],
    identity=("authorization", "x-api-key"),
    listing="limit=100&search=%s",
)
DEEPINFRA = FileDialect(
    name="deepinfra",
    roots=("https://api.deepinfra.com/v1/openai",),
    endpoints=(_CHAT, "/completions", "/embeddings"),
    limits=Limits(rows=50_000, bytes=199_000_000, inputs=50_000, in_flight=100, price=0.8),
    facts=FACTS["deepinfra"],
    first_line=0,
    deletes=True,
)
PARASAIL = FileDialect(
    name="parasail",
    roots=("https://api.parasail.io/v1", "https://api.saas.parasail.io/v1"),
    endpoints=(_CHAT, "/embeddings"),
    limits=Limits(rows=50_000, bytes=99_000_000),
    facts=FACTS["parasail"],
    longest=16_384,
    echo=False,
)
NOVITA = FileDialect(
    name="novita",
    roots=("https://api.novita.ai/openai/v1", "https://api.novita.ai/v3/openai"),
    endpoints=(_CHAT, "/completions"),
    elsewhere={"https://api.novita.ai/v3/openai": "https://api.novita.ai/openai/v1"},  # its older form
    limits=Limits(rows=50_000, bytes=99_000_000, window=172_800.0, price=None),
    facts=FACTS["novita"],
    window="24h",
    second_window="48h",
    tag="",
)
SILICONFLOW = FileDialect(
    name="siliconflow",
    roots=("https://api.siliconflow.cn/v1",),
    endpoints=(_CHAT,),
    limits=Limits(rows=5_000, bytes=999_000_000),
    facts=FACTS["siliconflow"],
    last_turn="user",
)
DASHSCOPE = FileDialect(
    name="dashscope",
    roots=tuple(_ALIBABA % at for at in ("dashscope", "dashscope-intl", "*.cn-beijing.maas", "*.ap-southeast-1.maas")),
    endpoints=(_CHAT, "/embeddings"),
    limits=Limits(
        50_000, 499_000_000, row=6_000_000, creates_per_hour=60_000, in_flight=1_000, cached="lost", poll=60.0
    ),
    facts=FACTS["dashscope"],
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
    facts=FACTS["zhipu"],
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
    facts=FACTS["kimi"],
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
    facts=FACTS["perplexity"],
    once="idempotency-key",
    deletes=True,
)
CEREBRAS = FileDialect(
    name="cerebras",
    roots=("https://api.cerebras.ai/v1",),
    endpoints=(_CHAT,),
    limits=Limits(rows=50_000, bytes=199_000_000, row=1_000_000, in_flight=10, least=10),
    facts=FACTS["cerebras"],
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
