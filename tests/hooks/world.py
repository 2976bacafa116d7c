"""A gate that answers at once, and a plain server that says what reached it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from batchling.core.events import Event
from batchling.core.model import Request, Response
from batchling.core.way import Way
from batchling.system.gate import Gate, RealTime, active, open_gates
from batchling.system.pending import Pending

ANSWER = b'{"answer": "\xc3\xa9\xe2\x80\xa8"}'


class RecordingGate:
    """Wants POST calls whose path begins with /v1/answer; lets bodies pass that hold `"stream"`."""

    def __init__(self, answer: bytes = ANSWER) -> None:
        self.answer = answer
        self.outer: Gate | None = None
        self.closed = False
        self.requests: list[Request] = []
        self.bypassed: list[tuple[str, str]] = []
        self.noticed: list[Event] = []
        self.ways: list[Way | None] = []
        self.lets_go = False
        """Whether it lets go of what it has taken."""
        self.status = 200
        self.held: list[Pending[Response]] | None = None
        """Where it puts the calls that it does not answer at once, if it is to hold any."""
        self._holding = threading.Condition()

    def wants(self, method: str, url: str) -> bool:
        return method == "POST" and "/v1/answer" in url

    def reason_against(self, method: str, url: str) -> str | None:
        return None

    def submit(self, request: Request, way: Way | None = None) -> Pending[Response] | None:
        self.requests.append(request)
        self.ways.append(way)
        if b'"stream"' in request.body:
            self.bypass(request.method, request.url, "streaming")
            return None
        future: Pending[Response] = Pending()
        if self.held is not None:
            with self._holding:
                self.held.append(future)
                self._holding.notify_all()
        elif self.lets_go:
            future.set_exception(RealTime())
        else:
            headers = (("content-type", "application/json"), ("x-request-id", "r1"), ("set-cookie", "a=b"))
            future.set_result(Response(self.status, headers, self.answer))
        return future

    def wait_for_held(self, count: int, seconds: float = 20) -> list[Pending[Response]]:
        """The calls that it holds, when there are so many."""
        held = self.held
        assert held is not None
        with self._holding:
            came = self._holding.wait_for(lambda: len(held) >= count, seconds)
        assert came, f"of {count} calls {len(held)} came within {seconds:g} s"
        return held

    def notice(self, event: Event) -> None:
        self.noticed.append(event)

    def bypass(self, method: str, url: str, reason: str) -> None:
        self.bypassed.append((url.rpartition("/")[2], reason))


@contextmanager
def opened(gate: Gate) -> Iterator[None]:
    token = active.set(gate)
    open_gates.add(gate)
    try:
        yield
    finally:
        open_gates.discard(gate)
        active.reset(token)


class _Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        if self.headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path.endswith("/slow"):
            self.server.slow.wait(10)  # type: ignore[attr-defined]
        if self.path.endswith(("/moved", "/to-answer")):
            self.send_response(307)
            self.send_header("location", "/arrived" if self.path.endswith("/moved") else "/v1/answer")
            self.send_header("set-cookie", "seen=1; Path=/")
            self.send_header("content-length", "0")
            self.end_headers()
            return
        said = {
            "path": self.path,
            "body": body.decode("latin-1"),
            "headers": {k.lower(): v for k, v in self.headers.items()},
        }
        answer = json.dumps(said).encode()
        status = 401 if self.path.endswith("/locked") and "authorization" not in said["headers"] else 200
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def echo_server() -> Iterator[tuple[str, threading.Event]]:
    """The URL of a server that answers with what it got, and the event that lets its slow path go on."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    server.daemon_threads = True
    server.slow = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", server.slow  # type: ignore[attr-defined]
    finally:
        server.slow.set()  # type: ignore[attr-defined]
        server.shutdown()
        server.server_close()
        thread.join()
