"""The neighbours: other libraries that patch HTTP clients, threads, loops or clocks, each as a program would use it.

A neighbour is set up before or after our hooks. `watch` makes the clients' calls without a scope and inside one and
compares what an observer saw; `around` surrounds the contract; `also` is what only this neighbour has.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ClassVar

BATCH_PARTS = ("/files", "/batches")
"""What the URLs of our own calls hold, and no call of the contract."""


class Report:
    """What was wrong, and what the ledger has to hold."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.batched: list[dict[str, Any]] = []
        self.real_time: list[dict[str, Any]] = []

    def expect(self, what: str, *, true: bool, found: object = None) -> None:
        if not true:
            self.wrong.append(f"{what}: {str(found)[:300]}")


class Neighbour:
    """One that needs nothing but to be there."""

    needs: ClassVar[tuple[str, ...]] = ()
    """The modules without which it is not installed."""
    may_be_late = True
    """Whether it can be set up once the HTTP libraries are imported."""

    sdks = False
    """Whether the providers' SDKs are tried too: it looks at them, or at everything."""

    run: Callable[[Any], Any] | None = staticmethod(asyncio.run)
    """What runs a program of asyncio; None where there is none."""

    adds: ClassVar[dict[str, Any]] = {}
    """What it puts into the bodies of some streams."""

    order = "before"
    """Whether it is set up before or after our hooks."""

    def set_up(self) -> None:
        """As programs do at their top."""

    def tear_down(self) -> None:
        """As programs do at their end."""

    def around(self) -> AbstractContextManager[object]:
        """What the contract runs in."""
        return nullcontext()

    def watch(self, place: Any) -> Report:
        """What it has seen of calls without a scope and of the same calls inside one."""
        return Report()

    def also(self, place: Any) -> Report:
        """What only this neighbour has."""
        return Report()

    def own(self) -> list[str]:
        """Which of our own calls it has seen."""
        return []


class Observer(Neighbour):
    """One that sees calls: of a call in a scope it has to see what it sees of the same call without."""

    sdks = True

    def __init__(self) -> None:
        self.ours: list[str] = []

    def seen(self, call: Callable[[], object]) -> list[str]:
        """What it saw during this call."""
        raise NotImplementedError

    def watch(self, place: Any) -> Report:
        from tests.hooks.compact import body, clients, scope

        report = Report()
        for name, client in clients(self.run, sdks=self.sdks).items():
            for what in ("batched", "streamed"):
                sent = body(name, f"watched, {what}", stream=what == "streamed")

                def call(client: Any = client, sent: Any = sent, what: str = what) -> object:
                    return client.stream(place.url, sent) if what == "streamed" else client.post(place.url, sent)

                alone = self._split(self.seen(call))
                with scope(place):
                    beside = self._split(self.seen(call))
                report.expect(f"{name}, {what}, as seen", true=alone == beside, found=f"{alone} became {beside}")
                report.expect(f"{name}, {what}: seen at all", true=bool(alone), found=alone)
                report.real_time.append(sent)
                (report.real_time if what == "streamed" else report.batched).append(sent)
        return report

    def _split(self, seen: list[str]) -> list[str]:
        own = [each for each in seen if any(part in each for part in BATCH_PARTS)]
        self.ours += own
        return sorted(each for each in seen if each not in own)

    def own(self) -> list[str]:
        return self.ours


class Sentry(Observer):
    needs = ("sentry_sdk",)

    def set_up(self) -> None:
        import sentry_sdk

        self.finished: list[Any] = []
        sentry_sdk.init(
            dsn="http://a@127.0.0.1:9/1",
            traces_sample_rate=1.0,
            before_send_transaction=self._keep,
        )

    def _keep(self, event: Any, hint: Any) -> None:
        self.finished.append(event)

    def seen(self, call: Callable[[], object]) -> list[str]:
        import sentry_sdk

        self.finished.clear()
        with sentry_sdk.start_transaction(name="program", op="test"):
            call()
        return [
            f"{span['op']} {span.get('description')} {span.get('status')}"
            for event in self.finished
            for span in event["spans"]
            if span["op"].startswith(("http", "gen_ai"))
        ]


class OpenTelemetry(Observer):
    needs = (
        "opentelemetry.instrumentation.httpx",
        "opentelemetry.instrumentation.requests",
        "opentelemetry.instrumentation.aiohttp_client",
        "opentelemetry.instrumentation.urllib3",
        "opentelemetry.instrumentation.threading",
        "opentelemetry.instrumentation.asyncio",
    )

    def set_up(self) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self.exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        trace.set_tracer_provider(provider)
        self.instrument()

    def instrument(self) -> None:
        from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
        from opentelemetry.instrumentation.asyncio import AsyncioInstrumentor
        from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
        from opentelemetry.instrumentation.requests import RequestsInstrumentor
        from opentelemetry.instrumentation.threading import ThreadingInstrumentor
        from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor

        for kind in (
            HTTPXClientInstrumentor,
            RequestsInstrumentor,
            AioHttpClientInstrumentor,
            URLLib3Instrumentor,
            ThreadingInstrumentor,
            AsyncioInstrumentor,
        ):
            kind().instrument()

    def seen(self, call: Callable[[], object]) -> list[str]:
        self.exporter.clear()
        call()
        return [_span(span) for span in self.exporter.get_finished_spans()]

    def watch(self, place: Any) -> Report:
        report = super().watch(place)
        # httpx2 and the SDKs on it are known to no instrumentor yet.
        report.wrong = [each for each in report.wrong if "seen at all" not in each or "httpx2" not in each]
        report.wrong = [each for each in report.wrong if "seen at all" not in each or "openai" not in each]
        return report


def _span(span: Any) -> str:
    marks = dict(span.attributes or {})
    url = marks.get("http.url") or marks.get("url.full")
    status = marks.get("http.status_code") or marks.get("http.response.status_code")
    return f"{span.kind.name} {span.name} {url} {status} {span.status.status_code.name}"


class Logfire(OpenTelemetry):
    needs = ("logfire",)

    def set_up(self) -> None:
        import logfire
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self.exporter = InMemorySpanExporter()
        logfire.configure(
            send_to_logfire=False,
            console=False,
            additional_span_processors=[SimpleSpanProcessor(self.exporter)],
        )
        logfire.instrument_httpx()
        logfire.instrument_requests()
        logfire.instrument_aiohttp_client()
        logfire.instrument_openai()


class Datadog(Observer):
    needs = ("ddtrace",)
    adds: ClassVar = {"stream_options": {"include_usage": True}}

    def set_up(self) -> None:
        for name in ("DD_INSTRUMENTATION_TELEMETRY_ENABLED", "DD_REMOTE_CONFIGURATION_ENABLED", "DD_LLMOBS_ENABLED"):
            os.environ[name] = "false"
        os.environ["DD_TRACE_AGENT_URL"] = "http://127.0.0.1:9"
        import ddtrace
        from ddtrace.trace import TraceFilter, tracer

        self.spans: list[Any] = []
        found = self.spans

        class Keep(TraceFilter):
            def process_trace(self, trace: Any) -> None:
                found.extend(trace)

        tracer.configure(trace_processors=[Keep()])
        ddtrace.patch_all()

    def seen(self, call: Callable[[], object]) -> list[str]:
        self.spans.clear()
        call()
        return [
            f"{span.name} {span.resource} {span.get_tag('http.url')} {span.get_tag('http.status_code')} {span.error}"
            for span in self.spans
        ]

    def watch(self, place: Any) -> Report:
        report = super().watch(place)
        report.wrong = [each for each in report.wrong if "seen at all" not in each or "httpx2" not in each]
        return report


class NewRelic(Neighbour):
    needs = ("newrelic",)

    def set_up(self) -> None:
        os.environ.update(
            NEW_RELIC_LICENSE_KEY="x" * 40,
            NEW_RELIC_APP_NAME="a",
            NEW_RELIC_DEVELOPER_MODE="true",
            NEW_RELIC_LOG=os.devnull,
            NEW_RELIC_DISTRIBUTED_TRACING_ENABLED="true",
        )
        import newrelic.agent

        newrelic.agent.initialize()
        self.application = newrelic.agent.register_application(timeout=5.0)

    def around(self) -> AbstractContextManager[object]:
        import newrelic.agent

        task: AbstractContextManager[object] = newrelic.agent.BackgroundTask(self.application, name="program")
        return task


class Uvloop(Neighbour):
    needs = ("uvloop",)

    sdks = True

    @staticmethod
    def run(coroutine: Any) -> Any:
        import uvloop

        return uvloop.run(coroutine)


class Gevent(Neighbour):
    """All greenlets of a program, our engine among them, are one thread to asyncio, which runs one loop in it."""

    needs = ("gevent",)
    may_be_late = False
    sdks = True
    run = None

    def set_up(self) -> None:
        from gevent import monkey

        monkey.patch_all()

    def also(self, place: Any) -> Report:
        """A greenlet has no context of who spawned it: it is outside of the scope, and reported, unless it is given one."""
        from contextvars import copy_context

        import gevent

        from tests.hooks.compact import Requests, body, scope

        report = Report()
        ask = Requests().post
        report.batched = [body("gevent", f"greenlet with a context {number}") for number in range(2)]
        report.real_time = [body("gevent", f"greenlet {number}") for number in range(2)]
        opened = scope(place)
        with opened:
            greenlets = [gevent.spawn(copy_context().run, ask, place.url, sent) for sent in report.batched]
            greenlets += [gevent.spawn(ask, place.url, sent) for sent in report.real_time]
            gevent.joinall(greenlets, timeout=20)
        for greenlet in greenlets:
            got = greenlet.value
            report.expect("a greenlet", true=got is not None and got.status == 200, found=greenlet.exception)
        reported = [(each.calls, each.reason) for each in opened.receipt.real_time]
        expected = [(2, "the task or thread started outside the scope")]
        report.expect("what is reported", true=reported == expected, found=reported)
        return report


class Freezegun(Neighbour):
    needs = ("freezegun",)

    def around(self) -> AbstractContextManager[object]:
        from freezegun import freeze_time

        frozen: AbstractContextManager[object] = freeze_time("2031-05-05 12:00:00")
        return frozen


class TimeMachine(Neighbour):
    needs = ("time_machine",)

    def around(self) -> AbstractContextManager[object]:
        import time_machine

        return time_machine.travel("2031-05-05 12:00:00", tick=False)


class Cache(Neighbour):
    """A client that keeps answers: the second of two equal calls is free."""

    def asker(self, folder: Path) -> Callable[[str, Any], int]:
        """What makes a call by a caching client, and gives its status."""
        raise NotImplementedError

    def also(self, place: Any) -> Report:
        from tests.hooks.compact import body, scope

        report = Report()
        sent = body(type(self).__name__, "cached")
        report.batched.append(sent)
        with scope(place, duplicates="sample"):
            ask = self.asker(Path(mkdtemp()))
            answers = [ask(place.url, sent), ask(place.url, sent)]
        report.expect("two equal calls", true=answers == [200, 200], found=answers)
        return report


class CacheControl(Cache):
    needs = ("cachecontrol",)

    def asker(self, folder: Path) -> Callable[[str, Any], int]:
        import cachecontrol
        import requests
        from cachecontrol.heuristics import ExpiresAfter

        from tests.hooks.compact import HEADERS

        session = cachecontrol.CacheControl(
            requests.Session(), cacheable_methods=("GET", "POST"), heuristic=ExpiresAfter(days=1)
        )
        return lambda url, sent: int(session.post(url, json=sent, headers=HEADERS).status_code)


class RequestsCache(Cache):
    needs = ("requests_cache",)

    def asker(self, folder: Path) -> Callable[[str, Any], int]:
        import requests_cache

        from tests.hooks.compact import HEADERS

        session = requests_cache.CachedSession(backend="memory", allowable_methods=("GET", "POST"))
        return lambda url, sent: int(session.post(url, json=sent, headers=HEADERS).status_code)


class AiohttpClientCache(Cache):
    needs = ("aiohttp_client_cache",)

    def asker(self, folder: Path) -> Callable[[str, Any], int]:
        from aiohttp_client_cache import CacheBackend, CachedSession

        from tests.hooks.compact import HEADERS

        kept = CacheBackend(allowed_methods=("GET", "POST"))

        async def program(url: str, sent: Any) -> int:
            async with CachedSession(cache=kept, headers=HEADERS) as session, session.post(url, json=sent) as got:
                await got.read()
                return int(got.status)

        return lambda url, sent: asyncio.run(program(url, sent))


class Hishel(Neighbour):
    needs = ("hishel",)

    def also(self, place: Any) -> Report:
        """Its transport runs above us. It never answers a POST from its cache, with the network neither."""
        import httpx
        from hishel import CacheOptions, SqliteStorage
        from hishel.httpx import CacheTransport

        from tests.hooks.compact import HEADERS, body, scope

        report = Report()
        sent = body("hishel", "not cached")
        report.batched += [sent, sent]
        transport = CacheTransport(
            httpx.HTTPTransport(),
            storage=SqliteStorage(database_path=Path(mkdtemp()) / "kept.db"),
            rfc=CacheOptions(supported_methods=["GET", "POST"], shared=False),
        )
        with scope(place), httpx.Client(transport=transport, headers=HEADERS) as client:
            answers = [client.post(place.url, json=sent) for _ in range(2)]
        marks = [answer.extensions.get("caching") is not None for answer in answers]
        report.expect("its mark on both answers", true=marks == [True, True], found=answers)
        return report


class HttpxRetries(Neighbour):
    needs = ("httpx_retries",)

    def also(self, place: Any) -> Report:
        """A row that failed with 409 is asked again: the test has the server fail it once."""
        import httpx
        from httpx_retries import Retry, RetryTransport

        from tests.hooks.compact import HEADERS, body, scope

        report = Report()
        sent = body("httpx_retries", "flaky")
        report.batched.append(sent)
        retry = Retry(total=2, allowed_methods=["POST"], status_forcelist=[409], backoff_factor=0.01)
        with scope(place), httpx.Client(transport=RetryTransport(retry=retry), headers=HEADERS) as client:
            status = client.post(place.url, json=sent).status_code
        report.expect("a row that fails once", true=status == 200, found=status)
        return report


class Mock(Neighbour):
    """One that answers instead of the network. Inside a scope, in either nesting, its answer has to come, and nothing
    may be submitted."""

    asks: ClassVar[tuple[str, ...]] = ()
    """The clients that it answers."""

    @contextmanager
    def active(self, url: str) -> Iterator[None]:
        """Where it answers a POST to this URL with `{"mocked": true}`."""
        raise NotImplementedError
        yield

    def also(self, place: Any) -> Report:
        from tests.hooks.compact import body, clients, scope

        report = Report()
        made = clients(self.run, sdks=self.sdks)
        for name in self.asks:
            for nesting in ("the mock inside the scope", "the scope inside the mock"):
                with self._nested(scope(place), nesting, place.url):
                    try:
                        got: object = made[name].post(place.url, body(name, f"mocked, {nesting}")).text
                    except Exception as fault:
                        got = repr(fault)
                report.expect(f"{name}, {nesting}", true='"mocked"' in str(got), found=got)
        return report

    @contextmanager
    def _nested(self, scope: Any, nesting: str, url: str) -> Iterator[None]:
        if nesting == "the mock inside the scope":
            with scope, self.active(url):
                yield
        else:
            with self.active(url), scope:
                yield


class Responses(Mock):
    needs = ("responses",)
    asks = ("requests",)

    @contextmanager
    def active(self, url: str) -> Iterator[None]:
        import responses

        with responses.RequestsMock() as mock:
            mock.post(url, json={"mocked": True})
            yield


class RequestsMock(Mock):
    needs = ("requests_mock",)
    asks = ("requests",)

    @contextmanager
    def active(self, url: str) -> Iterator[None]:
        import requests_mock

        with requests_mock.Mocker() as mock:
            mock.post(url, json={"mocked": True})
            yield


class Respx(Mock):
    needs = ("respx",)
    asks = ("httpx sync", "httpx async")

    @contextmanager
    def active(self, url: str) -> Iterator[None]:
        import httpx
        import respx

        with respx.mock(using=self.using) as mock:
            mock.post(url).mock(return_value=httpx.Response(200, json={"mocked": True}))
            yield

    using = "httpcore"


class RespxOnHttpx(Respx):
    using = "httpx"


class PytestHttpx(Mock):
    needs = ("pytest_httpx",)
    asks = ("httpx sync", "httpx async")

    @contextmanager
    def active(self, url: str) -> Iterator[None]:
        import pytest
        import pytest_httpx

        class Test:
            """As much of a test as the fixture looks at."""

            @staticmethod
            def iter_markers(_: str) -> Iterator[Any]:
                return iter(())

        class Requested:
            node = Test

        fixture = (
            getattr(pytest_httpx.httpx_mock, "__wrapped__", None) or pytest_httpx.httpx_mock._get_wrapped_function()
        )
        with pytest.MonkeyPatch.context() as patching:
            making = fixture(patching, Requested)
            mock = next(making)
            mock.add_response(url=url, json={"mocked": True})
            yield
            for _ in making:
                pass


class Pook(Mock):
    needs = ("pook",)
    # With aiohttp 3.14 pook 2.1.6 cannot make its answer, without a scope either.
    asks = ("httpx sync", "httpx async", "requests")

    @contextmanager
    def active(self, url: str) -> Iterator[None]:
        import pook

        with pook.use():
            pook.post(url).reply(200).json({"mocked": True})
            yield


class Vcr(Mock):
    """It records, then replays: in both the program's own calls, and none of ours. Imported before our hooks are in
    place, it knows the network without us: what it records is asked in real time, and reported."""

    needs = ("vcr",)
    asks = ("httpx sync", "httpx async", "httpx2 sync", "requests", "aiohttp")

    def set_up(self) -> None:
        import vcr

        vcr.VCR()

    def also(self, place: Any) -> Report:
        import vcr

        from tests.hooks.compact import CONTENT, body, clients, scope

        report = Report()
        made = clients(self.run, sdks=self.sdks)
        for name in self.asks:
            for nesting in ("cassette inside", "cassette outside"):
                folder = mkdtemp()
                sent = body(name, f"recorded, {nesting}")
                for phase in ("record", "replay"):
                    recorder = vcr.VCR(record_mode="once" if phase == "record" else "none")
                    cassette = recorder.use_cassette(f"{folder}/calls.yaml")
                    opened = scope(place)
                    with self._both(opened, cassette, nesting) as tape:
                        try:
                            got: object = made[name].post(place.url, sent).text
                        except Exception as fault:
                            got = repr(fault)
                        paths = [f"{each.method} {each.path}" for each in tape.requests]
                    what = f"{name}, {nesting}, {phase}"
                    report.expect(what, true=CONTENT in str(got), found=got)
                    report.expect(f"{what}: the cassette", true=paths == ["POST " + PATH], found=paths)
                    reported = sum(each.calls for each in opened.receipt.real_time)
                    alone = self.order == "before" or name.startswith(("requests",))
                    silent = not alone or phase == "replay"
                    report.expect(f"{what}: reported", true=silent or reported == 1, found=opened.receipt.real_time)
                (report.real_time if alone else report.batched).append(sent)
        return report

    @contextmanager
    def _both(self, scope: Any, cassette: Any, nesting: str) -> Iterator[Any]:
        if nesting == "cassette inside":
            with scope, cassette as tape:
                yield tape
        else:
            with cassette as tape, scope:
                yield tape


PATH = "/openai/v1/chat/completions"

NEIGHBOURS: dict[str, type[Neighbour]] = {
    "sentry-sdk": Sentry,
    "opentelemetry": OpenTelemetry,
    "logfire": Logfire,
    "ddtrace": Datadog,
    "newrelic": NewRelic,
    "uvloop": Uvloop,
    "gevent": Gevent,
    "freezegun": Freezegun,
    "time-machine": TimeMachine,
    "CacheControl": CacheControl,
    "requests-cache": RequestsCache,
    "aiohttp-client-cache": AiohttpClientCache,
    "hishel": Hishel,
    "httpx-retries": HttpxRetries,
    "responses": Responses,
    "requests-mock": RequestsMock,
    "respx": Respx,
    "respx (using httpx)": RespxOnHttpx,
    "pytest-httpx": PytestHttpx,
    "pook": Pook,
    "VCR.py": Vcr,
}
