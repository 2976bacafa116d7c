"""The hook of botocore, and thereby of boto3: it reports the calls to Bedrock, which no batch can carry, and lets all
pass. The hook of urllib3 below it would see a connection that is not urllib3's, and take it for a mock."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from batchling.hooks.gate import gate_for
from batchling.hooks.patching import Patch
from batchling.system.gate import ourselves

_REASON = "boto3's signed calls fit into no batch"


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
