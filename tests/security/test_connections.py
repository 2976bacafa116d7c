"""Our own calls: no connection and no cookie is shared between accounts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from batchling.core.model import Call, Request
from batchling.engine.sender import Sender
from tests.security.servers import Quiet, serving

Seen = list[tuple[str, int, str | None]]


@pytest.fixture
def gateway() -> Iterator[tuple[str, Seen]]:
    seen: Seen = []

    class Handler(Quiet):
        def do_GET(self) -> None:
            who = self.headers["authorization"]
            seen.append((who, self.client_address[1], self.headers["cookie"]))
            self.send_response(200)
            self.send_header("Set-Cookie", f"session=of-{who}")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

    with serving(Handler) as url:
        yield url, seen


def test_each_account_has_connections_of_its_own(gateway: tuple[str, Seen]) -> None:
    url, seen = gateway

    async def main() -> None:
        sender = Sender()
        for who in ("ALICE", "BOB", "ALICE", "BOB"):
            call = Call(Request("GET", url, (("authorization", who),)))
            assert (await sender.send(call, account=f"account of {who}")).ok
        await sender.close()

    asyncio.run(main())
    ports = {who: {port for each, port, _ in seen if each == who} for who in ("ALICE", "BOB")}
    assert {who: len(each) for who, each in ports.items()} == {"ALICE": 1, "BOB": 1}
    assert ports["ALICE"] != ports["BOB"]
    assert [cookie for _, _, cookie in seen] == [None] * 4
