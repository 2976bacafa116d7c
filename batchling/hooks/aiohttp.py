"""The hook of aiohttp: `ClientSession._request`, to add an innermost client middleware.

There the request is final: session headers, base URL, parameters, cookies and JSON are merged, and the user's own
middlewares have run. aiohttp's total timeout runs around middlewares, so it is lifted for a request that a scope
may take; one that the scope then lets pass starts again from the beginning, exactly as it came. Converts and asks;
holds no policy.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from http.cookies import SimpleCookie
from types import ModuleType
from typing import Any

from batchling.core.model import Request, Response
from batchling.hooks.gate import Gate, RealTime, decided, gate_for
from batchling.hooks.patching import Patch
from batchling.hooks.waiting import wait_async


class _LetPass(BaseException):
    """Carries a gate's no from our middleware out to our wrapper, past the user's middlewares."""


def patches(aiohttp: ModuleType) -> list[Patch]:
    """What to patch in aiohttp."""
    answer_class = _answer_class(aiohttp)

    async def request(wrapped: Any, session: Any, args: Any, kwargs: Any) -> Any:
        method, url = _method_and_url(session, *args, **kwargs)
        gate = gate_for(method, url)
        if gate is None:
            return await wrapped(*args, **kwargs)
        data = kwargs.get("data")
        if data is None or isinstance(data, bytes | bytearray | str):
            try:
                return await wrapped(*args, **_taken(aiohttp, session, kwargs, gate, answer_class))
            except _LetPass:
                pass
        else:
            reason = "multipart" if isinstance(data, aiohttp.FormData) else "streaming upload"
            gate.bypass(method, url, reason)
        token = decided.set(True)
        try:
            return await wrapped(*args, **kwargs)
        finally:
            decided.reset(token)

    return [Patch(aiohttp.ClientSession, "_request", request)]


def to_request(native: Any, body: bytes) -> Request:
    """Ours from a finished ClientRequest and its body."""
    headers = tuple((name.lower(), value) for name, value in native.headers.items())
    return Request(native.method.upper(), str(native.url), headers, body)


def to_native(answer_class: type, native: Any, response: Response) -> Any:
    """The library's response to a ClientRequest."""
    return answer_class(native, response)


def _method_and_url(session: Any, method: str, str_or_url: Any, **_: Any) -> tuple[str, str]:
    return method.upper(), str(session._build_url(str_or_url))


def _taken(aiohttp: Any, session: Any, kwargs: dict[str, Any], gate: Gate, answer_class: type) -> dict[str, Any]:
    """The arguments of a request that a scope may take: our middleware innermost, no limit on the total time."""

    async def ask(native: Any, _pass_on: Any) -> Any:
        body = native.body
        # BytesPayload and its children hold their bytes in `_value`; before 3.13 plain bytes were kept as such.
        held = body if isinstance(body, bytes) else getattr(body, "_value", None)
        future = None
        if isinstance(held, bytes | bytearray) and "content-encoding" not in native.headers:
            future = gate.submit(to_request(native, bytes(held)))
        else:
            gate.bypass(native.method, str(native.url), "body cannot be read")
        if future is None:
            raise _LetPass
        try:
            return to_native(answer_class, native, await wait_async(future))
        except RealTime:
            raise _LetPass from None

    middlewares = kwargs.get("middlewares")
    if middlewares is None:
        middlewares = session._middlewares
    timeout = aiohttp.ClientTimeout(total=None)
    return {**kwargs, "middlewares": (*middlewares, ask), "timeout": timeout}


def _answer_class(aiohttp: Any) -> type:
    """A ClientResponse that never had a connection.

    Its constructor is passed over: aiohttp's takes private arguments that change between versions (3.12 to 3.14
    differ). What the methods of the class read is set here.
    """
    from aiohttp.base_protocol import BaseProtocol
    from aiohttp.helpers import TimerNoop
    from aiohttp.http import HttpVersion11
    from multidict import CIMultiDict, CIMultiDictProxy

    class Answer(aiohttp.ClientResponse):  # type: ignore[misc]
        def __init__(self, native: Any, response: Response) -> None:
            loop = asyncio.get_running_loop()
            headers = CIMultiDict((*response.headers, ("content-length", str(len(response.body)))))
            self.method = native.method
            self.version = HttpVersion11
            self.status = response.status
            self.reason = _reason(response.status)
            self._real_url = native.url
            self._url = native.url.with_fragment(None)
            self._request_info = native.request_info
            self._headers = CIMultiDictProxy(headers)
            self._raw_headers = tuple((name.encode(), value.encode()) for name, value in headers.items())
            set_cookies = [value for name, value in response.headers if name == "set-cookie"]
            self._raw_cookie_headers = tuple(set_cookies) or None
            self._cookies = SimpleCookie("; ".join(set_cookies))
            self._timer = TimerNoop()
            self._cache: dict[str, Any] = {}
            self._traces: list[Any] = []
            self._loop = loop
            self._session = native.session
            self._resolve_charset = native.session._resolve_charset
            self._connection = None
            self._closed = True
            self.content = aiohttp.StreamReader(BaseProtocol(loop), 2**16, loop=loop)
            self.content.feed_data(response.body)
            self.content.feed_eof()

    return Answer


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
