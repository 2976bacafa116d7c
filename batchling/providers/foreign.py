"""Result lines in the format of a provider behind a gateway, which the gateway should have translated."""

from __future__ import annotations

from batchling.core.lenient import fields, value


def foreign_format(line: bytes) -> str | None:
    """The name of the format of a line without a readable key; empty when the format is unknown, None when the line is
    not JSON. LiteLLM returns these untranslated (1.110.2, files/transformation.py of bedrock and vertex_ai)."""
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
