"""OpenAI's Batch API.

Facts: OpenAI's OpenAPI document 2.3.0, the openai SDK 3.54, and recorded traffic of 2025 and 2026. Input files may be
deleted: `DELETE /files/{file_id}` of that document.
"""

from __future__ import annotations

from batchling.providers.base import Facts, Limits
from batchling.providers.files import FileDialect
from batchling.providers.neutral import OPENAI_DIALECT

OPENAI = FileDialect(
    name="openai",
    roots=tuple(f"https://{region}api.openai.com/v1" for region in ("", "us.", "eu.", "ae.", "au.", "in.", "jp.")),
    endpoints=(
        "/chat/completions",
        "/images/generations",
        "/images/edits",
        "/completions",
        "/moderations",
        "/embeddings",
        "/responses",
        "/videos",
    ),
    # The documented limit is 200 MB; a little is reserved for the form around the file.
    limits=Limits(rows=50_000, bytes=199_000_000, inputs=50_000, creates_per_hour=2_000),
    facts=Facts(
        "OpenAI",
        window="24 h",
        find="metadata",
        retention="30 days",
        variables=("OPENAI_API_KEY",),
        quirks=("expired batches keep their finished rows", "a cancel takes about ten minutes"),
        prices="openai",
        neutral=OPENAI_DIALECT,
        separates=("authorization", "openai-organization", "openai-project"),
        more_headers=(("OPENAI_ORG_ID", "openai-organization"), ("OPENAI_PROJECT_ID", "openai-project")),
    ),
    identity=("authorization", "openai-organization", "openai-project"),
    deletes=True,
)
