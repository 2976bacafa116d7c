"""A provider's flows run one call at a time against the embedded server, without the engine: nothing is repeated."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import uuid4

import httpx

from batchling.core.model import Call, Flow, Item, Job, Request, Response, Site, State, Status, Target
from batchling.environment import registry
from batchling.providers.routes import Routes
from tests.engine.calls import TLS
from tests.providers.provider_cases import ProviderCase

T = TypeVar("T")


class Program:
    """What asks one provider, below its name at a server that has a `url` and `gateways`. `rows` holds the result lines of the last job read."""

    def __init__(self, server: Any, provider_case: ProviderCase) -> None:
        self._url, self._kit = f"{server.url}/{provider_case.name}{provider_case.path}", provider_case
        known = registry.providers(provider_case.providers(server))
        found = Routes(server.gateways, known).match("POST", self._url)
        assert found is not None
        self.provider, self._route = found
        self.rows: list[bytes] = []
        self._tag, self._since = "", 0.0

    def submit(self, texts: Sequence[str]) -> Job:
        requests = [self._asked(text) for text in texts]
        items = [Item(f"key-{number:04}", request) for number, request in enumerate(requests)]
        self._tag, self._since = uuid4().hex, time.time()
        return self._run(self.provider.submit(self._site(requests[0]), items, self._tag))

    def watch(self, job: Job, patience: float = 0.0) -> Status:
        """Poll until the job is over: for twenty times, and for so many seconds."""
        end, polls = time.monotonic() + patience, 0
        while True:
            status = self._run(self.provider.poll(self._site(self._asked("")), job))
            polls += 1
            if status.state is not State.RUNNING or (polls >= 20 and time.monotonic() > end):
                return status
            time.sleep(min(patience, 0.1))

    def read(self, job: Job, status: Status) -> set[str]:
        """The keys in the results of a job."""
        self.rows.clear()
        for _ in range(2):  # xAI shows nothing at first
            self._run(self.provider.fetch(self._site(self._asked("")), job, status))
        return {self.provider.row(line).key for line in self.rows}

    def cancel(self, job: Job) -> None:
        self._run(self.provider.cancel(self._site(self._asked("")), job))

    def find(self) -> Job | None:
        """The last job that was submitted, as if its id were lost."""
        keys = [f"key-{number:04}" for number in range(self._kit.texts)]
        site = self._site(self._asked(""))
        return self._run(self.provider.find(site, self._tag, keys, self._since, frozenset()))

    def ask(self, text: str) -> httpx.Response:
        """In real time."""
        return httpx.post(self._url, json=self._kit.body(text), headers=self._kit.headers("sk-1"), verify=TLS)

    def _asked(self, text: str) -> Request:
        headers = tuple(self._kit.headers("sk-1").items())
        return Request("POST", self._url, headers, json.dumps(self._kit.body(text)).encode())

    def _site(self, request: Request) -> Site:
        target = self.provider.target(self._route, request, json.loads(request.body))
        assert isinstance(target, Target), target
        return self.provider.site(target, self._route, request)

    def _run(self, flow: Flow[T]) -> T:
        with httpx.Client(verify=TLS) as client:
            try:
                call = next(flow)
                while True:
                    call = flow.send(self._send(client, call))
            except StopIteration as end:
                value: T = end.value
                return value

    def _send(self, client: httpx.Client, call: Call) -> Response:
        asked = call.request
        body = b"".join(call.chunks) or asked.body
        answer = client.request(asked.method, asked.url, content=body, headers=list(asked.headers))
        if answer.status_code == 302:
            answer = client.get(answer.headers["location"])
        content = answer.content
        if call.rows or call.unpack is not None:
            assert answer.status_code == 200, answer.text
            unpacked = call.unpack(content) if call.unpack is not None else content
            self.rows += filter(None, unpacked.split(b"\n"))
            content = b"" if call.rows else content
        return Response(answer.status_code, tuple(answer.headers.items()), content)
