"""A link that opens results to everybody who has it is shown nowhere."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import httpx
import pytest

from batchling.core.model import Call, Request
from batchling.engine.sender import NetworkFault, Sender
from tests.security.servers import Quiet, serving

SIGNATURE = "X-Amz-Signature=SIGNATURE-SECRET"


class Handler(Quiet):
    def do_GET(self) -> None:
        moved = self.path == "/moved"
        self.send_response(307 if moved else 200)
        for name in ("Location", "X-Goog-Upload-URL"):
            self.send_header(name, f"/there?{SIGNATURE}" if "cut" not in self.path else "/cut")
        self.send_header("Content-Length", "0" if moved else "99" if "cut" in self.path else "2")
        self.end_headers()
        if not moved:
            self.wfile.write(b"{}")
            self.close_connection = "kept" not in self.path


@pytest.fixture
def url() -> Iterator[str]:
    with serving(Handler) as url:
        yield url.rstrip("/")


async def ask(*urls: str) -> list[str]:
    sender = Sender()
    told = []
    for url in urls:
        try:
            told.append(repr(await sender.send(Call(Request("GET", url)))))
        except NetworkFault as fault:
            told.append(repr(fault))
    await sender.close()
    return told


def test_no_log_has_it_and_no_error(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        told = asyncio.run(
            ask(f"{url}/moved", f"{url}/cut?{SIGNATURE}", f"http://127.0.0.1:9/x?{SIGNATURE}", f"http://[?{SIGNATURE}")
        )
    assert "SIGNATURE-SECRET" not in caplog.text + "".join(told)
    assert [each.split("(")[0] for each in told] == ["<Response 200 2 bytes>", *["NetworkFault"] * 3]


def test_the_programs_own_client_is_heard_as_ever(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        asyncio.run(ask(url, f"{url}/kept"))
        assert not [record for record in caplog.records if record.name.startswith("httpcore")]
        httpx.get(url)
    assert [record for record in caplog.records if record.name.startswith("httpcore")]
