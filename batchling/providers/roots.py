"""Which official root a URL is below.

A root is a base URL. Its host may have one `*`, which stands for letters, digits, dots and dashes, and so never for
the end of a host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache


@lru_cache(maxsize=256)
def pattern(root: str) -> re.Pattern[str]:
    """What matches a root or a host, whatever its `*` stands for."""
    return re.compile(re.escape(root).replace(r"\*", "[a-z0-9.-]+"))


def root_of(url: str, roots: Iterable[str]) -> str | None:
    """The first root that a URL (without query) is or lies below, with the host that the URL has; None without one."""
    for root in roots:
        found = pattern(root).match(url)
        if found is not None and url[found.end() : found.end() + 1] in ("", "/"):
            return found[0]
    return None
