"""Result lines in the format of a provider that a gateway stands before, and should have translated."""

from __future__ import annotations

from batchling.core.lenient import fields, value


def foreign_format(line: bytes) -> str | None:
    """The name of the format of a line without a key that we can read; empty when it has none that we know, None when
    it is no JSON. LiteLLM hands these out untranslated (1.110.2, files/transformation.py of bedrock and vertex_ai)."""
    try:
        names = fields(line).keys()
    except ValueError:
        try:
            value(line)
        except ValueError:
            return None
        return ""
    if "recordId" in names and names & {"modelInput", "modelOutput", "error"}:
        return "Amazon Bedrock's own batch lines"
    if {"request", "response"} <= names or {"instance", "prediction"} <= names or {"request", "status"} <= names:
        return "Vertex AI's own batch lines"
    return ""
