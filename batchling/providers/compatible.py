"""Providers that speak OpenAI's file dialect with an accent, each a value.

Facts: the providers' documentation and SDKs as of November 2026; what they leave open is said as a quirk. Only Groq's
shapes are known from a recorded batch.
"""

from __future__ import annotations

from batchling.providers.base import Facts, Limits
from batchling.providers.files import FileDialect

_CHAT = "/chat/completions"

GROQ = FileDialect(
    name="groq",
    roots=("https://api.groq.com/openai/v1",),
    endpoints=(_CHAT,),
    limits=Limits(rows=50_000, bytes=199_000_000, cached="lost"),
    facts=Facts("Groq", "24 h", "metadata", "30 days", ("GROQ_API_KEY",), quirks=("needs a paid plan",), prices="groq"),
    listing="",  # cursors only
)
TOGETHER = FileDialect(
    name="together",
    roots=("https://api.together.ai/v1", "https://api.together.xyz/v1", "https://api-inference.together.ai/v1"),
    endpoints=(_CHAT,),
    # Where together 3.1 sends its chats; its files and jobs are at the other host.
    elsewhere={"https://api-inference.together.ai/v1": "https://api.together.ai/v1"},
    limits=Limits(rows=50_000, bytes=99_000_000, row=10_000_000, price=None),
    facts=Facts(
        "Together AI",
        "24 h, best effort",
        "name of the uploaded file",
        "unknown",
        ("TOGETHER_API_KEY",),
        discount="50 % for a few models, none for others",
        prices="together",
    ),
    tag="",
    listing="",  # one bare array
    uploads="/files/upload",
    purpose="batch-api",
)
DOUBLEWORD = FileDialect(
    name="doubleword",
    roots=("https://api.doubleword.ai/v1",),
    endpoints=(_CHAT, "/completions", "/embeddings", "/responses"),
    limits=Limits(rows=50_000, bytes=199_000_000, price=None),
    facts=Facts(
        "Doubleword",
        "24 h, goes on after it",
        "metadata, searched by the server",
        "30 days",
        ("DOUBLEWORD_API_KEY",),
        discount="40 to 75 %, by model",
        quirks=('`replace(DOUBLEWORD, window="1h")` where the account has it', "late rows still come"),
        prices="doubleword",
    ),
    listing="limit=100&search=%s",
)
DEEPINFRA = FileDialect(
    name="deepinfra",
    roots=("https://api.deepinfra.com/v1/openai",),
    endpoints=(_CHAT, "/completions", "/embeddings"),
    limits=Limits(rows=50_000, bytes=199_000_000, inputs=50_000, in_flight=100, price=0.8),
    facts=Facts("DeepInfra", "24 h", "metadata", "30 days", ("DEEPINFRA_API_KEY", "DEEPINFRA_TOKEN")),
    first_line=0,
)
PARASAIL = FileDialect(
    name="parasail",
    roots=("https://api.parasail.io/v1", "https://api.saas.parasail.io/v1"),
    endpoints=(_CHAT, "/embeddings"),
    limits=Limits(rows=50_000, bytes=99_000_000),
    facts=Facts("Parasail", "24 h", "metadata (its echo is unsure)", "unknown", ("PARASAIL_API_KEY",)),
)
NOVITA = FileDialect(
    name="novita",
    roots=("https://api.novita.ai/openai/v1",),
    endpoints=(_CHAT, "/completions"),
    limits=Limits(rows=50_000, bytes=99_000_000, price=None, window=172_800.0),
    facts=Facts(
        "Novita",
        "48 h",
        "name of the uploaded file",
        "30 days",
        ("NOVITA_API_KEY",),
        discount="50 % (unconfirmed)",
        prices="novita",
    ),
    window="48h",
    tag="",
)
SILICONFLOW = FileDialect(
    name="siliconflow",
    roots=("https://api.siliconflow.cn/v1",),
    endpoints=(_CHAT,),
    limits=Limits(rows=5_000, bytes=999_000_000),
    facts=Facts("SiliconFlow", "24 h", "metadata", "30 days", ("SILICONFLOW_API_KEY",), quirks=("a few models only",)),
)
DASHSCOPE = FileDialect(
    name="dashscope",
    roots=tuple(
        f"https://{host}/compatible-mode/v1"
        for host in (
            "dashscope.aliyuncs.com",
            "dashscope-intl.aliyuncs.com",
            "*.cn-beijing.maas.aliyuncs.com",
            "*.ap-southeast-1.maas.aliyuncs.com",
        )
    ),
    endpoints=(_CHAT, "/embeddings"),
    limits=Limits(
        rows=50_000, bytes=499_000_000, row=6_000_000, creates_per_hour=60_000, in_flight=1_000, cached="lost"
    ),
    facts=Facts(
        "Alibaba Model Studio",
        "24 h",
        "metadata, searched by the server",
        "30 days",
        ("DASHSCOPE_API_KEY",),
        quirks=("not with the context cache's discount", "batch.dashscope.aliyuncs.com is left alone"),
    ),
    identity=("authorization", "x-dashscope-workspace"),
    tag="ds_name",
    listing="limit=100&ds_name=%s",
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
        quirks=("not at api.z.ai",),
        prices="zhipuai",
    ),
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
        quirks=("two models at a time", "no sampling parameters in a batch: such calls go real time"),
        prices="moonshotai",
    ),
    absent=("temperature", "top_p", "n", "presence_penalty", "frequency_penalty"),
    models=("kimi-k2.5", "kimi-k2.6", "kimi-k2.7-code"),
)
PERPLEXITY = FileDialect(
    name="perplexity",
    roots=("https://api.perplexity.ai/v1", "https://api.perplexity.ai"),
    endpoints=("/responses",),
    limits=Limits(rows=50_000, bytes=99_000_000, price=None),
    facts=Facts(
        "Perplexity",
        "24 h",
        "metadata; a repeated create is harmless",
        "30 days",
        ("PERPLEXITY_API_KEY", "PPLX_API_KEY"),
        discount="none stated",
        quirks=("the Agent API only, not Sonar",),
        prices="perplexity",
    ),
    once="idempotency-key",
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
