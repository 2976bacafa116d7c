"""Run by `tox -e wheel` in an environment that holds the built wheel and nothing of the checkout."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points, version
from importlib.resources import files
from pathlib import Path

import batchling
from batchling.testing import ProviderServer

home = Path(batchling.__file__).parent
assert "site-packages" in home.parts, f"imported from {home}, not from the wheel"
assert version("batchling") == batchling.__version__
assert files("batchling").joinpath("py.typed").is_file()
assert [e.value for e in entry_points(group="pytest11", name="batchling")] == ["batchling.testing.plugin"]
assert ProviderServer.__name__ == "ProviderServer"

script = Path(sys.executable).with_name("batchling")
shown = subprocess.run([script, "--version"], check=True, capture_output=True, text=True)
assert shown.stdout == f"batchling {batchling.__version__}\n"
subprocess.run([script, "demo"], check=True, timeout=60)

code = (
    "import sys, batchling; print([m for m in ('httpx', 'aiohttp', 'requests', 'rich', 'asyncio') if m in sys.modules])"
)
loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
assert loaded.stdout == "[]\n", f"import batchling loads {loaded.stdout}"
print("1 passed, 0 failed")
