"""The hook of requests: `HTTPAdapter.send`, below redirects, hooks and sessions, also for subclasses that call it.

The session above sets `elapsed`, cookies and response hooks on our answer. Converts and asks; holds no policy.
"""

from __future__ import annotations

from http import HTTPStatus
from http.client import HTTPMessage
from io import BytesIO
from types import ModuleType
from typing import Any

from batchling.core.model import Request, Response
from batchling.hooks.gate import RealTime, decided, gate_for
from batchling.hooks.patching import Patch
from batchling.hooks.waiting import wait


def patches(adapters: ModuleType) -> list[Patch]:
    """What to patch in `requests.adapters`."""
    return [Patch(adapters.HTTPAdapter, "send", _send)]


def to_request(native: Any) -> Request:
    """Ours from a prepared request, whose body is bytes, text or absent."""
    body = native.body or b""
    headers = tuple((_text(name).lower(), _text(value)) for name, value in native.headers.items())
    return Request(native.method.upper(), native.url, headers, body.encode() if isinstance(body, str) else body)


def to_native(adapter: Any, native: Any, response: Response) -> Any:
    """The library's response, built by the adapter as it builds its own."""
    # Imported here: requests, which is loaded when we get here, depends on it.
    from urllib3 import HTTPHeaderDict, HTTPResponse

    raw = HTTPResponse(
        body=BytesIO(response.body),
        headers=HTTPHeaderDict([*response.headers, ("content-length", str(len(response.body)))]),
        status=response.status,
        version=11,
        reason=_reason(response.status),
        preload_content=False,
        decode_content=False,
        original_response=_Original(response),  # type: ignore[arg-type]
    )
    return adapter.build_response(native, raw)


class _Original:
    """What requests and urllib3 read of http.client's response: `msg`, for the cookies, and that it is at its end."""

    def __init__(self, response: Response) -> None:
        self.msg = HTTPMessage()
        for name, value in response.headers:
            self.msg[name] = value

    def isclosed(self) -> bool:
        return True

    def close(self) -> None:
        pass


def _send(wrapped: Any, adapter: Any, args: Any, kwargs: Any) -> Any:
    native = args[0] if args else kwargs["request"]
    gate = gate_for((native.method or "").upper(), native.url or "")
    if gate is None:
        return wrapped(*args, **kwargs)
    future = None
    if isinstance(native.body, bytes | str | None):
        if _text(native.headers.get("content-type", "")).startswith("multipart/"):
            gate.bypass(native.method, native.url, "multipart")
        else:
            future = gate.submit(to_request(native))
    else:
        gate.bypass(native.method, native.url, "streaming upload")
    if future is not None:
        try:
            return to_native(adapter, native, wait(future))
        except RealTime:
            pass
    token = decided.set(True)
    try:
        return wrapped(*args, **kwargs)
    finally:
        decided.reset(token)


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
