"""Makes the transcripts of docs/jobs.md by running each command on what real programs left at the embedded server:

python -m tests.docs.transcripts
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from batchling.testing import ProviderServer
from tests.waiting import wait_until

PAGE = Path(__file__).parents[2] / "docs" / "jobs.md"
BLOCK = re.compile(r"(<!-- made by: python -m tests\.docs\.transcripts (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

PROGRAM = """
import asyncio, os, sys, httpx
from batchling import batchify
url, model, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
async def main():
    async with httpx.AsyncClient(headers={"authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}) as client:
        async def one(number):
            body = {"model": model, "messages": [{"role": "user", "content": f"Question {number} of {count}"}]}
            await client.post(url + "/chat/completions", json=body)
        await asyncio.gather(*map(one, range(count)))
with batchify(batch_window_seconds=0.5, batch_poll_interval_seconds=0.1):
    asyncio.run(main())
"""


def transcripts(folder: str) -> dict[str, str]:
    """What is shown at each place of the page."""
    with ProviderServer() as server:
        gateways = ",".join(f"{base}={name}" for base, name in server.gateways.items())
        environment = {
            **os.environ,
            "BATCHLING_CACHE_DIR": folder,
            "BATCHLING_GATEWAYS": gateways,
            "OPENAI_API_KEY": "sk-of-the-transcripts",
            "COLUMNS": "80",
        }

        def start(model: str, count: int) -> subprocess.Popen[str]:
            command = [sys.executable, "-c", PROGRAM, server.openai_url, model, str(count)]
            return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)

        def shell(*lines: str) -> str:
            shown = []
            for line in lines:
                command = [sys.executable, "-m", "batchling", *line.split()[1:]]
                done = subprocess.run(command, capture_output=True, text=True, env=environment)
                said = "".join(f"{each}\n" for each in (done.stderr + done.stdout).splitlines() if each)
                shown.append(f"$ {line}\n{said}" + (f"(exit status {done.returncode})\n" if done.returncode else ""))
            return "\n".join(shown).replace(folder, "~/.cache/batchling")

        def leave(model: str, count: int) -> None:
            """A program is killed while its job runs."""
            seen = len(server.calls("GET", "/batches/"))
            program = start(model, count)
            wait_until(lambda: len(server.calls("GET", "/batches/")) > seen + 1, "the job is polled twice")
            program.send_signal(signal.SIGKILL)
            program.communicate()

        start("gpt-5-mini", 300).communicate()
        server.hold()
        leave("gpt-5-mini", 120)
        leave("gpt-5", 40)
        program = start("gpt-5-nano", 80)
        seen = len(server.calls("GET", "/batches/"))
        wait_until(lambda: len(server.calls("GET", "/batches/")) > seen + 1, "the job is polled twice")
        made = {"jobs": shell("batchling jobs")}
        found = re.findall(r"(?m)^(\w+)  left .* gpt-5 ", made["jobs"])
        made["show"] = shell(f"batchling show {found[0]}")
        made["watch"] = _watch(environment, server)
        program.communicate()
        server.hold()
        made["cancel"] = shell(f"batchling cancel {found[0]} --yes")
        once = shell("batchling collect --once")
        server.release()
        made["collect"] = once + "\n" + shell("batchling collect", "batchling jobs")
        made["cache"] = shell("batchling cache", "batchling cache prune --older-than 30d")
        made["doctor"] = shell("batchling doctor https://api.openai.com/v1/chat/completions")
        environment["BATCHLING_GATEWAYS"] = "http://localhost:4000=openai"
        made["doctor"] = shell("batchling doctor") + "\n" + made["doctor"]
        return made


def _watch(environment: dict[str, str], server: ProviderServer) -> str:
    command = [sys.executable, "-m", "batchling", "watch"]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert watching.stdout is not None
    lines = [watching.stdout.readline() for _ in range(3)]
    server.release()
    rest, _ = watching.communicate()
    return "$ batchling watch | cat\n" + "".join(lines) + rest


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        told = transcripts(os.path.join(place, "cache"))
    page = PAGE.read_text()
    PAGE.write_text(BLOCK.sub(lambda found: f"{found[1]}```text\n{told[found[2]].strip()}\n```\n{found[3]}", page))
