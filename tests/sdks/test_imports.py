"""No thread of ours imports a module: an SDK that looks into `sys.modules` meanwhile would find half of it.

Each program runs in a fresh interpreter, whose imports are slowed, and fails for any import in a thread that is not the
program's own: in a first run, with all that a scope can do, and in one that resumes a killed one and answers from the cache.
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from batchling.testing import ProviderServer

pytestmark = pytest.mark.timeout(240)

WATCH = """
import atexit, json, os, sys, threading, time

class Watch:
    \"\"\"Sees every import of a module that is not there yet. The program's own threads are the main one and those that it
    has named after itself, or an SDK after itself.\"\"\"
    slow = 0.0
    ours = {"anyio", "batchling", "genai_prices", "httpcore", "httpx", "rich"}
    found = []

    def find_spec(self, name, path=None, target=None):
        thread = threading.current_thread().name
        if thread == "MainThread" or thread.startswith(("program", "litellm")):
            if name.partition(".")[0] in self.ours:
                time.sleep(self.slow)
        else:
            # By hand: what `traceback` does for this imports modules itself.
            frame, places = sys._getframe(1), []
            while frame is not None:
                if "importlib" not in frame.f_code.co_filename:
                    places.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
                frame = frame.f_back
            ours = [place for place in places if "batchling" in place]
            self.found.append(f"{thread}: {name}, by {' < '.join((*ours[:1], *places[:1]))}")

watch = Watch()
sys.meta_path.insert(0, watch)

def report():
    print("\\n" + json.dumps(watch.found), flush=True)

atexit.register(report)  # before all others, so that it is called last
"""

PROGRAM = """
from concurrent.futures import ThreadPoolExecutor
SERVER = os.environ["SERVER"]
MESSAGES = lambda text: [{"role": "user", "content": text}]
budget = 1
%(ask)s
from batchling import batchify, events
from batchling.telemetry import OpenTelemetry
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
trace.set_tracer_provider(provider)
metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
watch.slow = 0.005


def listen(event):
    if killed and isinstance(event, events.Submitted):
        report()
        os._exit(9)

def answers(texts, **more):
    scope = batchify(
        batch_window_seconds=1.0, batch_size=len(texts), batch_poll_interval_seconds=0.05,
        on_event=[listen, OpenTelemetry()], **{"display": "plain", **more},
    )
    with scope, ThreadPoolExecutor(len(texts), "program") as pool:
        list(pool.map(ask, texts))
    scope.receipt.to_json()

killed = False
if sys.argv[1] == "first":
    answers(["a", "b"], budget_usd=budget)
    print("whole", flush=True)
    sys.stdin.readline()
    killed = True
    answers(["c"])
elif sys.argv[1] == "resumed":
    answers(["a", "b"], budget_usd=budget)
    answers(["c"])
    left = batchify(cache=False, display="off")
    left.__enter__()  # the end of the interpreter finds it open
else:
    answers(["d"], display="live")
"""

BODY = '{"model": "gpt-5-mini", "max_completion_tokens": 9, "messages": MESSAGES(text)}'
CHAT = f'"{{SERVER}}/openai/v1/chat/completions", json={BODY}, headers={{"authorization": "Bearer sk-1"}}'
CREATE = 'create(model="gpt-5-mini", max_completion_tokens=9, messages=MESSAGES(text))'
CHAT = CHAT.replace('"{SERVER}', 'f"{SERVER}')

ASK = {
    "httpx": f"import httpx\ndef ask(text):\n    httpx.post({CHAT})",
    "httpx2": f"import httpx2\ndef ask(text):\n    httpx2.post({CHAT})",
    "requests": f"import requests\ndef ask(text):\n    requests.post({CHAT})",
    "aiohttp": f"""
import aiohttp, asyncio
async def start(text):
    async with aiohttp.ClientSession() as session, session.post({CHAT}) as response:
        await response.read()
def ask(text):
    asyncio.run(start(text))
""",
    "openai": f"""
from openai import OpenAI
client = OpenAI(api_key="sk-1", base_url=f"{{SERVER}}/openai/v1")
def ask(text):
    client.chat.completions.{CREATE}
""",
    "openai async": f"""
import asyncio
from openai import AsyncOpenAI
async def start(text):
    async with AsyncOpenAI(api_key="sk-1", base_url=f"{{SERVER}}/openai/v1") as client:
        await client.chat.completions.{CREATE}
def ask(text):
    asyncio.run(start(text))
""",
    "anthropic": """
from anthropic import Anthropic
client = Anthropic(api_key="sk-1", base_url=f"{SERVER}/anthropic")
def ask(text):
    client.messages.create(model="claude-haiku-4-5", max_tokens=9, messages=MESSAGES(text))
""",
    "google.genai": """
from google import genai
client = genai.Client(api_key="k", http_options=genai.types.HttpOptions(base_url=f"{SERVER}/gemini"))
def ask(text):
    config = genai.types.GenerateContentConfig(max_output_tokens=9)
    client.models.generate_content(model="gemini-2.5-flash", contents=text, config=config)
""",
    "mistralai": """
from mistralai.client import Mistral
client = Mistral(api_key="sk-1", server_url=f"{SERVER}/mistral")
def ask(text):
    client.chat.complete(model="mistral-small-latest", max_tokens=9, messages=MESSAGES(text))
""",
    "groq": """
from groq import Groq
client = Groq(api_key="sk-1", base_url=f"{SERVER}/groq")
def ask(text):
    client.chat.completions.create(model="llama-3.3-70b-versatile", max_tokens=9, messages=MESSAGES(text))
""",
    "together": """
from together import Together
budget = None  # its prices are not known
client = Together(api_key="sk-1", base_url=f"{SERVER}/together")
def ask(text):
    client.chat.completions.create(model="meta-llama/Llama-3.3-70B-Instruct-Turbo", max_tokens=9, messages=MESSAGES(text))
""",
    "litellm": """
import litellm
def ask(text):
    litellm.completion(
        "openai/gpt-5-mini", MESSAGES(text), max_completion_tokens=9, api_key="sk-1", base_url=f"{SERVER}/openai/v1"
    )
""",
}


def start(server: ProviderServer, cache: Path, program: str, *words: str, **more: Any) -> subprocess.Popen[str]:
    """In a fresh interpreter. The server is asked by a name that has to be looked up."""
    url = server.url.replace("127.0.0.1", "localhost")
    gateways = ",".join(f"{base}={name}" for base, name in server.gateways.items()).replace("127.0.0.1", "localhost")
    environment = {
        **os.environ,
        "SERVER": url,
        "BATCHLING_GATEWAYS": gateways,
        "BATCHLING_CACHE_DIR": str(cache),
        "OPENAI_API_KEY": "sk-1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "TERM": "xterm",
    }
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    return subprocess.Popen([sys.executable, "-c", WATCH + program, *words], text=True, env=environment, **pipes)


def imports(process: subprocess.Popen[str], status: int, words: str = "") -> list[str]:
    """What was imported where nothing should be, once the program is over."""
    output, errors = process.communicate(words, timeout=120)
    assert process.returncode == status, errors
    found: list[str] = json.loads(output.splitlines()[-1])
    return found


def killed(server: ProviderServer, cache: Path, program: str) -> list[str]:
    """Run a program whole, and then until its next job is submitted."""
    process = start(server, cache, program, "first")
    assert process.stdout is not None
    assert process.stdout.readline() == "whole\n", process.communicate()[1]
    server.hold()
    found = imports(process, 9, "go on\n")
    server.release()
    return found


@pytest.mark.parametrize(
    "library", [name if name == "openai" else pytest.param(name, marks=pytest.mark.slow) for name in ASK]
)
def test_no_thread_of_ours_imports_anything(
    provider_server: ProviderServer, batchling_cache: Path, library: str
) -> None:
    name = library.split(maxsplit=1)[0]
    if find_spec(name.split(".")[0]) is None or find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    program = PROGRAM % {"ask": ASK[library]}
    assert killed(provider_server, batchling_cache, program) == []
    assert imports(start(provider_server, batchling_cache, program, "resumed"), 0) == []
    assert len(provider_server.billed(batch=True)) == 3
    assert provider_server.billed(batch=False) == []


@pytest.mark.thorough
def test_nor_does_the_live_display(provider_server: ProviderServer, batchling_cache: Path) -> None:
    terminal, inside = pty.openpty()
    shown = bytearray()

    def read() -> None:
        with suppress(OSError):  # the other side is closed
            while True:
                shown.extend(os.read(terminal, 65536))
                if b"gpt-5-mini" in shown:
                    provider_server.release()

    provider_server.hold()
    process = start(provider_server, batchling_cache, PROGRAM % {"ask": ASK["httpx"]}, "display", stderr=inside)
    os.close(inside)
    reader = threading.Thread(target=read)
    reader.start()
    found = imports(process, 0)
    reader.join()
    os.close(terminal)
    assert found == []
    assert b"gpt-5-mini" in shown


COLLECT = """
watch.slow = 0.005
from batchling.cli import main
main(["collect"])
"""


@pytest.mark.thorough
def test_nor_does_the_command_line(provider_server: ProviderServer, batchling_cache: Path) -> None:
    assert killed(provider_server, batchling_cache, PROGRAM % {"ask": ASK["httpx"]}) == []
    process = start(provider_server, batchling_cache, COLLECT)
    assert imports(process, 0) == []
    assert len(provider_server.billed(batch=True)) == 3


def test_the_watch_sees_what_it_should(provider_server: ProviderServer, batchling_cache: Path) -> None:
    """A test that could not fail would prove nothing."""
    program = """
thread = threading.Thread(target=lambda: __import__("this"), name="batchling")
thread.start()
thread.join()
"""
    (found,) = imports(start(provider_server, batchling_cache, program), 0)
    assert found.startswith("batchling: this, by ")
