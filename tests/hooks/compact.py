"""The hook contract as one short program, for fresh interpreters: beside other libraries, and on other versions of ours.

The server that bills runs in the process of the test, which compares the ledger with what this program has asked.
Clients whose library is not installed are left out.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

KEY = "sk-compact"
HEADERS = {"authorization": f"Bearer {KEY}"}
CONTENT = "choices"


@dataclass(frozen=True)
class Place:
    """Where the servers of the test are: the provider's, and one that answers with what it got."""

    openai_url: str
    gateways: dict[str, str]
    echo: str

    @property
    def url(self) -> str:
        return f"{self.openai_url}/chat/completions"


def body(client: str, what: str, *, stream: bool = False) -> dict[str, Any]:
    """The request of one client for one purpose: no two are equal, so the ledger tells them apart."""
    asked = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": f"{client}: {what}"}]}
    return {**asked, "stream": True} if stream else asked


@dataclass(frozen=True)
class Got:
    status: int
    text: str
    kind: str
    """The module of the response's class."""


Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Httpx:
    def __init__(self, name: str) -> None:
        self.library: Any = import_module(name)

    def post(self, url: str, body: Any) -> Got:
        with self.library.Client(headers=HEADERS) as client:
            got = client.post(url, json=body)
            return Got(got.status_code, got.text, type(got).__module__)

    def stream(self, url: str, body: Any) -> str:
        with self.library.Client(headers=HEADERS) as client, client.stream("POST", url, json=body) as got:
            return "".join(got.iter_text())

    def get(self, url: str) -> Got:
        got = self.library.get(url)
        return Got(got.status_code, got.text, type(got).__module__)


class AsyncHttpx(Httpx):
    def __init__(self, name: str, run: Run) -> None:
        super().__init__(name)
        self.run = run

    def post(self, url: str, body: Any) -> Got:
        async def program() -> Got:
            async with self.library.AsyncClient(headers=HEADERS) as client:
                got = await client.post(url, json=body)
                return Got(got.status_code, got.text, type(got).__module__)

        return self.run(program())  # type: ignore[no-any-return]

    def stream(self, url: str, body: Any) -> str:
        async def program() -> str:
            async with self.library.AsyncClient(headers=HEADERS) as client:
                async with client.stream("POST", url, json=body) as got:
                    return "".join([piece async for piece in got.aiter_text()])

        return self.run(program())  # type: ignore[no-any-return]

    def get(self, url: str) -> Got:
        async def program() -> Got:
            async with self.library.AsyncClient() as client:
                got = await client.get(url)
                return Got(got.status_code, got.text, type(got).__module__)

        return self.run(program())  # type: ignore[no-any-return]


class Requests:
    def __init__(self) -> None:
        self.library: Any = import_module("requests")

    def post(self, url: str, body: Any) -> Got:
        got = self.library.post(url, json=body, headers=HEADERS)
        return Got(got.status_code, got.text, type(got).__module__)

    def stream(self, url: str, body: Any) -> str:
        with self.library.post(url, json=body, headers=HEADERS, stream=True) as got:
            return b"".join(got.iter_content(chunk_size=None)).decode()

    def get(self, url: str) -> Got:
        got = self.library.get(url)
        return Got(got.status_code, got.text, type(got).__module__)


class Aiohttp:
    def __init__(self, run: Run) -> None:
        self.library: Any = import_module("aiohttp")
        self.run = run

    def _ask(self, method: str, url: str, **options: Any) -> Got:
        async def program() -> Got:
            async with self.library.ClientSession() as session, session.request(method, url, **options) as got:
                return Got(got.status, await got.text(), type(got).__module__)

        return self.run(program())  # type: ignore[no-any-return]

    def post(self, url: str, body: Any) -> Got:
        return self._ask("POST", url, json=body, headers=HEADERS)

    def stream(self, url: str, body: Any) -> str:
        async def program() -> str:
            async with self.library.ClientSession(headers=HEADERS) as session, session.post(url, json=body) as got:
                return b"".join([piece async for piece in got.content.iter_any()]).decode()

        return self.run(program())  # type: ignore[no-any-return]

    def get(self, url: str) -> Got:
        return self._ask("GET", url)


class OpenAI:
    def __init__(self) -> None:
        self.library: Any = import_module("openai")

    def post(self, url: str, body: Any) -> Got:
        with self.library.OpenAI(base_url=url.removesuffix("/chat/completions"), api_key=KEY) as client:
            got = client.chat.completions.create(**body)
            return Got(200, got.model_dump_json(), type(got).__module__)

    def stream(self, url: str, body: Any) -> str:
        with self.library.OpenAI(base_url=url.removesuffix("/chat/completions"), api_key=KEY) as client:
            return "".join(piece.model_dump_json() for piece in client.chat.completions.create(**body))


class AsyncOpenAI(OpenAI):
    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run

    def post(self, url: str, body: Any) -> Got:
        async def program() -> Got:
            async with self.library.AsyncOpenAI(base_url=url.removesuffix("/chat/completions"), api_key=KEY) as client:
                got = await client.chat.completions.create(**body)
                return Got(200, got.model_dump_json(), type(got).__module__)

        return self.run(program())  # type: ignore[no-any-return]

    def stream(self, url: str, body: Any) -> str:
        async def program() -> str:
            async with self.library.AsyncOpenAI(base_url=url.removesuffix("/chat/completions"), api_key=KEY) as client:
                pieces = await client.chat.completions.create(**body)
                return "".join([piece.model_dump_json() async for piece in pieces])

        return self.run(program())  # type: ignore[no-any-return]


def clients(run: Run | None = asyncio.run, *, sdks: bool = True) -> dict[str, Any]:
    """Every client whose library is installed, which it imports; SDKs take longest. No `run`: only sync ones."""
    made: dict[str, Any] = {}
    for name in ("httpx", "httpx2"):
        if find_spec(name):
            made[f"{name} sync"] = Httpx(name)
            if run is not None:
                made[f"{name} async"] = AsyncHttpx(name, run)
    if run is not None and find_spec("aiohttp"):
        made["aiohttp"] = Aiohttp(run)
    if find_spec("requests"):
        made["requests"] = Requests()
    if sdks and find_spec("openai"):
        made["openai sync"] = OpenAI()
        if run is not None:
            made["openai async"] = AsyncOpenAI(run)
    return made


def scope(place: Place, **options: Any) -> Any:
    """A scope that submits soon and leaves nothing on the disk."""
    from batchling import batchify

    return batchify(
        gateways=place.gateways,
        cache=False,
        batch_window_seconds=0.01,
        batch_poll_interval_seconds=0.01,
        display="off",
        **options,
    )


@dataclass(frozen=True)
class Asked:
    """What the ledger has to hold of a program: the bodies that were to be billed in batches, and in real time."""

    batched: list[dict[str, Any]]
    real_time: list[dict[str, Any]]


class Checks:
    """What was found to be wrong, in words."""

    def __init__(self) -> None:
        self.wrong: list[str] = []

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as fault:
            self.wrong.append(f"{what}: {type(fault).__module__}.{type(fault).__qualname__}: {str(fault)[:300]}")

    def expect(self, what: str, *, true: bool, found: object = None) -> None:
        if not true:
            self.wrong.append(f"{what}: {str(found)[:300]}")


def contract(place: Place, run: Run | None = asyncio.run, *, sdks: bool = True) -> tuple[list[str], Asked]:
    """Every client, batched, streamed and foreign; threads, pools and `to_thread`. What was wrong, and what was asked."""
    checks, asked = Checks(), Asked([], [])
    made = clients(run, sdks=sdks)
    with scope(place) as _, checks.of("the scope"):
        for name, client in made.items():
            _ask_all(checks, asked, place, name, client)
        _ask_in_threads(checks, asked, place, made, run)
    return checks.wrong, asked


def _ask_all(checks: Checks, asked: Asked, place: Place, name: str, client: Any) -> None:
    with checks.of(f"{name}, batched"):
        sent = body(name, "batched")
        asked.batched.append(sent)
        got = client.post(place.url, sent)
        checks.expect(f"{name}, batched: status and body", true=got.status == 200 and CONTENT in got.text, found=got)
        library = name.split(maxsplit=1)[0]
        checks.expect(f"{name}, batched: native type", true=got.kind.split(".")[0] == library, found=got.kind)
    with checks.of(f"{name}, streamed"):
        sent = body(name, "streamed", stream=True)
        asked.real_time.append(sent)
        text = client.stream(place.url, sent)
        checks.expect(f"{name}, streamed: pieces", true=text.count(CONTENT) > 1, found=text)
    if hasattr(client, "get"):
        with checks.of(f"{name}, foreign"):
            got = client.get(f"{place.echo}/other")
            checks.expect(f"{name}, foreign", true=got.status == 200 and "/other" in got.text, found=got)


def _ask_in_threads(checks: Checks, asked: Asked, place: Place, made: dict[str, Any], run: Run | None) -> None:
    hows: dict[str, Callable[[Callable[[], Got]], Got]] = {"pool": _in_pool, "thread": _in_thread}
    if run is not None:
        hows["to_thread"] = lambda work: run(asyncio.to_thread(work))
    for name, (how, start) in zip(("httpx sync", "requests", "httpx sync"), hows.items(), strict=False):
        if name not in made:
            continue
        with checks.of(f"{name}, in a {how}"):
            sent = body(name, f"in a {how}")
            asked.batched.append(sent)
            got = start(lambda name=name, sent=sent: made[name].post(place.url, sent))
            checks.expect(f"{name}, in a {how}", true=got.status == 200 and CONTENT in got.text, found=got)


def _in_pool(work: Callable[[], Got]) -> Got:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(20)


def _in_thread(work: Callable[[], Got]) -> Got:
    done: list[Got] = []
    thread = threading.Thread(target=lambda: done.append(work()))
    thread.start()
    thread.join(20)
    return done[0]
