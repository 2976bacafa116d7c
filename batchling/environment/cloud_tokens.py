"""Fresh credentials from the clouds' own libraries, for accounts whose tokens expire while a job is running.

Both functions block, and raise whatever the library raises, or `ImportError` if it is not installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module

from batchling.core.model import Headers

_GOOGLE = ("google.auth", "google.auth.transport.requests")
_ENTRA = ("azure.identity",)


def load(renew: Callable[[], Headers]) -> None:
    """Import the library that this function uses, if it is one of ours and the library is installed. Called in a
    caller's thread, since later the function runs in one of the engine's threads. What the library itself imports late
    is still imported late."""
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
"""The functions by the name of the cloud, as given in a provider's facts."""
