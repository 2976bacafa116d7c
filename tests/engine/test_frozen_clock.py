"""Programs, tests above all, that stop their own clock: the engine goes on by the machine's."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, sys, time
if "import frozen" in sys.argv:
    {freeze}
    frozen.start()
import httpx
from batchling import batchify
from batchling.testing import ProviderServer
if "import frozen" not in sys.argv:
    {freeze}

BODY = {{"model": "gpt-5-mini", "max_completion_tokens": 9, "messages": [{{"role": "user", "content": "x"}}]}}
HEADERS = {{"authorization": "Bearer sk-1"}}

async def ask(url):
    async with httpx.AsyncClient(headers=HEADERS) as client:
        return await client.post(url, json=BODY)

with ProviderServer() as server:
    url = server.openai_url + "/chat/completions"
    # What waits and looks at times: the reply to a submission is lost, and the job is looked for; a poll is tried again.
    server.lose_reply("POST", "/batches")
    server.fail_call("GET", "/batches/", 500, b"{{}}", times=2)
    if "import frozen" not in sys.argv:
        frozen.start()
    scope = batchify(
        gateways=server.gateways, batch_window_seconds=0.1, batch_poll_interval_seconds=0.05, display="off", budget_usd=1
    )
    with scope:
        assert 1_500_000_000 < time.time() < 1_600_000_000
        print(httpx.post(url, json=BODY, headers=HEADERS).status_code, end=" ")
        print(asyncio.run(ask(url)).status_code, end=" ")
    print(scope.receipt.seconds > 0.1, end=" ")
    frozen.stop()
    from batchling import jobs
    print(all(abs(time.time() - each.record.created_at) < 60 for each in jobs.listing()))
"""

FREEZERS = {
    "freezegun": ("freezegun", 'import freezegun; frozen = freezegun.freeze_time("2019-01-01")'),
    "freezegun, ticking": ("freezegun", 'import freezegun; frozen = freezegun.freeze_time("2019-01-01", tick=True)'),
}


@pytest.mark.thorough
@pytest.mark.parametrize("when", ["import frozen", "later"])
@pytest.mark.parametrize("kind", FREEZERS)
def test_a_scope_in_a_program_whose_clock_stands_still(kind: str, when: str) -> None:
    library, freeze = FREEZERS[kind]
    pytest.importorskip(library, reason=f"{library} is not installed")
    program = PROGRAM.format(freeze=freeze)
    done = subprocess.run([sys.executable, "-c", program, when], capture_output=True, text=True, timeout=50)
    assert done.stdout.strip() == "200 200 True True", done.stderr
