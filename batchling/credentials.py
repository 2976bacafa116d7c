"""Fresh credentials from the clouds' own libraries, for accounts whose tokens run out while a job runs.

Both functions block, and raise whatever the library raises; `ImportError` when it is not installed.
"""

from __future__ import annotations

from importlib import import_module

from batchling.core.model import Headers


def google() -> Headers:
    """An access token of the application default credentials (google-auth)."""
    scope = "https://www.googleapis.com/auth/cloud-platform"
    credentials, _ = import_module("google.auth").default(scopes=[scope])
    credentials.refresh(import_module("google.auth.transport.requests").Request())
    return (("authorization", f"Bearer {credentials.token}"),)


def entra() -> Headers:
    """An Entra token for Azure OpenAI (azure-identity)."""
    credential = import_module("azure.identity").DefaultAzureCredential()
    token = credential.get_token("https://cognitiveservices.azure.com/.default").token
    return (("authorization", f"Bearer {token}"),)
