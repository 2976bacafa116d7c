"""Six ways of making the same call, behind one face: the library's own response, reduced to what tests compare."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import aiohttp
import httpx
import httpx2
import requests


@dataclass
class Got:
    status: int
    body: bytes
    json: Any
    headers: dict[str, str]
    native: Any
    error: BaseException | None


def _error(check: Callable[[], object]) -> BaseException | None:
    try:
        check()
    except Exception as fault:
        return fault
    return None


def _of_httpx(response: Any) -> Got:
    fault = _error(response.raise_for_status)
    return Got(response.status_code, response.content, response.json(), dict(response.headers), response, fault)


def sync_httpx(library: ModuleType) -> Callable[..., Got]:
    def post(url: str, *, timeout: float = 5, headers: dict[str, str] | None = None, **body: Any) -> Got:
        with library.Client(timeout=timeout, headers={"x-default": "d"}) as client:
            return _of_httpx(client.post(url, headers=headers, **body))

    return post


def async_httpx(library: ModuleType) -> Callable[..., Got]:
    def post(url: str, *, timeout: float = 5, headers: dict[str, str] | None = None, **body: Any) -> Got:
        async def program() -> Got:
            async with library.AsyncClient(timeout=timeout, headers={"x-default": "d"}) as client:
                if hasattr(body.get("content"), "__next__"):
                    body["content"] = _async_pieces(body["content"])
                return _of_httpx(await client.post(url, headers=headers, **body))

        return asyncio.run(program())

    return post


async def _async_pieces(pieces: Any) -> Any:
    for piece in pieces:
        yield piece


def post_requests(url: str, *, timeout: float = 5, headers: dict[str, str] | None = None, **body: Any) -> Got:
    if "content" in body:
        body["data"] = body.pop("content")
    with requests.Session() as session:
        session.headers["x-default"] = "d"
        response = session.post(url, timeout=timeout, headers=headers, **body)
        fault = _error(response.raise_for_status)
        return Got(response.status_code, response.content, response.json(), dict(response.headers), response, fault)


def post_aiohttp(url: str, *, timeout: float = 5, headers: dict[str, str] | None = None, **body: Any) -> Got:
    async def program() -> Got:
        if "content" in body:
            content = body.pop("content")
            body["data"] = _async_pieces(content) if hasattr(content, "__next__") else content
        if "files" in body:
            form = aiohttp.FormData()
            for name, content in body.pop("files").items():
                form.add_field(name, content, filename="f")
            body["data"] = form
        limit = aiohttp.ClientTimeout(total=timeout)
        async with aiohttp.ClientSession(timeout=limit, headers={"x-default": "d"}) as session:
            async with session.post(url, headers=headers, **body) as response:
                raw = await response.read()
                fault = _error(response.raise_for_status)
                decoded = await response.json()
                return Got(response.status, raw, decoded, dict(response.headers), response, fault)

    return asyncio.run(program())


CLIENTS = {
    "httpx sync": sync_httpx(httpx),
    "httpx async": async_httpx(httpx),
    "httpx2 sync": sync_httpx(httpx2),
    "httpx2 async": async_httpx(httpx2),
    "requests": post_requests,
    "aiohttp": post_aiohttp,
}


def timed(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started
