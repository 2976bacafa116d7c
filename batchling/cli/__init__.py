"""The command line: `batchling script.py:function ...`, `batchling demo`, and the commands about jobs and the cache.

They do nothing that a script could not do itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

_COMMANDS = {
    "demo": ("demo", "demo"),
    "providers": ("providers", "show"),
    "jobs": ("jobs", "jobs"),
    "show": ("jobs", "show"),
    "watch": ("watch", "watch"),
    "collect": ("collect", "collect"),
    "cancel": ("collect", "cancel"),
    "cache": ("cache", "cache"),
    "doctor": ("doctor", "doctor"),
}
"""For each command, the module below this one and its function, imported only when the command is used."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (without the program's name; default: the process's own). Returns the exit status:
    0 done, 1 the function raised, 2 wrong usage, 130 interrupted; those of the job commands are in the manual."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    from batchling.errors import BatchlingError

    try:
        if not arguments or arguments[0] in ("-h", "--help"):
            from batchling.cli.manual import HELP

            print(HELP)
            return 0 if arguments else 2
        if arguments[0] == "--version":
            from batchling import __version__

            print(f"batchling {__version__}")
            return 0
        if arguments[0] in _COMMANDS:
            module, function = _COMMANDS[arguments[0]]
            status: int = getattr(import_module(f"batchling.cli.{module}"), function)(arguments[1:])
            return status
        from batchling.cli.arguments import scan
        from batchling.cli.script import run

        return run(scan(arguments))
    except BatchlingError as fault:
        from batchling.core.text import printable

        print("\n".join(map(printable, f"batchling: {fault}".split("\n"))), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        # The scope itself has reported what keeps running at the provider.
        return 130
