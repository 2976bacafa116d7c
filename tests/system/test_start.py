"""What the import and the first scope bring in, counted in modules of fresh interpreters: time depends on the machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAM = """
import json, sys
steps = []
def step():
    steps.append(sorted(sys.modules))
step()
import batchling
step()
from batchling import batchify
with batchify(display="off"): pass
step()
with batchify(display="off"): pass
step()
print(json.dumps(steps))
"""

LIBRARIES = "import json, sys, anyio, filelock, genai_prices, httpcore; print(json.dumps(sorted(sys.modules)))"
"""What the engine needs of others; old versions of these bring more than they need."""

MOST_OF_OURS = 175
"""Modules of our own that the first scope may load: about 160, and some to come."""

NOT_FOR_A_SCOPE = {"aiohttp", "httpx", "requests", "urllib3", "rich", "opentelemetry", "trustme", "pytest", "IPython"}
"""What only some programs need, and no engine."""


def test_what_the_import_and_the_first_scope_bring(batchling_cache: Path) -> None:
    def run(program: str) -> Any:
        done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
        return json.loads(done.stdout)

    nothing, imported, first, second = map(set, run(PROGRAM))
    theirs = set(run(LIBRARIES))

    def packages(modules: set[str]) -> set[str]:
        return {name.split(".")[0] for name in modules} - set(sys.stdlib_module_names)

    assert packages(imported - nothing) == {"batchling"}
    assert {name for name in imported if name.startswith("batchling")} == {"batchling"}
    assert not packages(first - nothing - theirs) & NOT_FOR_A_SCOPE
    assert len([name for name in first if name.startswith("batchling.")]) <= MOST_OF_OURS
    assert second == first, "the first scope imports all that a scope needs, in its caller's thread"
