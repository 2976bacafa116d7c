"""A page of the documentation as a program: its fenced blocks, what they need, and running them as a reader would."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(r"(?ms)^([ ]*)```(\w*)[ ]*([^\n]*)\n(.*?)^\1```$")

_SITE = """\
import socket, wrapt
_connect = socket.socket.connect
def _loopback_only(self, address):
    if isinstance(address, tuple) and address[0] not in ("::1", "localhost") and not address[0].startswith("127."):
        raise AssertionError(f"a page tried to reach {address[0]}")
    return _connect(self, address)
socket.socket.connect = _loopback_only
def _hurry(api):
    api.batchify.__kwdefaults__.update(batch_window_seconds=0.5, batch_poll_interval_seconds=0.05)
wrapt.register_post_import_hook(_hurry, "batchling.scope.api")
"""
"""Imported first by every process of a page. All that differs from a reader's: loopback only, and the default pace."""


@dataclass(frozen=True)
class Block:
    """A fenced block. `title` names the file that the page says to put it into; `line` is where its text begins."""

    language: str
    title: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    source = page.read_text()
    found = []
    for fence in _FENCE.finditer(source):
        title = re.search(r'title="([^"]*)"', fence[3])
        line = source.count("\n", 0, fence.start(4))
        found.append(Block(fence[2], title[1] if title else "", dedent(fence[4]), line))
    return found


def program(page: Path) -> str:
    """The page's Python that belongs to no file, as one script, whose lines have their numbers in the page."""
    lines: list[str] = []
    for block in blocks(page):
        if block.language == "python" and not block.title:
            lines += [""] * (block.line - len(lines)) + block.text.splitlines()
    return "\n".join(lines) + "\n"


def modules(page: Path) -> set[str]:
    """The modules that the page's Python imports: the first part of their names, or two of a namespace's."""
    found = set()
    for block in blocks(page):
        if block.language == "python":
            for node in ast.walk(ast.parse(block.text)):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.module == "google":
                    names = [f"google.{alias.name}" for alias in node.names]
                found |= {".".join(name.split(".")[: 1 + name.startswith("google.")]) for name in names}
    return found - {Path(block.title).stem for block in blocks(page)}


def missing(page: Path) -> list[str]:
    """Of the modules that a page imports, those that are not installed here."""

    def known(name: str) -> bool:
        try:
            return find_spec(name) is not None
        except ModuleNotFoundError:
            return False

    return sorted(name for name in modules(page) if not known(name))


@dataclass(frozen=True)
class Command:
    """A command of a console block, and the lines that the page shows below it."""

    words: list[str]
    shown: list[str]


def commands(block: Block) -> list[Command]:
    """The commands of a console block, in order."""
    found: list[Command] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append(Command(shlex.split(line[2:]), []))
        elif line.strip():
            found[-1].shown.append(line)
    return found


class Reader:
    """Does what a page says, in a folder of its own, exactly as a reader writes it: to be used where the providers' own
    host names lead to the embedded server. The SDKs read their keys from the environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        site = folder / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(_SITE)
        self.environment = {
            **os.environ,
            "HOME": str(folder),
            "PYTHONPATH": os.pathsep.join([os.environ["PYTHONPATH"], str(site), str(ROOT)]),
            "PYTHONWARNINGS": "ignore",
            "OPENAI_API_KEY": "sk-docs",
            "ANTHROPIC_API_KEY": "sk-docs",
            "GEMINI_API_KEY": "sk-docs",
            # Of no use to a test, and out of its reach: a price list and traces.
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "OPENAI_AGENTS_DISABLE_TRACING": "1",
        }

    def run(self, words: list[str]) -> str:
        """Run a command that must succeed; what it has printed."""
        python = {"python": [], "batchling": ["-m", "batchling"], "pytest": ["-m", "pytest", "-p", "no:cacheprovider"]}
        command = [sys.executable, *python[words[0]], *words[1:]]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def read(self, page: Path) -> None:
        """Write the page's files, then do its Python and its commands in order. What the page shows below a command must
        be among what that prints."""
        for block in blocks(page):
            if block.title:
                (self.folder / block.title).write_text(block.text)
        script = self.folder / "page.py"
        for block in blocks(page):
            if block.language == "python" and not block.title and not script.exists():
                script.write_text(program(page))
                self.run(["python", script.name])
            if block.language == "console":
                for command in commands(block):
                    self.follow(command)

    def follow(self, command: Command) -> None:
        """Do one command of a console block."""
        if command.words[0] == "export":
            self.environment |= dict([command.words[1].split("=", 1)])
        elif command.words[:2] != ["pip", "install"]:
            said = self.run(command.words)
            lines = {plain(line) for line in said.splitlines()}
            for line in command.shown:
                assert plain(line) in lines, f"the page shows {line!r}; printed was:\n{said}"


def plain(line: str) -> str:
    """A printed line without what differs from run to run: how long it took, and the width of columns."""
    return " ".join(re.sub(r"\b(\d+ h )?(\d+ min )?\d+(\.\d+)? ?s\b", "TIME", line).split())
