"""Find the official root that a URL is below.

A root is a base URL. Its host may contain one `*`, which stands for letters, digits, dots and dashes, and so never
for the end of a host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache


@lru_cache(maxsize=256)
def pattern(root: str) -> re.Pattern[str]:
    """A pattern that matches a root or a host, with anything in place of its `*`."""
    return re.compile(re.escape(root).replace(r"\*", "[a-z0-9.-]+"))


def root_of(url: str, roots: Iterable[str]) -> str | None:
    """The first root that a URL (without query) equals or lies below, with the URL's own host; or None."""
    for root in roots:
        found = pattern(root).match(url)
        if found is not None and url[found.end() : found.end() + 1] in ("", "/"):
            return found[0]
    return None
