"""The hook of botocore, and so of boto3. It reports the calls to Bedrock, which cannot be batched, and lets all calls
through. Without it, the urllib3 hook below would see a connection that is not urllib3's and take it for a mock."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from batchling.hooks.interception import gate_for
from batchling.hooks.patching import Patch
from batchling.system.gate import ourselves

_REASON = "boto3's signed calls cannot be batched"


def patches(httpsession: ModuleType) -> list[Patch]:
    """What to patch in `botocore.httpsession`."""
    library: Any = httpsession

    def send(wrapped: Any, session: Any, args: Any, kwargs: Any) -> Any:
        request = args[0] if args else kwargs.get("request")
        gate = gate_for(request.method, request.url)
        if gate is None:
            return wrapped(*args, **kwargs)
        gate.bypass(request.method, request.url, _REASON)
        token = ourselves.set(True)
        try:
            return wrapped(*args, **kwargs)
        finally:
            ourselves.reset(token)

    return [Patch(library.URLLib3Session, "send", send, vital=False)]
