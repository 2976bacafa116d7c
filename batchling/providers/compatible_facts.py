"""What users want to know about the providers in `compatible.py`.

Facts: the providers' documentation and SDKs as of November 2026; what they leave open is listed as a quirk.
"""

from __future__ import annotations

from collections.abc import Mapping

from batchling.core.neutral import Neutral
from batchling.providers.base import Facts
from batchling.providers.neutral import OPENAI_DIALECT, OPENAI_LABELS

_ZHIPU = Neutral((*OPENAI_LABELS, "request_id", "user_id"), OPENAI_DIALECT.ids)
"""`request_id` tells requests apart, `user_id` end users (zhipuai 2.1)."""

_GUESSED = "limits are not documented: ours are a guess"

FACTS: Mapping[str, Facts] = {
    "groq": Facts(
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
    "together": Facts(
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
    "doubleword": Facts(
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
    "deepinfra": Facts(
        "DeepInfra",
        "24 h",
        "metadata",
        "30 days",
        ("DEEPINFRA_API_KEY", "DEEPINFRA_TOKEN"),
        quirks=("failed rows are free", "a cancel may come too late", "2 GB of files an account"),
        neutral=OPENAI_DIALECT,
    ),
    "parasail": Facts(
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
    "novita": Facts(
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
    "siliconflow": Facts(
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
    "dashscope": Facts(
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
    "zhipu": Facts(
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
    "kimi": Facts(
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
    "perplexity": Facts(
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
    "cerebras": Facts(
        "Cerebras",
        "24 h",
        "metadata",
        "7 days",
        ("CEREBRAS_API_KEY",),
        quirks=("private preview", "fewer than 10 requests go real time"),
        prices="cerebras",
        neutral=OPENAI_DIALECT,
    ),
}
"""By the provider's name."""
