"""Everything that batchling raises.

    BatchlingError                  base of all, for `except`
    ├── OptionError(ValueError)     an argument of batchify() has an invalid value
    ├── CacheError                  the cache folder cannot be used
    ├── ClosedError                 a call reached a scope that was already closed
    └── ScriptError                 the command line names something that cannot be run
    Detached(BaseException)         the scope was left while this call was still waiting for its batch

`Detached` is deliberately not an `Exception`: retry loops of SDKs and frameworks catch `Exception` and would
send the call again. An intercepted caller never sees the others: it gets its provider's own error response.
All of them can be pickled; none contains a prompt, an answer or a credential.
"""

from __future__ import annotations

from pathlib import Path
from traceback import extract_tb


class BatchlingError(Exception):
    """Base class of the errors that batchling raises."""


class OptionError(BatchlingError, ValueError):
    """An option has an invalid value. `name` is the argument, `problem` says what is wrong with it."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(name, problem)
        self.name = name
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.name}: {self.problem}"


class CacheError(BatchlingError):
    """The cache folder cannot be used. `path` is the folder, `problem` says what is wrong with it."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return (
            f"cache folder {self.path}: {self.problem}. Set BATCHLING_CACHE_DIR to another folder, or use cache=False."
        )


class ClosedError(BatchlingError):
    """A batchify scope was used after it was closed; make a new one with batchify()."""


class ScriptError(BatchlingError):
    """The command line names a script or a function that cannot be run, or arguments it cannot take."""


class Detached(BaseException):
    """The batchify scope was left while this call was waiting. Its job keeps running: run the same program again."""


def outline(fault: BaseException) -> str:
    """The type of a fault and where it arose, for a log. Never its text: it may quote a request or a credential."""
    frames = extract_tb(fault.__traceback__)[-6:]
    return f"{type(fault).__name__} at " + " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames))
