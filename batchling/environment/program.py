"""Identifies the program by a digest of the script or module that Python was started with."""

from __future__ import annotations

import os
import sys

from batchling.core.fingerprint import digest


def program() -> str:
    """A digest that is the same for every run of a program, whatever its arguments. A program without a file, such as a
    notebook, is identified by its working directory."""
    main = sys.modules.get("__main__")
    started = sys.argv[0] if sys.argv else ""
    module = getattr(getattr(main, "__spec__", None), "name", None) or ""
    file = getattr(main, "__file__", None)
    place = os.path.abspath(file) if isinstance(file, str) else os.getcwd()
    return digest(module, place, os.path.abspath(started) if os.path.exists(started) else started)
