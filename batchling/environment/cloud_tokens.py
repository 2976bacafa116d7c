"""Fresh credentials from the clouds' own libraries, for accounts whose tokens run out while a job runs.

Both functions block, and raise whatever the library raises; `ImportError` when it is not installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module

from batchling.core.model import Headers

_GOOGLE = ("google.auth", "google.auth.transport.requests")
_ENTRA = ("azure.identity",)


def load(renew: Callable[[], Headers]) -> None:
    """Import the library that this function asks, if it is one of ours and its library is installed: in the thread of a
    caller, since later it is a thread of the engine that asks. What the library itself imports late stays so."""
    for name in {google: _GOOGLE, entra: _ENTRA}.get(renew, ()):
        with suppress(ImportError):
            import_module(name)


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


SOURCES: Mapping[str, Callable[[], Headers]] = {"google": google, "microsoft": entra}
"""By the name of the cloud, as a provider's facts have it."""
