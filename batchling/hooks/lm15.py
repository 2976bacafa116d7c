"""The hook of lm15, the socket client that dspy 3.4 bundles. It only reports.

lm15 does its own HTTP for the big providers, below every library that we patch. Its calls go real time, and a scope
that would have wanted them reports that.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from batchling.hooks.interception import gate_for
from batchling.hooks.patching import Patch

REASON = 'dspy\'s own sockets: use dspy.LM(..., engine="litellm")'


def patches(transports: ModuleType) -> list[Patch]:
    """What to patch in `lm15.transports`."""
    return [
        Patch(transports.StdlibTransport, "stream", _stream),
        Patch(transports.StdlibAsyncTransport, "stream", _stream),
    ]


def _stream(wrapped: Any, transport: Any, args: Any, kwargs: Any) -> Any:
    request = args[0] if args else kwargs["request"]
    if (gate := gate_for(request.method.upper(), request.url)) is not None:
        gate.bypass(request.method, request.url, REASON)
    return wrapped(*args, **kwargs)
